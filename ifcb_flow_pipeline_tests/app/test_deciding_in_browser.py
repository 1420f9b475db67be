"""The pages for deciding in a real browser: decided, reloaded, studied, handed in, handed out."""

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline.store.studies import StudyStore
from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, SINGLE, WORST
from ifcb_flow_pipeline_tests.app.served import Visit, chromium, running_app, visiting
from ifcb_flow_pipeline_tests.app.test_try_a_bin import ADC, PID

pytestmark = pytest.mark.browser

HOSTILE = "bad bug <img src=x onerror=alert(1)> =1+1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reviewed.write_review_store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_app(tmp_path_factory.mktemp("elsewhere"), {"IFCB_FLOW_HOME": str(home)}) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    with visiting(browser, address, "Ada") as visit:
        yield visit
        visit.expect_quiet()


def test_a_fault_is_decided_with_a_key_leaves_the_queue_and_stays_decided(browser: Browser, address: str, home: Path):
    labels = LabelStore(home / "labels.sqlite")
    with visiting(browser, address) as visit:
        page = visit.page
        page.goto(address)
        page.get_by_role("link", name="Triage").click()
        # Who decides is asked once.
        page.get_by_label("Your name (saved with each decision)").fill("Ada")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text("4 bins to review")).to_be_visible()
        expect(page.get_by_text(WORST)).to_be_visible()
        # What is typed is a note, not a decision.
        page.get_by_label("Note").click()
        page.keyboard.type(HOSTILE)
        page.get_by_text("Tags", exact=True).click()
        page.get_by_role("button", name="air bubbles").click()
        visit.expect_still()
        assert labels.decisions() == {}
        page.keyboard.press("b")
        expect(page.get_by_text("3 bins to review")).to_be_visible()
        page.reload()
        expect(page.get_by_text("3 bins to review")).to_be_visible()
        expect(page.get_by_role("button", name=f"Undo: bad, {WORST}")).to_be_visible()
        (label,) = labels.current().values()
        assert (label.pid, label.decision, label.note, label.tags, label.reviewer) == (
            WORST, "bad", HOSTILE, ("bubbles",), "Ada")  # fmt: skip
        assert not visit.complaints


def test_the_rest_of_an_episode_is_decided_with_one_key_and_taken_back_with_another(visit: Visit, home: Path):
    labels, page = LabelStore(home / "labels.sqlite"), visit.page
    before = labels.decisions()
    visit.open(f"triage?bin={EPISODE[0]}")
    waiting = len(EPISODE) - len(before.keys() & set(EPISODE))
    page.keyboard.press("Shift+B")
    undo = page.get_by_role("button", name=f"Undo: bad, {waiting} bins")
    expect(undo).to_be_visible()
    expect(page.get_by_text(SINGLE)).to_be_visible()
    assert dict(labels.decisions()) == dict(before) | dict.fromkeys(EPISODE, "bad")
    page.keyboard.press("z")
    expect(undo).to_have_count(0)
    visit.expect_still()
    assert labels.decisions() == before


def test_a_study_goes_to_its_end_over_a_reload_and_its_results_are_read_again(visit: Visit, home: Path):
    page, studies = visit.page, StudyStore(home / "studies.sqlite")
    visit.open("study")
    page.get_by_role("button", name="New study").click()
    page.get_by_label("Name of the study").fill("March <b>all</b>")
    page.get_by_label("Bins (10 to 500)").fill("10")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_label("Name of the study")).to_be_hidden()
    for number in range(11):
        expect(page.get_by_text(f"{number} of 11")).to_be_visible()
        assert "IFCB10" not in page.locator("[data-testid=stMain]").inner_text()
        visit.expect_still()
        page.keyboard.press("b" if number % 2 else "g")
        if number == 4:
            expect(page.get_by_text("5 of 11")).to_be_visible()
            page.reload()
    expect(page.get_by_text("All bins labelled")).to_be_visible()
    (study,) = studies.studies()
    assert len(studies.ratings(study.id)) == 11
    page.get_by_text("Results", exact=True).click()
    rows = pd.read_csv(io.BytesIO(_downloaded(page, "All statistics as CSV")))
    assert set(rows["measure"]) == {"accuracy", "true_positive_rate", "false_positive_rate", "kappa"}
    answers = pd.read_csv(io.BytesIO(_downloaded(page, "All answers as CSV")))
    assert len(answers) == 11
    assert answers["shown_again"].sum() == 1


def test_a_good_file_is_judged_and_a_bad_one_told(visit: Visit, tmp_path: Path):
    page = visit.page
    good, bad = tmp_path / f"{PID}.adc", tmp_path / "holiday.jpg"
    good.write_bytes(ADC)
    bad.write_bytes(b"\xff\xd8\xff")
    visit.open("try_a_bin")
    page.locator("input[type=file]").set_input_files(good)
    expect(page.get_by_role("heading", name=PID)).to_be_visible()
    expect(page.get_by_text("Model: iforest")).to_be_visible()
    visit.expect_still()
    expect(page.locator("[data-testid=stVegaLiteChart] svg, [data-testid=stVegaLiteChart] canvas")).not_to_have_count(0)
    visit.open("try_a_bin")
    page.locator("input[type=file]").set_input_files(bad)
    expect(page.locator("[data-testid=stAlert]")).to_contain_text("no PNG, JPEG or TIFF")


def test_what_is_exported_is_read_again(visit: Visit, browser: Browser, tmp_path: Path):
    page = visit.page
    visit.open("export")
    scores = page.locator(".st-key-scores_csv"), page.locator(".st-key-scores_parquet")
    with page.expect_download() as download:
        scores[0].get_by_role("button").click()
    frame = pd.read_csv(download.value.path())
    with page.expect_download() as download:
        scores[1].get_by_role("button").click()
    table = pq.read_table(download.value.path())
    assert frame["pid"].tolist() == table["pid"].to_pylist()
    assert len(frame) == reviewed.N_BINS
    report = tmp_path / "report.html"
    report.write_bytes(_downloaded(page, "Report", exact=True))
    _expect_whole(browser, report)


def _expect_whole(browser: Browser, report: Path) -> None:
    """The report opens by itself: its pictures are inside, and it asks for nothing."""
    page = browser.new_page()
    asked = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(report.as_uri())
    assert page.locator("img").count() == 5
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 300)")
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    page.close()


def _downloaded(page: Page, name: str, *, exact: bool = False) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=exact).click()
    return Path(download.value.path()).read_bytes()

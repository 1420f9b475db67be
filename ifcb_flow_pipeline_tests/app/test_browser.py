"""The app in a real browser: from the overview to the planted fault and its decision; all stays on this machine."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, HOSTILE, SINGLE, UNREADABLE, WORST
from ifcb_flow_pipeline_tests.app.served import Visit, visiting

pytestmark = pytest.mark.browser

LANES = "[data-testid=stVegaLiteChart][aria-label*='a lane for each instrument']"


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    with visiting(browser, address) as visit:
        yield visit
        visit.expect_quiet()


@pytest.fixture(params=["light", "dark"])
def themed(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    with visiting(browser, address, theme=request.param) as visit:
        yield visit


def test_the_planted_fault_is_found_from_the_overview_decided_and_gone_from_the_queue(themed: Visit):
    page = themed.page
    fault = {"light": WORST, "dark": EPISODE[2]}[themed.theme]
    themed.open("")
    # Its bins are months old: the instrument is among those that nobody waits for.
    page.get_by_role("link", name="Timeline").nth(1).click()
    expect(page).to_have_url(re.compile("instrument=IFCB10"))
    themed.open("timeline?instrument=IFCB101&span=all")
    themed.expect_still()
    page.locator(LANES).locator(_mark(fault)).click()
    _expect_open(themed, fault)
    expect(page.get_by_text("Images off the core").first).to_be_visible()
    page.get_by_label("Your name (saved with each decision)").fill("Ada")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("button", name="Bad", exact=False).first).to_be_visible()
    page.keyboard.press("b")
    expect(page.get_by_text("bad by Ada")).to_be_visible()
    page.reload()
    _expect_open(themed, fault)
    expect(page.get_by_text("bad by Ada")).to_be_visible()
    themed.open(f"triage?bin={fault}")
    expect(page.get_by_text("does not wait here")).to_be_visible()


def test_a_brush_zooms_in_and_the_address_keeps_the_period(visit: Visit):
    page = visit.page
    visit.open("timeline")
    lanes = page.locator(LANES)
    expect(lanes).to_have_attribute("aria-label", re.compile("^severity of 40 bins"))
    box = lanes.locator("svg").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("from=2026-03-0"))
    visit.expect_still()
    expect(lanes).to_have_count(1)
    shown = lanes.get_attribute("aria-label")
    assert shown is not None
    assert "40 bins" not in shown
    page.reload()
    expect(lanes).to_have_attribute("aria-label", shown)


def test_a_click_on_the_timeline_and_the_arrow_keys_go_from_bin_to_bin(visit: Visit):
    page = visit.page
    visit.open("timeline?span=all")
    page.locator(LANES).locator(_mark(SINGLE)).click()
    _expect_open(visit, SINGLE)
    before, here = page.url, SINGLE
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name=here)).to_have_count(0)
    page.keyboard.press("ArrowRight")
    _expect_open(visit, here)
    assert page.url == before


def test_back_from_a_bin_and_a_reload_show_the_view_that_was_left(visit: Visit):
    page = visit.page
    visit.open("timeline?span=week&instrument=IFCB102&verdict=bad&verdict=ok&track=mean_x")
    lanes = page.locator(LANES).first
    shown = lanes.get_attribute("aria-label")
    lanes.locator(_mark(SINGLE)).click()
    _expect_open(visit, SINGLE)
    page.go_back()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    visit.expect_still()
    for again in (lambda: None, page.reload):
        again()
        expect(page.locator(LANES).first).to_have_attribute("aria-label", shown or "")
        expect(page).to_have_url(re.compile("span=week&instrument=IFCB102&verdict=bad&verdict=ok&track=mean_x"))
        expect(page.get_by_text("Filter (2)")).to_be_visible()


def test_back_leads_through_the_choices_that_were_made(visit: Visit):
    page = visit.page
    visit.open("explore?where=mean_x:668:")
    expect(page.get_by_text("4 bins of")).to_be_visible()
    page.get_by_label("up to", exact=True).fill("668")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 bins of")).to_be_visible()
    expect(page).to_have_url(re.compile("where=mean_x%3A668%3A668"))
    page.go_back()
    expect(page.get_by_text("4 bins of")).to_be_visible()
    expect(page.get_by_label("up to", exact=True)).to_have_value("")


def test_a_link_to_an_unreadable_bin_says_why_as_it_is_written(visit: Visit):
    page = visit.page
    visit.open(f"bin?bin={UNREADABLE}")
    _expect_open(visit, UNREADABLE)
    # Neither HTML nor Markdown nor formula.
    expect(page.locator("[data-testid=stMain]")).to_contain_text(HOSTILE)


def test_the_app_looks_as_the_browser_prefers(themed: Visit):
    page = themed.page
    themed.open("")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    background = page.locator(".stApp").evaluate("element => getComputedStyle(element).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 128) == (themed.theme == "dark")
    # The toolbar of developers is hidden.
    expect(page.get_by_text("Deploy")).to_have_count(0)


def test_on_a_tablet_nothing_of_a_bin_is_cut_off_and_nothing_overlaps(visit: Visit):
    page = visit.page
    page.set_viewport_size({"width": 820, "height": 1180})
    visit.open(f"bin?bin={WORST}")
    _expect_open(visit, WORST)
    cloud = page.locator(f"[data-testid=stVegaLiteChart][aria-label*='Point cloud of {WORST}']").bounding_box()
    good = page.get_by_role("button", name="Continue").bounding_box()
    assert cloud is not None
    assert good is not None
    assert cloud["x"] + cloud["width"] <= 820
    assert good["y"] + good["height"] <= cloud["y"]


def _mark(pid: str) -> str:
    return f"path[aria-label*='{pid}']"


def _expect_open(visit: Visit, pid: str) -> None:
    expect(visit.page.get_by_role("heading", name=pid)).to_be_visible()
    if pid != UNREADABLE:
        expect(visit.page.locator(f"[aria-label*='Point cloud of {pid}'] canvas")).to_be_visible()
    visit.expect_still()

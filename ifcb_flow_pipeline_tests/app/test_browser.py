"""The page in a real browser: it draws, a click opens a bin, and nothing leaves this machine."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ifcb_flow_pipeline_tests.app import stored
from ifcb_flow_pipeline_tests.app.stored import SECOND_WORST, UNREADABLE, WORST

pytestmark = pytest.mark.browser

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
START_SECONDS = 60
WAIT_MS = 30_000

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
              "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


@dataclass(slots=True)
class Visit:
    """A page of the app, and what it asked of the network and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Requests that went to other machines than this one."""
        return [url for url in self.requests if urlsplit(url).scheme not in {"data", "blob"}
                and urlsplit(url).hostname != "127.0.0.1"]  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running app over a scored store, started from a folder that is not the project's."""
    home = stored.write_store(tmp_path_factory.mktemp("home"), stored.bins_of_days(3))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    url = f"http://127.0.0.1:{_free_port()}"
    log = elsewhere / "log"
    command = [sys.executable, "-m", "streamlit", "run", str(MAIN), "--server.port", url.rpartition(":")[2],
               "--server.address", "127.0.0.1"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=elsewhere,
            env=os.environ | {"IFCB_FLOW_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_healthy(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if _CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    # Far from UTC: times are UTC wherever the reader is.
    context = browser.new_context(
        viewport={"width": 1300, "height": 1100}, color_scheme=request.param, timezone_id="America/New_York"
    )
    visit = Visit(context.new_page())
    visit.page.set_default_timeout(WAIT_MS)
    visit.page.on("request", lambda sent: visit.requests.append(sent.url))
    visit.page.on("websocket", lambda socket: visit.requests.append(socket.url))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on(
        "console",
        lambda said: visit.complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    yield visit
    context.close()


def test_the_page_draws_the_worst_bin_and_a_click_on_a_mark_opens_another(address: str, visit: Visit):
    page = visit.page
    page.goto(address)
    _expect_open(page, WORST)
    _expect_cloud(page, WORST)
    page.locator("[data-testid=stVegaLiteChart]").first.locator(_mark(SECOND_WORST)).click()
    _expect_open(page, SECOND_WORST)
    _expect_cloud(page, SECOND_WORST)
    # The click is not forgotten, and not undone, when the chart is drawn anew.
    expect(page).to_have_url(re.compile(f"bin={SECOND_WORST}"))
    page.locator("[data-testid=stVegaLiteChart]").first.locator(_mark(WORST)).click()
    _expect_open(page, WORST)
    _expect_quiet(visit)


def test_a_click_on_the_box_or_a_cell_of_a_row_opens_its_bin(address: str, visit: Visit):
    page = visit.page
    page.goto(address)
    _expect_open(page, WORST)
    _click_row(page, 2)
    _expect_open(page, SECOND_WORST)
    _expect_cloud(page, SECOND_WORST)
    _click_row(page, 1, x_px=200)
    _expect_open(page, WORST)
    _expect_quiet(visit)


def test_a_link_opens_its_bin_and_says_why_it_has_no_cloud(address: str, visit: Visit):
    page = visit.page
    page.goto(f"{address}/?bin={UNREADABLE}")
    _expect_open(page, UNREADABLE)
    # The reason is shown as it is, not as HTML, Markdown or formula.
    expect(page.locator("[data-testid=stAlert]")).to_contain_text(stored.UNREADABLE_REASON)
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(1)
    _expect_quiet(visit)


def test_the_app_looks_as_the_browser_prefers(address: str, visit: Visit):
    page = visit.page
    page.goto(address)
    _expect_open(page, WORST)
    prefers_dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    background = page.locator(".stApp").evaluate("element => getComputedStyle(element).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", background)[:3])) < 128) == prefers_dark
    # The toolbar of developers is hidden.
    expect(page.get_by_text("Deploy")).to_have_count(0)


#: Whether the table stands where it stood at the last twenty looks (one a drawn frame).
_IS_STILL = """() => {
    const table = document.querySelector('[data-testid=stDataFrame]');
    const at = table ? JSON.stringify(table.getBoundingClientRect()) : '';
    const looks = window.__looks = [...(window.__looks || []), at].slice(-20);
    return looks.length === 20 && looks.every(look => look === at);
}"""


def _mark(pid: str) -> str:
    return f"path[aria-label*='{pid}']"


def _expect_open(page: Page, pid: str) -> None:
    expect(page.get_by_role("heading", name=pid)).to_be_visible(timeout=WAIT_MS)
    # Whole, and no longer moving: a click by the place must not hit what was there a moment ago.
    expect(page.locator("[data-testid=stApp]")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=WAIT_MS
    )
    page.wait_for_function(_IS_STILL, timeout=WAIT_MS)


def _expect_cloud(page: Page, pid: str) -> None:
    cloud = page.locator(f"[data-testid=stVegaLiteChart][aria-label*='Point cloud of {pid}']")
    expect(cloud.locator("svg, canvas")).to_be_visible(timeout=WAIT_MS)


def _click_row(page: Page, number: int, x_px: int = 18) -> None:
    """Click a row, 1 being the first, in its check box or elsewhere; the table is a canvas, so by the place."""
    row_px = 35
    table = page.locator("[data-testid=stDataFrame] .dvn-scroller").first
    table.click(position={"x": x_px, "y": row_px * (number + 0.5)})


def _expect_quiet(visit: Visit) -> None:
    assert visit.requests
    assert not visit.strangers
    assert not visit.complaints


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the app ended at its start:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    pytest.fail(f"the app does not answer within {START_SECONDS} s:\n{log.read_text()}")

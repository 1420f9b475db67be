"""The review app in a real browser, over half a million scored bins: ``python -m benchmarks.review_app``.

Prints how long it takes from a click until what was asked for is drawn, and the server's memory.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.scored_store import StoreSize, write_scored_store
from benchmarks.table import Row, as_text, machine

_MAIN = Path(__file__).resolve().parents[1] / "app" / "main.py"
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
              "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
_WAIT_MS = 60_000
_CHART = "[data-testid=stVegaLiteChart]"
#: Few marks are drawn as elements, many as pixels.
_LANES, _DRAWN = f"{_CHART}[aria-label*='lane for each instrument']", ":is(svg, canvas)"
_CLOUD = f"{_CHART}[aria-label*='Point cloud of {{}}'] canvas"
_CLICKS = 7
_SMALL = StoreSize(n_bins=3_000, n_days=40, days_with_clouds=1)

#: What must hold, in seconds and MB.
_FIRST_COLD_S, _FIRST_WARM_S, _CHANGE_S, _CLOUD_S, _MEMORY_MB = 6.0, 3.0, 1.0, 0.8, 1500


@click.command()
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--store", type=click.Path(path_type=Path), help="Keep the generated store here, or use the one that is.")
def main(small: bool, store: Path | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        home = store or Path(name)
        if not (home / "tables").exists():
            began = time.perf_counter()
            write_scored_store(home, _SMALL if small else StoreSize())
            click.echo(f"store written in {time.perf_counter() - began:.0f} s")
        with _served(home) as (address, pid):
            rows = _measure(address)
            memory_mb = _memory_mb(pid)
    click.echo(machine())
    click.echo(as_text(rows))
    click.echo(f"memory of the server: {memory_mb} MB (limit {_MEMORY_MB})")


def _measure(address: str) -> list[Row]:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        rows = [
            Row("overview, cold", _opened(browser, address), limit_s=_FIRST_COLD_S, note="first visit after the start"),
            Row("overview, warm", _median(lambda: _opened(browser, address), 3), limit_s=_FIRST_WARM_S),
            Row("timeline of all years, cold", _opened(browser, f"{address}/timeline?span=all"), limit_s=_FIRST_COLD_S),
            Row("timeline of all years, warm", _median(lambda: _opened(browser, f"{address}/timeline?span=all"), 3),
                limit_s=_FIRST_WARM_S),
            *_changes(browser, address),
            *_clouds(browser, address),
        ]  # fmt: skip
        browser.close()
    return rows


def _opened(browser: Browser, address: str) -> float:
    """Until a page is whole, in a browser that has nothing of the app yet."""
    page = _page(browser)
    began = time.perf_counter()
    page.goto(address)
    page.locator(f"{_LANES} {_DRAWN}").first.wait_for()
    _settled(page)
    seconds = time.perf_counter() - began
    page.context.close()
    return seconds


def _changes(browser: Browser, address: str) -> list[Row]:
    page = _page(browser)
    page.goto(f"{address}/timeline?span=all")
    page.locator(f"{_LANES} {_DRAWN}").first.wait_for()
    _settled(page)
    zoomed = [_until_other_chart(page, lambda: _brush(page)) for _ in range(2)]
    spans = [_until_other_chart(page, lambda name=name: page.get_by_text(name, exact=True).first.click())
             for name in ("month", "year", "all")]  # fmt: skip
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("combobox", name=re.compile("Verdicts")).click()
    filtered = [_until_other_chart(page, lambda: page.get_by_role("option", name="watch").click())]
    page.context.close()
    return [
        Row("zoom by brush", statistics.median(zoomed), limit_s=_CHANGE_S, note=f"{len(zoomed)} times"),
        Row("another period", statistics.median(spans), limit_s=_CHANGE_S, note="month, year, all years"),
        Row("a filter on all years", statistics.median(filtered), limit_s=_CHANGE_S, note="one verdict"),
    ]


def _clouds(browser: Browser, address: str) -> list[Row]:
    page = _page(browser)
    clicked = []
    for number in range(_CLICKS):
        page.goto(f"{address}/timeline?span=day")
        mark = page.locator(f"{_LANES} .mark-symbol path[aria-label*='bin: D']").nth(5 + 3 * number)
        mark.wait_for()
        _settled(page)
        pid = re.findall(r"bin: (D\w+)", mark.get_attribute("aria-label") or "")[0]
        clicked.append(_until_cloud(page, pid, lambda mark=mark: mark.click(force=True)))
    stepped = []
    for _ in range(_CLICKS):
        _settled(page)
        before = (
            page.locator(_CLOUD.format("")).locator("xpath=ancestor::*[@aria-label]").last.get_attribute("aria-label")
        )
        began = time.perf_counter()
        page.keyboard.press("ArrowLeft")
        page.locator(f"{_CHART}[aria-label*='Point cloud']:not([aria-label='{before}']) canvas").wait_for()
        stepped.append(time.perf_counter() - began)
    page.context.close()
    return [
        Row("click on a mark until its cloud", statistics.median(clicked), limit_s=_CLOUD_S,
            note=f"median of {_CLICKS}, worst {max(clicked):.2f} s"),
        Row("to the bin before it, by key", statistics.median(stepped), limit_s=_CLOUD_S,
            note=f"median of {_CLICKS}, worst {max(stepped):.2f} s"),
    ]  # fmt: skip


def _until_other_chart(page: Page, act: Callable[[], object]) -> float:
    """Until the lanes show other bins: their description says how many, and of when."""
    before = page.locator(_LANES).first.get_attribute("aria-label")
    act()
    began = time.perf_counter()
    page.locator(f"{_LANES}:not([aria-label='{before}']) {_DRAWN}").wait_for()
    seconds = time.perf_counter() - began
    _settled(page)
    return seconds


def _until_cloud(page: Page, pid: str, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    page.locator(_CLOUD.format(pid)).wait_for()
    return time.perf_counter() - began


def _brush(page: Page) -> None:
    box = page.locator(f"{_LANES} {_DRAWN}").first.bounding_box()
    assert box is not None  # noqa: S101 - the chart is there
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    page.mouse.up()


def _settled(page: Page) -> None:
    expect(page.locator("[data-testid=stApp]")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=_WAIT_MS
    )


def _page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.set_default_timeout(_WAIT_MS)
    return page


def _median(measure: Callable[[], float], times: int) -> float:
    return statistics.median(measure() for _ in range(times))


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(_MAIN), "--server.port", str(port)]
    environment = os.environ | {"IFCB_FLOW_HOME": str(home), "IFCB_DATA_DIR": str(home / "archive")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310 - a fixed local address
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(f"the app does not answer at {address}")


def _memory_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024


if __name__ == "__main__":
    main()

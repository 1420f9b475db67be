"""The review app in a real browser, over half a million scored bins: ``python -m benchmarks.review_app``.

Prints how long it takes from a click until what was asked for is seen, the processor time that the server and the
browser spend until the page is told so (other load on the machine lengthens the first, hardly the second), and the
server's memory. The page itself looks at its clock, at the click and two frames after the chart came.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from benchmarks.scored_store import StoreSize, write_scored_store
from benchmarks.table import Row, as_text, machine

_MAIN = Path(__file__).resolve().parents[1] / "app" / "main.py"
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
              "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
_WAIT_MS = 60_000
_CHART = "[data-testid=stVegaLiteChart]"
#: Few marks are drawn as elements, many as pixels.
_LANES, _DRAWN = f"{_CHART}[aria-label*='lane for each instrument']", ":is(svg, canvas)"
_SCATTER = f"{_CHART}[aria-label*=' against ']"
_CLOUD = f"{_CHART}[aria-label*='Point cloud of {{}}']"
_CLICKS = 7

#: Notes in each page when somebody last asked for something, and when each chart, by its description, was last drawn.
_CLOCK = """
window.asked = 0; window.drawn = {};
for (const kind of ["pointerup", "keydown"]) addEventListener(kind, () => { window.asked = performance.now(); }, true);
new MutationObserver(changes => {
  for (const added of changes.flatMap(change => [...change.addedNodes])) {
    const chart = added.parentElement?.closest("[data-testid=stVegaLiteChart]");
    if (!chart || !(added.matches("canvas, svg") || added.querySelector("canvas, svg"))) continue;
    const label = chart.getAttribute("aria-label");
    requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn[label] = performance.now(); }));
  }
}).observe(document, {childList: true, subtree: true});
"""
_SMALL = StoreSize(n_bins=3_000, n_days=40, days_with_clouds=1)

#: What must hold, in seconds and MB.
_FIRST_COLD_S, _FIRST_WARM_S, _CHANGE_S, _CLOUD_S, _MEMORY_MB = 3.5, 2.0, 0.6, 0.6, 600


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
            rows = _measure(address, Stopwatch(pid))
            memory_mb = _memory_mb(pid)
    click.echo(machine())
    click.echo(as_text(rows))
    click.echo(f"memory of the server: {memory_mb} MB (limit {_MEMORY_MB})")


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds that something took, and the processor seconds that the server and the browser spent meanwhile."""

    seconds: float
    server_s: float
    browser_s: float


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times actions; ``server``: the process of the app. All other children of this process are the browser's."""

    server: int

    def taken(self, act: Callable[[], float]) -> Taken:
        """What an action took; it returns how many seconds passed until its chart was seen."""
        server_s, browser_s = self._server_s(), self._browser_s()
        seconds = act()
        return Taken(seconds, self._server_s() - server_s, self._browser_s() - browser_s)

    def _server_s(self) -> float:
        return _processor_s(self.server)

    def _browser_s(self) -> float:
        return sum(_processor_s(pid) for pid in _descendants(os.getpid()) if pid != self.server)


def _measure(address: str, watch: Stopwatch) -> list[Row]:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        rows = [
            *_openings(browser, address, watch),
            *_changes(browser, address, watch),
            *_explored(browser, address, watch),
            *_clouds(browser, address, watch),
        ]
        browser.close()
    return rows


def _openings(browser: Browser, address: str, watch: Stopwatch) -> list[Row]:
    rows = []
    for name, path in (("overview", ""), ("timeline of all years", "timeline?span=all")):
        cold, *warm = (_opened(browser, f"{address}/{path}", watch) for _ in range(4))
        rows += [
            _row(f"{name}, cold", [cold], _FIRST_COLD_S, "first visit after the start"),
            _row(f"{name}, warm", warm, _FIRST_WARM_S),
        ]
    return rows


def _opened(browser: Browser, address: str, watch: Stopwatch) -> Taken:
    """Until a page is whole, in a browser that has nothing of the app yet."""
    page = _page(browser)

    def open_page() -> float:
        page.goto(address)
        seconds = _seen_after(page, page.locator(f"{_LANES}:has({_DRAWN})").first)
        _settled(page)
        return seconds

    taken = watch.taken(open_page)
    page.context.close()
    return taken


def _changes(browser: Browser, address: str, watch: Stopwatch) -> list[Row]:
    page = _page(browser)
    page.goto(f"{address}/timeline?span=all")
    page.locator(f"{_LANES} {_DRAWN}").first.wait_for()
    _settled(page)
    zoomed = [_until_other_chart(page, lambda: _brush(page), watch) for _ in range(2)]
    spans = [_until_other_chart(page, lambda name=name: page.get_by_text(name, exact=True).first.click(), watch)
             for name in ("month", "year", "all")]  # fmt: skip
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("combobox", name=re.compile("Verdicts")).click()
    filtered = [_until_other_chart(page, lambda: page.get_by_role("option", name="Watch").click(), watch)]
    page.context.close()
    return [
        _row("zoom by brush", zoomed, _CHANGE_S),
        _row("another period", spans, _CHANGE_S, "month, year, all years"),
        _row("a filter on all years", filtered, _CHANGE_S, "one verdict"),
    ]


def _explored(browser: Browser, address: str, watch: Stopwatch) -> list[Row]:
    """Conditions on a measurement of all bins, after it was read once."""
    page = _page(browser)
    page.goto(f"{address}/explore?span=all&where=humidity_pct:30:")
    page.locator(f"{_SCATTER} {_DRAWN}").first.wait_for()
    _settled(page)
    taken = []
    for value in ("40", "50", "55"):
        box = page.get_by_label("housing humidity (%), from")

        def enter(box: Locator = box, value: str = value) -> None:
            box.fill(value)
            box.press("Enter")

        taken.append(_until_other_chart(page, enter, watch, _SCATTER))
    page.context.close()
    return [_row("a condition on all years", taken, _CHANGE_S, "humidity from a value on")]


def _clouds(browser: Browser, address: str, watch: Stopwatch) -> list[Row]:
    page = _page(browser)
    clicked = []
    for number in range(_CLICKS):
        page.goto(f"{address}/timeline?span=day")
        mark = page.locator(f"{_LANES} .mark-symbol path[aria-label*='bin: D']").nth(5 + 3 * number)
        mark.wait_for()
        _settled(page)
        pid = re.findall(r"bin: (D\w+)", mark.get_attribute("aria-label") or "")[0]
        clicked.append(watch.taken(lambda mark=mark, pid=pid: _click_to_cloud(page, mark, pid)))
    stepped = []
    for _ in range(_CLICKS):
        _settled(page)
        shown = page.locator(f"{_CHART}[aria-label*='Point cloud']").get_attribute("aria-label")
        stepped.append(watch.taken(lambda shown=shown: _step_to_cloud(page, shown)))
    page.context.close()
    return [
        _row("click on a mark until its cloud", clicked, _CLOUD_S),
        _row("to the bin before it, by key", stepped, _CLOUD_S),
    ]


def _click_to_cloud(page: Page, mark: Locator, pid: str) -> float:
    mark.click(force=True)
    return _seen_after(page, page.locator(_CLOUD.format(pid)))


def _step_to_cloud(page: Page, shown: str | None) -> float:
    page.keyboard.press("ArrowLeft")
    return _seen_after(page, page.locator(f"{_CHART}[aria-label*='Point cloud']:not([aria-label='{shown}'])"))


def _seen_after(page: Page, chart: Locator) -> float:
    """Seconds from what was last asked for, or from opening the page, until a chart was drawn."""
    label = chart.get_attribute("aria-label")
    drawn = page.wait_for_function("label => window.drawn[label] > window.asked && window.drawn[label]", arg=label)
    return (drawn.json_value() - page.evaluate("window.asked")) / 1000


def _until_other_chart(page: Page, act: Callable[[], object], watch: Stopwatch, chart: str = _LANES) -> Taken:
    """Until a chart shows other bins: its description says how many."""
    before = page.locator(chart).first.get_attribute("aria-label")

    def change() -> float:
        act()
        return _seen_after(page, page.locator(f"{chart}:not([aria-label='{before}'])"))

    taken = watch.taken(change)
    _settled(page)
    return taken


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
    page.add_init_script(_CLOCK)
    return page


def _row(name: str, taken: Sequence[Taken], limit_s: float, note: str = "") -> Row:
    seconds, server_s, browser_s = (
        statistics.median(getattr(one, part) for one in taken) for part in ("seconds", "server_s", "browser_s")
    )
    times = f"median of {len(taken)}, worst {max(one.seconds for one in taken):.2f} s" if len(taken) > 1 else ""
    processors = f"processor: server {server_s:.2f} s, browser {browser_s:.2f} s"
    return Row(name, seconds, limit_s=limit_s, note="; ".join(filter(None, (processors, times, note))))


def _processor_s(pid: int) -> float:
    try:
        cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> list[int]:
    try:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except FileNotFoundError:
        return []
    children = [int(child) for text in texts for child in text.split()]
    return [*children, *(other for child in children for other in _descendants(child))]


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

"""The review app as people run it, and a browser to visit it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"
START_SECONDS = 60
WAIT_MS = 30_000

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
              "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


#: Streamlit asks for these below a page's address first, then where they are.
_ASKED_FOR_TWICE = ("/_stcore/health", "/_stcore/host-config")


@dataclass(slots=True)
class Visit:
    """A page of the app, and what it asked of the network and complained of."""

    page: Page
    address: str
    theme: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Requests that went to other machines than this one."""
        return [url for url in self.requests if urlsplit(url).scheme not in {"data", "blob"}
                and urlsplit(url).hostname != "127.0.0.1"]  # fmt: skip

    def expect_quiet(self) -> None:
        """Nothing was asked of other machines, and the browser complained of nothing."""
        assert self.requests
        assert not self.strangers
        assert not self.complaints

    def open(self, path: str) -> None:
        """Go to a page of the app, and wait until it is drawn."""
        self.page.goto(f"{self.address}/{path}")
        self.expect_still()

    def expect_still(self) -> None:
        """Wait until the script has run and everything is drawn."""
        expect(self.page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")
        expect(self.page.locator("[data-testid=stSkeleton]")).to_have_count(0)


@contextmanager
def running_app(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """The address of the app, started with these variables from ``folder``, which is not the project's."""
    url = f"http://127.0.0.1:{_free_port()}"
    log = folder / "log"
    command = [sys.executable, "-m", "streamlit", "run", str(MAIN), "--server.port", url.rpartition(":")[2],
               "--server.address", "127.0.0.1"]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT
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


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; the test is skipped where this machine has none."""
    if _CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visiting(
    browser: Browser, address: str, reviewer: str | None = None, theme: Literal["light", "dark"] = "light"
) -> Iterator[Visit]:
    """A fresh visitor, whom the app knows by this name, and whose browser prefers this theme."""
    # Far from UTC: times are UTC wherever the reader is.
    context = browser.new_context(
        viewport={"width": 1366, "height": 900},
        timezone_id="America/New_York",
        accept_downloads=True,
        color_scheme=theme,
    )
    if reviewer is not None:
        context.add_cookies([{"name": "ifcb_reviewer", "value": quote(reviewer), "url": address}])
    visit = Visit(context.new_page(), address, theme)
    visit.page.set_default_timeout(WAIT_MS)
    visit.page.on("request", lambda sent: visit.requests.append(sent.url))
    visit.page.on("websocket", lambda socket: visit.requests.append(socket.url))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("console", lambda said: visit.complaints.append(said.text) if _is_complaint(said) else None)
    yield visit
    context.close()


def _is_complaint(said: ConsoleMessage) -> bool:
    path = urlsplit(said.location["url"]).path
    return said.type in {"error", "warning"} and not path.endswith(_ASKED_FOR_TWICE)


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

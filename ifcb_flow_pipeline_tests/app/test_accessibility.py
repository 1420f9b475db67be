"""Every page, on a laptop and on a tablet, light and dark: readable for everyone, quiet, and asking nobody else.

The rules are axe-core's (Deque, MPL-2.0). It is no part of the project: the path of its ``axe.min.js`` is taken from
IFCB_AXE, else npm is asked for it; without either, these tests are skipped.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from ifcb_flow_pipeline_tests.app.reviewed import WORST
from ifcb_flow_pipeline_tests.app.served import visiting

pytestmark = pytest.mark.browser

AXE = "axe-core@4.14.1"
PAGES = ("", "timeline?span=all", "explore?span=all&where=mean_x:660:", f"bin?bin={WORST}", "triage?period=all",
         f"gallery?bin={WORST}&order=fault", f"image?pid={WORST}&roi=299", f"bin?bin={WORST}&roi=299", "window",
         "study", "try_a_bin", "models", "models?part=features", "export")  # fmt: skip
LAPTOP, TABLET = (1366, 768), (820, 1180)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of axe-core."""
    if path := os.environ.get("IFCB_AXE"):
        return Path(path).read_text(encoding="utf-8")
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("no axe-core: set IFCB_AXE to its axe.min.js")
    command = [npm, "pack", "--silent", "--prefer-offline", "--fetch-retries=0", AXE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("axe-core cannot be had from npm: set IFCB_AXE to its axe.min.js")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as content:
        found = content.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


@pytest.mark.parametrize(("theme", "size"), [("light", LAPTOP), ("dark", TABLET)])
def test_no_page_breaks_a_serious_rule_of_accessibility_or_complains_or_asks_others(
    axe: str, browser: Browser, address: str, theme, size: tuple[int, int]
):
    with visiting(browser, address, "Ada", theme) as visit:
        visit.page.set_viewport_size({"width": size[0], "height": size[1]})
        broken = {}
        for path in PAGES:
            visit.open(path)
            visit.page.evaluate(axe)
            found = visit.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
            broken[path] = [
                (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
            ]
            wide = visit.page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
            inside = visit.page.evaluate("document.querySelector('[data-testid=stMain]').clientWidth")
            assert wide <= inside, f"{path} is cut off at the right"
        assert not {path: rules for path, rules in broken.items() if rules}
        visit.expect_quiet()

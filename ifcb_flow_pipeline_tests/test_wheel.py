"""The wheel, as somebody gets it who has no checkout: installed beside its dependencies, used from an empty folder."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from datetime import date
from email.parser import Parser
from pathlib import Path
from urllib.request import urlopen

import pytest

from ifcb_flow_pipeline import serving
from ifcb_flow_pipeline.serving import ServingError
from ifcb_flow_pipeline.simulate import ArchivePlan, Episode, InstrumentProfile, write_archive
from ifcb_flow_pipeline_tests.test_serving import PATIENCE_SECONDS, processes_with, wait_for

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "ifcb_flow_pipeline", "app")

#: The overview, drawn once by the installed app.
DRAWN = """
from streamlit.testing.v1 import AppTest
from ifcb_flow_pipeline.serving import app_script
page = AppTest.from_file(app_script(), default_timeout=300).run()
assert not page.exception, page.exception
print(app_script(), [each.value for each in page.markdown])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:  # building leaves files behind, which the checkout is not to have
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and this one's other packages beneath."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    # A folder on the path only: this environment's own .pth files, which may name the checkout, are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for program in ("dagster", "dagster-daemon", "streamlit"):
        shutil.copy(Path(sys.executable).with_name(program), folder / "bin")
        text = (folder / "bin" / program).read_text()
        (folder / "bin" / program).write_text(re.sub(r"\A#!.*", f"#!{python}", text))
    _with_compiled_kernels(site)
    return folder / "bin"


def _with_compiled_kernels(site: Path) -> None:
    """Give the installed package the machine code that the checkout has, which takes minutes to make."""
    for path in (ROOT / "ifcb_flow_pipeline").rglob("*"):
        there = site / path.relative_to(ROOT)
        if path.suffix in {".nbi", ".nbc"}:
            there.parent.mkdir(exist_ok=True)
            shutil.copy2(path, there)
        elif path.suffix == ".py":  # numba knows a source by its time and size
            shutil.copystat(path, there)


def test_nothing_in_the_metadata_keeps_it_off_the_package_index(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert not [line for line in metadata.get_all("Requires-Dist", []) if " @ " in line]
    versions = {line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if ":: 3." in line}
    assert versions == {"3.11", "3.12", "3.13"}
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_it_holds_every_file_of_the_package_and_of_the_app_and_nothing_else(wheel: Path) -> None:
    def files(folder: str) -> set[str]:
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(ROOT)) for path in found}

    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files("ifcb_flow_pipeline") | {f"ifcb_flow_pipeline/_app/{name}" for name in files("app")}


def test_outside_a_checkout_the_demo_goes_as_far_as_both_pages(programs: Path, tmp_path: Path) -> None:
    plan = ArchivePlan(
        instruments=(InstrumentProfile("IFCB134"),),
        first_day=date(2024, 5, 13),
        n_days=1,
        mean_triggers=80,
        episodes=(Episode("air", "IFCB134", day=0, hour=18, n_bins=3, severity=1.0),),
    )
    write_archive(plan, tmp_path / "bins")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("IFCB_", "PYTHONPATH"))}
    environment |= {"IFCB_DATA_DIR": str(tmp_path / "bins"), "IFCB_SETTLE_SECONDS": "0"}
    if "IFCB_KERNEL_CACHE" in os.environ:
        environment["IFCB_KERNEL_CACHE"] = os.environ["IFCB_KERNEL_CACHE"]
    command = [programs / "ifcb-flow", "demo", "--dagster-port", "34300", "--app-port", "38800"]
    with subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = []
            while len(re.findall("http://", "".join(said))) < 2:
                line = process.stdout.readline()
                assert line, "".join(said)
                said.append(line)
            dagster, app = re.findall(r"http://127\.0\.0\.1:\d+", "".join(said))
            assert urlopen(f"{dagster}/server_info", timeout=10).status == 200
            assert b"<title>" in urlopen(app, timeout=10).read()
            assert any("air bubbles" in line for line in said)
            home = {"IFCB_FLOW_HOME": str(empty / "ifcb-flow-data")}
            drawn = subprocess.run(
                [programs / "python", "-c", DRAWN], cwd=empty, env=environment | home, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert drawn.returncode == 0, drawn.stderr
            assert "_app/app/main.py" in drawn.stdout
            assert "IFCB134" in drawn.stdout
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0
            wait_for(lambda: not processes_with(str(tmp_path)))
        finally:
            process.kill()
    assert [path.name for path in empty.iterdir()] == ["ifcb-flow-data"]


def test_in_a_checkout_the_app_is_that_of_the_checkout() -> None:
    assert serving.app_script() == ROOT / "app" / "main.py"


def test_somebody_elses_app_beside_the_package_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").touch()
    monkeypatch.setattr(serving, "__file__", str(tmp_path / "ifcb_flow_pipeline" / "serving.py"))
    with pytest.raises(ServingError, match="install ifcb-flow-pipeline again"):
        serving.app_script()

"""The layers: what each part of the package may import and touch, and that importing it does nothing."""

import ast
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ifcb_flow_pipeline

PACKAGE = Path(ifcb_flow_pipeline.__file__).parent
NAME = PACKAGE.name

#: Values and arithmetic: no files, no clock, no environment.
PURE = ("bins", "features", "detection")
#: Knows disks, but neither Dagster nor Streamlit.
STORAGE = ("store", "days", "pictures", "dashboard", "alerts", "alert_settings", "recent", "mirror")
#: Values again, of what storage keeps.
REVIEW = "review"

#: Needs a library that is not installed everywhere.
OPTIONAL = f"{NAME}.store.pyifcb_reader"

#: What the machine, and not a value, is behind.
WORLD = {"os", "pathlib", "time", "shutil", "tempfile", "glob", "subprocess", "socket", "threading", "multiprocessing"}

#: Runs in a fresh interpreter: imports modules and tells what that did.
PROBE = """
import importlib, json, sys, threading
package, names, before = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")
touched = []

def watch(event, arguments):
    if event not in ("open", "os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "socket.connect"):
        return
    if event == "open" and not (set(str(arguments[1] or "r")) & set("wax+")):
        return
    frame = sys._getframe(1)
    while frame and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    # What a library does while it is imported is its own affair.
    if frame and frame.f_code.co_filename.startswith(package):
        touched.append(f"{event} {arguments[0]}")

for name in filter(None, before):
    importlib.import_module(name)
libraries = set(sys.modules)
sys.addaudithook(watch)
for name in names:
    importlib.import_module(name)
print(json.dumps({
    "new": sorted({name.split(".")[0] for name in set(sys.modules) - libraries}),
    "ours": sorted(name for name in sys.modules if name.startswith("ifcb_flow_pipeline")),
    "threads": [thread.name for thread in threading.enumerate()],
    "touched": touched,
}))
"""


def modules(*parts: str) -> list[str]:
    """The names of the modules of these parts of the package; of all of it where none are given."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).with_suffix("").parts
        inside = inside[:-1] if inside[-1] == "__init__" else inside
        if not parts or (inside and inside[0] in parts):
            found.append(".".join((NAME, *inside)))
    return found


@functools.cache
def tree_of(module: str) -> ast.Module:
    path = PACKAGE.parent.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(source.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> set[str]:
    """Everything that a module imports anywhere, as full dotted names, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names}
    return found


def importing(wanted: str, *names: str) -> set[str]:
    """Which of these modules import ``wanted`` or something in it."""
    return {
        name
        for name in names
        if any(found == wanted or found.startswith(f"{wanted}.") for found in imports(tree_of(name)))
    }


@functools.cache
def probe(names: tuple[str, ...], before: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """What importing these modules into a fresh interpreter did, once libraries named ``before`` were there."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, "-c", PROBE, str(PACKAGE), ",".join(names), ",".join(before)]
    done = subprocess.run(program, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_parts_that_the_rules_are_about_exist():
    for part in (*PURE, *STORAGE, REVIEW, "defs", "definitions", "web"):
        assert modules(part), part
    assert f"{NAME}.bins.adc" in modules("bins")
    assert "pathlib.PurePosixPath" in imports(tree_of(f"{NAME}.bins.archive"))


# Who imports whom


def test_bins_and_features_load_no_framework_and_no_tables():
    loaded = set(probe(tuple(modules("bins", "features")))["new"])
    assert "numpy" in loaded
    assert not loaded & {"dagster", "streamlit", "matplotlib", "pyarrow", "pandas", "sklearn"}


def test_detection_knows_tables_but_no_frameworks():
    loaded = set(probe(tuple(modules("detection")), ("sklearn.ensemble",))["new"])
    assert not loaded & {"dagster", "streamlit", "matplotlib", "pandas"}
    for library in ("pandas", "matplotlib"):
        assert importing(library, *modules("detection")) == set()


def test_storage_loads_neither_dagster_nor_streamlit():
    found = probe(tuple(name for name in modules(*STORAGE, REVIEW) if name != OPTIONAL))
    assert "pyarrow" in found["new"]
    assert not set(found["new"]) & {"dagster", "streamlit"}
    assert not [name for name in found["ours"] if name.startswith((f"{NAME}.defs", f"{NAME}.definitions"))]


def test_lower_parts_know_nothing_of_higher_ones():
    order = ("bins", "features", "detection", "store", REVIEW)
    for i, part in enumerate(order):
        for higher in (
            *order[i + 1 :],
            "days",
            "pictures",
            "dashboard",
            "alerts",
            "mirror",
            "api",
            "defs",
            "simulate",
            "web",
        ):
            assert importing(f"{NAME}.{higher}", *modules(part)) == set(), f"{part} imports {higher}"


def test_only_the_definitions_import_dagster():
    culprits = importing("dagster", *modules())
    assert f"{NAME}.definitions" in culprits
    assert culprits <= set(modules("defs", "definitions"))


def test_the_definitions_load_nothing_that_takes_long_besides_dagster():
    loaded = set(probe((f"{NAME}.definitions",))["new"])
    assert "dagster" in loaded
    assert not loaded & {"sklearn", "scipy", "numba", "pandas", "matplotlib", "streamlit"}


def test_nothing_imports_streamlit_the_app_or_the_command_line():
    for wanted in ("streamlit", "app", f"{NAME}.cli"):
        assert importing(wanted, *modules()) == set(), wanted


def test_only_one_module_speaks_to_dashboards():
    # serving asks its own pages whether they are up.
    assert importing("urllib.request", *modules()) == {f"{NAME}.dashboard", f"{NAME}.serving"}


def test_only_one_module_sends_alerts():
    assert importing("apprise", *modules()) == {f"{NAME}.alerts"}


def test_no_module_imports_relatively():
    assert {name for name in modules() if any(found.startswith(".") for found in imports(tree_of(name)))} == set()


# Purity


def world_of(tree: ast.AST) -> list[str]:
    """What in a module reaches for files, the clock or the environment."""
    outer = imports(tree) - {"pathlib.PurePosixPath"}
    found = [name for name in outer if name.split(".")[0] in WORLD]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("open", "io.open", "input", "print") or called.endswith((".now", ".utcnow", ".today")):
                found.append(called)
    return found


@pytest.mark.parametrize(
    "source",
    ["import os", "import os.path", "from pathlib import Path", "import time", "open('a')", "datetime.now(tz=UTC)",
     "def f():\n    from time import sleep", "date.today()"],
)  # fmt: skip
def test_the_search_for_the_outer_world_finds_it(source):
    assert world_of(ast.parse(source))


@pytest.mark.parametrize("module", modules(*PURE, REVIEW))
def test_the_pure_parts_reach_for_no_file_clock_or_environment(module):
    assert world_of(tree_of(module)) == []


# Importing does nothing


def test_importing_the_package_alone_loads_no_library():
    found = probe((NAME,))
    assert found["ours"] == [NAME]
    assert not set(found["new"]) & {"sklearn", "dagster", "pandas", "numpy", "pyarrow", "matplotlib", "streamlit"}


def test_the_public_names_are_there_when_they_are_used():
    assert ifcb_flow_pipeline.__all__ == ["FeatureExtractor", "Inferencer", "ModelTrainer"]
    for name in ifcb_flow_pipeline.__all__:
        assert isinstance(getattr(ifcb_flow_pipeline, name), type)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ifcb_flow_pipeline.no_such_name


def test_importing_everything_writes_nothing_and_starts_no_threads_or_programs():
    found = probe(tuple(name for name in modules() if name != OPTIONAL))
    assert found["touched"] == []
    assert found["threads"] == ["MainThread"]


def test_the_probe_notices_a_module_that_writes_when_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "culprit.py").write_text("open(__file__ + '.out', 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = [sys.executable, "-c", PROBE, str(tmp_path), "culprit", ""]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["touched"] == [f"open {tmp_path / 'culprit.py.out'}"]

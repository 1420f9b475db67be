"""Where the machine code of kernels is kept, never in a folder that somebody else could write to, and until when."""

import importlib.util
import os
import re
import stat
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import numba
import pytest

from ifcb_flow_pipeline import compiled, days, warm
from ifcb_flow_pipeline.api import train_on
from ifcb_flow_pipeline.bins import scan
from ifcb_flow_pipeline.detection.reference import forest_kernel
from ifcb_flow_pipeline.features import kernels, stream_kernels
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

#: A package whose kernel takes a constant from one file, and a function with a constant of its own from another.
PACKAGE = {
    "__init__.py": "",
    "constants.py": "LIMIT = 60\nSTEPS = (1, 2)\n",
    "parts.py": """
from ifcb_flow_pipeline.compiled import inlined
from tree import constants

@inlined
def steps(number):
    return number * constants.STEPS[0]
""",
    "kernels.py": """
from ifcb_flow_pipeline.compiled import kernel
from tree.constants import LIMIT
from tree.parts import steps

@kernel
def beyond(number):
    return steps(number - LIMIT)
""",
}

PACKAGE_ROOT = Path(compiled.__file__).parent

SOURCE = """
from ifcb_flow_pipeline.compiled import inlined, kernel

@inlined
def _double(number):
    return 2 * number

@kernel
def twice(number):
    return _double(number)
"""


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """A folder with code and the places that a cache may have: all are there, none is used yet."""
    for name in ("code", "user", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "kernels.py").write_text(SOURCE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("IFCB_KERNEL_CACHE", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def read_only_code(places: Path) -> None:
    # A file where the folder should be stops even the superuser, whom permissions do not.
    (places / "code" / "__pycache__").write_text("")


def no_user_folder(places: Path) -> None:
    (places / "user").rmdir()
    (places / "user").write_text("")


def private_folder(places: Path) -> Path:
    return places / "temporary" / f"ifcb-flow-kernels-{os.getuid()}"


def cached_in(places: Path) -> set[str]:
    """Run the kernel; which of the places then hold machine code."""
    specification = importlib.util.spec_from_file_location("kernels", places / "code" / "kernels.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert module.twice(21) == 42
    return {path.relative_to(places).parts[0] for path in places.rglob("*.nbi")}


def test_a_kernel_is_cached_beside_its_code(places):
    assert cached_in(places) == {"code"}


def test_in_a_read_only_install_it_is_cached_in_the_users_folder(places):
    read_only_code(places)
    assert cached_in(places) == {"user"}


def test_without_either_it_is_cached_in_a_private_temporary_folder(places):
    read_only_code(places)
    no_user_folder(places)
    assert cached_in(places) == {"temporary"}
    assert stat.S_IMODE(private_folder(places).stat().st_mode) == 0o700
    assert numba.config.CACHE_DIR == ""
    assert cached_in(places) == {"temporary"}


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_temporary_folder_that_others_can_enter_is_not_used(places, mode):
    read_only_code(places)
    no_user_folder(places)
    private_folder(places).mkdir()
    private_folder(places).chmod(mode)
    assert cached_in(places) == set()


def test_a_temporary_folder_of_somebody_else_is_not_used(places, monkeypatch):
    read_only_code(places)
    no_user_folder(places)
    somebody = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    private_folder(places).mkdir(mode=0o700)
    assert cached_in(places) == set()


def test_a_link_in_the_temporary_folder_is_not_followed(places):
    read_only_code(places)
    no_user_folder(places)
    (places / "elsewhere").mkdir(mode=0o700)
    private_folder(places).symlink_to(places / "elsewhere")
    assert cached_in(places) == set()


def test_without_any_place_at_all_kernels_are_compiled_every_time(places, monkeypatch):
    read_only_code(places)
    no_user_folder(places)
    monkeypatch.setattr(tempfile, "tempdir", str(places / "user" / "absent"))
    assert cached_in(places) == set()
    # The folder is ours, and full or read-only: a file stands where numba makes its own.
    monkeypatch.setattr(compiled, "_private_folder", lambda: places / "user")
    assert cached_in(places) == set()


def test_without_user_ids_there_is_no_temporary_folder(places, monkeypatch):
    monkeypatch.delattr(os, "getuid")
    assert compiled._private_folder() is None


def test_an_install_that_cannot_be_written_to_reads_files(places):
    """All of it in a fresh process, as in a container without a home."""
    read_only_code(places)
    no_user_folder(places)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(places / "code"), *sys.path]),
        "HOME": str(places / "user"),
        "TMPDIR": str(places / "temporary"),
    }
    for _ in range(2):
        program = "import kernels; print(kernels.twice(4), sum(kernels.twice.stats.cache_hits.values()))"
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    # The second process found what the first one had compiled.
    assert run.stdout.split() == ["8", "1"]
    assert stat.S_IMODE(private_folder(places).stat().st_mode) == 0o700


# A folder that travels


def hits(environment: dict[str, str]) -> int:
    """How often a fresh process that runs the kernel found its machine code."""
    program = "import kernels; assert kernels.twice(4) == 8; print(sum(kernels.twice.stats.cache_hits.values()))"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, check=True, env=os.environ | environment, capture_output=True, text=True)
    return int(run.stdout)


def at(code: Path, cache: Path) -> dict[str, str]:
    path = os.pathsep.join([str(code), *sys.path])
    return {"PYTHONPATH": path, "IFCB_KERNEL_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}


def test_what_was_compiled_into_a_folder_is_found_by_another_install_that_has_the_folder(places):
    assert hits(at(places / "code", places / "cache")) == 0
    assert hits(at(places / "code", places / "cache")) == 1
    # As an image does: the code in another place, with other times, and the folder moved with it.
    (places / "elsewhere").mkdir()
    (places / "elsewhere" / "kernels.py").write_text(SOURCE)
    (places / "cache").rename(places / "shipped")
    assert hits(at(places / "elsewhere", places / "shipped")) == 1
    assert not list((places / "elsewhere").rglob("*.nbi"))


def test_a_folder_that_cannot_be_written_to_or_holds_rubbish_costs_time_only(places):
    (places / "cache").write_text("a file where the folder should be")
    assert hits(at(places / "code", places / "cache")) == 0
    (places / "cache").unlink()
    assert hits(at(places / "code", places / "cache")) == 0
    for file in (places / "cache").iterdir():
        file.write_bytes(b"")
    assert hits(at(places / "code", places / "cache")) == 0
    assert hits(at(places / "code", places / "cache")) == 1


def test_kernels_are_made_for_a_kind_of_processor_and_not_for_this_one():
    program = (
        "from ifcb_flow_pipeline import compiled; from numba.core.registry import cpu_target;"
        "print(cpu_target.target_context.codegen().magic_tuple()[1:] == (compiled.TARGET, ''))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    run = subprocess.run([sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True)
    has = compiled.llvm.get_host_cpu_features()
    assert run.stdout.strip() == str(all(has.get(feature) for feature in compiled._TARGET_NEEDS))


def test_whatever_is_run_after_warming_up_is_compiled(tmp_path):
    warm.warm()
    before = warm.all_kernels()
    written = {
        f"{path.relative_to(PACKAGE_ROOT.parent).with_suffix('')}.{name}".replace(os.sep, ".")
        for path in PACKAGE_ROOT.rglob("*.py")
        for name in re.findall(r"^@kernel\ndef (\w+)", path.read_text(), re.MULTILINE)
    }
    # Those of the simulator are nobody's who has bins; what only other kernels call has no form of its own.
    not_asked_for = {name for name in written if ".simulate." in name} | {f"{forest_kernel.__name__}._steps"}
    assert {name for name in written if not before.get(name)} <= not_asked_for
    pids = [f"D20230810T{hour:02}0000_IFCB134" for hour in range(24)] + ["IFCB1_2006_158_000036"]
    for pid in pids:
        write_bin(simulate_bin(pid, mean_triggers=150), tmp_path / "archive")
    archive, tables, settings = (
        Archive(tmp_path / "archive", settle=timedelta()),
        DailyTables(tmp_path),
        FeatureSettings(),
    )
    listing = archive.scan()
    for day in listing.days:
        days.write_inventory(tables, archive, listing, day)
        days.write_clouds(tables, archive, day)
        days.write_features(tables, settings, day)
    features = tables.read_range(BIN_FEATURES, listing.days[0], listing.days[-1])
    days.score_table(features, train_on(features, settings))
    after = warm.all_kernels()
    assert {name: after[name] for name in before} == before


# What has changed is compiled anew


@pytest.fixture
def tree(tmp_path) -> Path:
    """The files of the package."""
    (tmp_path / "tree").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "tree" / name).write_text(text)
    return tmp_path / "tree"


def beyond(tree: Path, number: int = 100) -> tuple[int, int]:
    """What a fresh process computes with the package's kernel, and how often it found machine code in the cache."""
    program = f"from tree.kernels import beyond; print(beyond({number}), sum(beyond.stats.cache_hits.values()))"
    path = os.pathsep.join([str(tree.parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment, capture_output=True, text=True, cwd=tree.parent
    )
    value, hits = map(int, run.stdout.split())
    return value, hits


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_changed_constant_of_another_file_never_meets_machine_code_of_before(tree):
    assert beyond(tree) == (40, 0)
    assert beyond(tree) == (40, 1)
    # Machine code with the old value stayed in use: the file of the kernel is what it was.
    change(tree / "constants.py", "LIMIT = 60", "LIMIT = 90")
    assert beyond(tree) == (10, 0)
    assert beyond(tree) == (10, 1)


def test_nor_does_a_changed_function_of_another_file_or_a_constant_that_only_this_one_takes(tree):
    assert beyond(tree) == (40, 0)
    change(tree / "parts.py", "number * constants", "1 + number * constants")
    assert beyond(tree) == (41, 0)
    change(tree / "constants.py", "STEPS = (1, 2)", "STEPS = (3, 2)")
    assert beyond(tree) == (121, 0)


def test_what_no_kernel_takes_may_change_and_nothing_is_compiled(tree):
    assert beyond(tree) == (40, 0)
    (tree / "other.py").write_text("LIMIT = 5")
    assert beyond(tree) == (40, 1)


@pytest.mark.parametrize(
    ("module", "constant", "changed"),
    [
        (stream_kernels, "STRAY_PX", 200.0),
        (stream_kernels, "FULL_WIDTH", 0.8),
        (stream_kernels, "LOGARITHMS", stream_kernels.LOGARITHMS + 1),
        (kernels, "EDGE_TOLERANCE_PX", 4),
        (scan, "DTYPES", scan.DTYPES[::-1]),
    ],
)
def test_the_fingerprint_of_a_file_of_kernels_follows_the_constants_that_it_uses(
    monkeypatch, module, constant, changed
):
    before = compiled.fingerprint(vars(module))
    assert compiled.fingerprint(vars(module)) == before
    monkeypatch.setattr(module, constant, changed)
    assert compiled.fingerprint(vars(module)) != before


def test_the_fingerprint_is_the_same_in_every_process():
    module = "ifcb_flow_pipeline.features.stream_kernels"
    program = f"import {module} as m; from ifcb_flow_pipeline.compiled import fingerprint; print(fingerprint(vars(m)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert found == {compiled.fingerprint(vars(stream_kernels))}

"""What all tests share: the sample bins, and how Hypothesis runs."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Real and simulated machines differ in speed: a slow example is no failure.
settings.register_profile("project", settings.default, deadline=None)
settings.load_profile("project")

# Which days have partitions is decided at import: not by a data folder that happens to lie in the current directory.
os.environ.setdefault("IFCB_START_DAY", "2005-01-01")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores with ``-n auto``: for about half of the time tests wait, for disks, programs started
    by them and browsers.
    """
    return max(1, len(os.sched_getaffinity(0)) * 3 // 2)


_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of sample bins beside the checkout; skips where it is absent."""
    return _existing(_SHARED / "ifcb-samples")


@pytest.fixture(scope="session")
def samples_golden() -> Path:
    """The folder of the numbers that the reference gives for the sample bins; skips where it is absent."""
    return _existing(_SHARED / "golden")


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} beside the checkout")
    return folder

from pathlib import Path

import pytest

from ifcb_flow_pipeline_tests.app.stored import bins_of_days, write_store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the app takes for the deployment's."""
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def store(home: Path) -> Path:
    """A scored store of three days."""
    return write_store(home, bins_of_days(3))

import shutil
from pathlib import Path

import pytest

from ifcb_flow_pipeline_tests.app.reviewed import write_review_store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the app takes for the deployment's."""
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def written_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored store of five days, which nobody may change."""
    return write_review_store(tmp_path_factory.mktemp("written"))


@pytest.fixture
def store(home: Path, written_store: Path) -> Path:
    """A scored store of five days."""
    shutil.copytree(written_store, home, dirs_exist_ok=True)
    return home

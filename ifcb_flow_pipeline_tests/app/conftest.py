import shutil
from pathlib import Path

import pytest

from app import data
from ifcb_flow_pipeline_tests.app.reviewed import WORST, write_review_store


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


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(written_store: Path) -> None:
    """Compiles what the pages need, once and kept on disk: no page waits for that, in this process or a served one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IFCB_FLOW_HOME", str(written_store))
        stores = data.stores()
        assert data.read_accumulated(stores, data.read_bin(stores, WORST)) is not None

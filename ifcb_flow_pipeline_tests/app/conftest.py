import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app import data
from ifcb_flow_pipeline_tests.app.reviewed import WORST, write_review_store
from ifcb_flow_pipeline_tests.app.served import chromium, running_app


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


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running app over a scored store, started from a folder that is not the project's."""
    home = write_review_store(tmp_path_factory.mktemp("home"))
    with running_app(tmp_path_factory.mktemp("elsewhere"), {"IFCB_FLOW_HOME": str(home)}) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser

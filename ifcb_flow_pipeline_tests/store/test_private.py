"""What is written is for its owner only, whatever the folder and the usual mask of the account are."""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.defs.launch import prepare_dagster_home
from ifcb_flow_pipeline.defs.liveness import alive
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.backup import back_up, restore
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.left_out import LeftOutTable
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.studies import Item, StudyStore
from ifcb_flow_pipeline.store.survey import Budget, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

from .test_models import model_of

PID, DAY = "D20230810T113059_IFCB134", date(2023, 8, 10)
NOW = datetime(2023, 8, 11, tzinfo=UTC)


@pytest.fixture(autouse=True)
def usual_mask() -> Iterator[None]:
    """That of most accounts: others may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(home: Path) -> list[str]:
    """What below a folder others on the machine can get at: neither private nor below a private folder."""
    found, pending = [], [home]
    while pending:
        for path in pending.pop().iterdir():
            if stat.S_IMODE(path.stat().st_mode) & 0o077 == 0:
                continue
            found.append(str(path.relative_to(home)))
            pending += [path] if path.is_dir() else []
    return found


def test_all_that_is_written_to_a_folder_that_others_may_read_is_private(tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "archive"
    for folder in (home, root):
        folder.mkdir(mode=0o755)
    write_bin(simulate_bin(PID, mean_triggers=60), root)
    archive, tables = Archive(root, settle=timedelta()), DailyTables(home / "tables")
    days.write_inventory(tables, archive, archive.scan(), DAY)
    days.write_clouds(tables, archive, DAY)
    days.write_features(tables, FeatureSettings(), DAY)
    settings = Settings.from_environment({"IFCB_FLOW_HOME": str(home), "IFCB_DATA_DIR": str(root)})
    Surveyor.of(settings).survey((BIN_FEATURES,), Budget())
    assert LeftOutTable(home).renew(settings, DAY, Budget())
    with tables.alone(DAY), alive(home, "run"):
        pass
    ModelStore(home / "models").save(model_of(1))
    ModelStore(home / "models").promote(model_of(1).card.model_id, "somebody")
    LabelStore(home / "labels.sqlite").add([Label(PID, "good", (), "a note", "somebody", NOW, "triage")])
    StudyStore(home / "studies.sqlite").begin("study", 1, [Item(PID, "random", 1.0, "ok", 3.0, "")], "somebody", NOW)
    prepare_dagster_home(settings)
    assert len(list(home.iterdir())) >= 7
    assert open_to_others(home) == []


def test_a_new_data_folder_and_a_backup_are_private_and_so_is_what_is_restored(tmp_path: Path) -> None:
    LabelStore(tmp_path / "a" / "home" / "labels.sqlite").add([Label(PID, "good", (), "", "somebody", NOW, "triage")])
    back_up(tmp_path / "a" / "home", tmp_path / "backup")
    (tmp_path / "b").mkdir()
    restore(tmp_path / "b", tmp_path / "backup")
    assert open_to_others(tmp_path) == ["b"]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    private_folder(tmp_path / "a" / "b")
    (tmp_path / "a").chmod(0o750)
    private_folder(tmp_path / "a" / "b" / "c")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        private_folder(tmp_path / "file")

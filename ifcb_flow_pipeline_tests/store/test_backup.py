"""Backups: complete while others write, refused where they are damaged or something is there already."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifcb_flow_pipeline.store import records
from ifcb_flow_pipeline.store.backup import BackupError, back_up, restore
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.records import RecordError, file_system

from .toys import PID


def label(note: str) -> Label:
    return Label(PID, "good", (), note, "ann", datetime(2023, 9, 1, tzinfo=UTC), "triage")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    LabelStore(tmp_path / "home" / "labels.sqlite").add([label("first")])
    (tmp_path / "home" / "models").mkdir()
    (tmp_path / "home" / "models" / "current.json").write_text("{}")
    return tmp_path / "home"


def notes(home: Path) -> list[str]:
    return [each.note for each in LabelStore(home / "labels.sqlite").history(PID)]


def test_a_backup_is_restored_with_all_that_was_decided_and_can_be_added_to(home, tmp_path):
    reader = sqlite3.connect(home / "labels.sqlite")  # the app has the file open
    reader.execute("SELECT * FROM label").fetchall()
    LabelStore(home / "labels.sqlite").add([label("second")])
    assert back_up(home, tmp_path / "backup") == ["labels.sqlite", "models"]
    LabelStore(home / "labels.sqlite").add([label("after")])
    reader.close()
    new = tmp_path / "new"
    assert restore(new, tmp_path / "backup") == ["labels.sqlite", "models"]
    assert notes(new) == ["first", "second"]
    LabelStore(new / "labels.sqlite").add([label("third")])
    assert notes(new) == ["first", "second", "third"]
    assert (new / "models" / "current.json").exists()
    with sqlite3.connect(new / "labels.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            connection.execute("DELETE FROM label")


def test_nothing_is_written_over(home, tmp_path):
    back_up(home, tmp_path / "backup")
    with pytest.raises(BackupError, match="there already"):
        back_up(home, tmp_path / "backup")
    with pytest.raises(BackupError, match="move them away"):
        restore(home, tmp_path / "backup")
    assert notes(home) == ["first"]


def test_a_damaged_backup_is_refused_before_anything_is_copied(home, tmp_path):
    back_up(home, tmp_path / "backup")
    path = tmp_path / "backup" / "labels.sqlite"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BackupError, match="use another backup"):
        restore(tmp_path / "new", tmp_path / "backup")
    assert not (tmp_path / "new").exists()
    (tmp_path / "none").mkdir()
    with pytest.raises(BackupError, match="holds no backup"):
        restore(tmp_path / "new", tmp_path / "none")


def test_decisions_are_read_where_the_disk_takes_nothing_and_adding_is_refused(home, monkeypatch):
    really, path = sqlite3.connect, home / "labels.sqlite"

    def full(database, **options):
        if Path(database) == path:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return really(database, **options)

    # Decisions that only the write-ahead log has are among them.
    keeper = really(path)
    keeper.execute("SELECT * FROM label").fetchall()
    LabelStore(path).add([label("second")])
    assert Path(f"{path}-wal").stat().st_size
    monkeypatch.setattr(records.sqlite3, "connect", full)
    assert notes(home) == ["first", "second"]
    with pytest.raises(RecordError, match="full or write-protected"):
        LabelStore(path).add([label("third")])
    keeper.close()


def test_a_network_disk_is_refused_with_the_remedy(home, monkeypatch):
    monkeypatch.setattr(records, "file_system", lambda _: "nfs4")
    with pytest.raises(RecordError, match="set IFCB_FLOW_HOME to a folder on a local disk"):
        LabelStore(home / "labels.sqlite").add([label("second")])
    assert notes(home) == ["first"]


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/a /srv nfs4 rw 0 0\n/dev/sdb /srv/local\\040disk xfs rw 0 0\n")
    found = [file_system(Path(path), mounts) for path in ("/home", "/srv", "/srv/a", "/srvice", "/srv/local disk/b")]
    assert found == ["ext4", "nfs4", "nfs4", "ext4", "xfs"]
    assert file_system(tmp_path, tmp_path / "none") == ""


def test_decisions_are_private_to_their_owner(home):
    assert (home / "labels.sqlite").stat().st_mode & 0o077 == 0

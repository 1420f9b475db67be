"""A copy of what nothing can compute again: people's decisions and studies; and the models. Safe while others write."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.private import FILE_MODE, private_folder

#: Files of records in the data folder.
RECORDS = ("labels.sqlite", "studies.sqlite", "handed_over.sqlite", "alerts.sqlite")
_MODELS = "models"


class BackupError(FlowError):
    """A backup that cannot be made or used; the message names the file and the remedy."""


def back_up(home: Path, folder: Path) -> list[str]:
    """Copy the records and models of a data folder into a new folder; returns the names of what was copied.

    Raises BackupError where the folder is there already, or where a file cannot be read or written.
    """
    if folder.exists():
        raise BackupError(f"{folder} is there already: name a new folder, and keep several")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        private_folder(partial)
        copied = [name for name in RECORDS if (home / name).exists()]
        for name in copied:
            with closing(sqlite3.connect(f"file:{home / name}?mode=ro", uri=True)) as connection:
                connection.execute("VACUUM INTO ?", (str(partial / name),))
            _check(partial / name)
        if (home / _MODELS).is_dir():
            shutil.copytree(home / _MODELS, partial / _MODELS, ignore=shutil.ignore_patterns(".*.tmp"))
            copied.append(_MODELS)
        partial.rename(folder)
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"cannot copy {home} to {folder} ({error}): is there room, and may it be written?") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return copied


def restore(home: Path, folder: Path) -> list[str]:
    """Put what a backup holds into a data folder that has none of it; returns the names of what was copied.

    Raises BackupError where something is there already, or where the backup is damaged.
    """
    found = [name for name in (*RECORDS, _MODELS) if (folder / name).exists()]
    if not found:
        raise BackupError(f"{folder} holds no backup")
    if there := [name for name in found if (home / name).exists()]:
        raise BackupError(f"{home} has {', '.join(there)} already: move them away first, with -wal and -shm")
    for name in set(found) & set(RECORDS):
        _check(folder / name)
    private_folder(home)
    for name in found:
        partial = home / f".{name}.partial"
        if name == _MODELS:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder / name, partial)
        else:
            partial.touch(mode=FILE_MODE)
            shutil.copyfile(folder / name, partial)
            with closing(sqlite3.connect(partial)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")  # as its processes expect it
        partial.rename(home / name)
    return found


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said != "ok":
        raise BackupError(f"{path} is damaged ({said}): use another backup")

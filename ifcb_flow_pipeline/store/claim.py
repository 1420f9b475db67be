"""Which archive the tables are made of: noted beside them, so that another archive is refused."""

import json
import os
from pathlib import Path

from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.daily import DailyTables, replacing


def claim(tables: DailyTables, archive: Archive) -> None:
    """Note that the tables are made of this archive, where nothing is noted yet.

    Raises ArchiveError, naming the remedy, where they are made of another.
    """
    if check_archive(tables, archive):
        move(tables, archive)


def check_archive(tables: DailyTables, archive: Archive) -> bool:
    """Whether nothing is noted yet about the archive that the tables are made of.

    Raises ArchiveError, naming the remedy, where they are made of another.
    """
    path = _note(tables)
    try:
        root = json.loads(path.read_bytes())["root"]
    except FileNotFoundError:
        return True
    except (ValueError, TypeError, KeyError):
        raise ArchiveError(f"{path} is damaged: `ifcb-flow archive-moved` writes it again") from None
    if root != _place(tables, archive):
        raise ArchiveError(
            f"the results in {tables.root} are of the archive {root}, not of {archive.root}: give each archive a data "
            "folder of its own (IFCB_FLOW_HOME), or say that it was moved (`ifcb-flow archive-moved`)"
        )
    return False


def move(tables: DailyTables, archive: Archive) -> None:
    """Note that the archive is now where this one is."""
    with replacing(_note(tables)) as temporary:
        temporary.write_text(json.dumps({"root": _place(tables, archive)}))


def _place(tables: DailyTables, archive: Archive) -> str:
    # An archive inside the data folder moves with it.
    home, root = os.path.realpath(tables.root.parent), os.path.realpath(archive.root)
    return os.path.relpath(root, home) if Path(root).is_relative_to(home) and root != home else root


def _note(tables: DailyTables) -> Path:
    return tables.root / "archive.json"

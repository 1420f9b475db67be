"""Dagster's records, written quickly while a run goes on.

Dagster opens its SQLite files anew for every event of a run, and whoever closes one last syncs it to the disk; a range
of sixty days has seven hundred events.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


@contextmanager
def held_open() -> Iterator[None]:
    """Inside, SQLite files that SQLAlchemy opens in this process stay open, and are not synced at every commit.

    In a run these are Dagster's. A power cut may cost the latest events of a run that goes on, never the files; how the
    run ended is recorded after this block, with a sync that covers all before it. A killed process loses nothing.
    """
    held: dict[str, sqlite3.Connection] = {}

    def hold(connection: Any, _record: object) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        connection.execute("PRAGMA synchronous=NORMAL")
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        if path and path not in held:
            # As long as this one is open, no other is the last to close.
            held[path] = sqlite3.connect(path, check_same_thread=False)
            held[path].execute("SELECT count(*) FROM sqlite_master").fetchall()

    event.listen(Engine, "connect", hold)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hold)
        for connection in held.values():
            connection.close()

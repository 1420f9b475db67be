"""Dagster's records, written quickly while a run goes on.

Dagster makes a new engine of SQLAlchemy for each write to its SQLite files, and a range of sixty days has two thousand:
each opens the file anew, compiles the same statements anew, and, where it closes the file last, syncs it to the disk.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.dialects import registry, sqlite
from sqlalchemy.engine import Connection, Dialect, Engine


class SharedSQLite(sqlite.dialect):
    """SQLite as SQLAlchemy knows it; engines of it may share what was compiled."""

    # SQLAlchemy asks every class for it anew.
    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


class _Kept(sqlite3.Connection):
    """A connection that waits to be used again when it is closed."""

    waiting: list["_Kept"]

    def close(self) -> None:
        self.waiting.append(self)

    def really_close(self) -> None:
        super().close()


class _Pool:
    """The connections of this process to SQLite files, each used by one at a time."""

    def __init__(self) -> None:
        self.opened: list[_Kept] = []
        self.waiting: dict[str, list[_Kept]] = defaultdict(list)

    def connect(self, dialect: Dialect, _record: object, arguments: Any, options: dict[str, Any]) -> _Kept | None:
        """What SQLAlchemy is given in place of a new connection; nothing for other databases."""
        if not isinstance(dialect, SharedSQLite):
            return None
        waiting = self.waiting[str(arguments[0])]
        try:
            return waiting.pop()
        except IndexError:  # all are in use
            options = options | {"check_same_thread": False, "factory": _Kept}
            found = cast("_Kept", sqlite3.connect(*arguments, **options))
        found.execute("PRAGMA synchronous=NORMAL")
        found.waiting = waiting
        self.opened.append(found)
        return found

    def close(self) -> None:
        for connection in self.opened:
            connection.really_close()


@contextmanager
def held_open() -> Iterator[None]:
    """Inside, SQLite files that SQLAlchemy opens in this process stay open, and are not synced at every commit.

    In a run these are Dagster's. A power cut may cost the latest events of a run that goes on, never the files; how the
    run ended is recorded after this block, with a sync that covers all before it. A killed process loses nothing.
    """
    pool, compiled = _Pool(), dict[Any, Any]()

    def share(connection: Connection) -> None:
        if isinstance(connection.dialect, SharedSQLite):
            connection.execution_options(compiled_cache=compiled)

    registry.register("sqlite", __name__, SharedSQLite.__name__)
    event.listen(Engine, "do_connect", pool.connect)
    event.listen(Engine, "engine_connect", share)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", pool.connect)
        event.remove(Engine, "engine_connect", share)
        pool.close()

"""The PostgreSQL database that Dagster's records may be in, as IFCB_DAGSTER_DB names it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from ifcb_flow_pipeline.errors import FlowError

VARIABLE = "IFCB_DAGSTER_DB"

#: SQLAlchemy takes a plain ``postgresql`` for psycopg 3, which dagster-postgres cannot use.
_SCHEME = "postgresql+psycopg2"

_EXAMPLE = "postgresql://dagster@db.example.org/dagster?passfile=/etc/ifcb-flow/pgpass"


class DatabaseError(FlowError, ValueError):
    """The database cannot be used; the message says what to do, and no password."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database: its address as SQLAlchemy takes it, which may hold a password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        """Its address for people, without password and options."""
        parts = urlsplit(self.url)
        user = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
        return f"postgresql://{user}{parts.hostname or ''}{port}{parts.path}"


def database_of(environment: Mapping[str, str]) -> Database | None:
    """The database that IFCB_DAGSTER_DB names; None where it is not set.

    Raises DatabaseError where it is no address of a PostgreSQL database. What it is, is not repeated: it may hold a
    password.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return None
    scheme, _, rest = text.partition("://")
    try:
        parts = urlsplit(text)
        host = parts.port != 0 and (parts.hostname or parse_qs(parts.query).get("host"))
        usable = bool(host and parts.path.strip("/"))
    except ValueError:
        usable = False
    if scheme not in ("postgresql", "postgres", _SCHEME):
        raise DatabaseError(f"{VARIABLE} is no address of a PostgreSQL database; it must be one such as {_EXAMPLE}")
    if not usable:
        raise DatabaseError(
            f"{VARIABLE} lacks a host or the name of a database; it must be an address such as {_EXAMPLE}"
        )
    return Database(f"{_SCHEME}://{rest}")

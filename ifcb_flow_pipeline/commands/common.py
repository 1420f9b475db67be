"""What commands of several subjects share: kinds of options, where things are, how files are read and written."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from ifcb_flow_pipeline.api import Work
    from ifcb_flow_pipeline.store.archive import Archive
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.models import ModelStore

IN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


OUT_FILE = click.Path(dir_okay=False, path_type=Path)


DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


who = click.option("--who", help="Who decided; recorded in the history.  [default: the user's name]")


note = click.option("--note", default="", help="Why; recorded in the history.")


exclude = click.option("--exclude", multiple=True, help="Directory without samples, at any depth; may be repeated.")


def read_ids(id_file: Path) -> list[str]:
    """The bin identifiers in a file, one a line, each once."""
    # A bin is one row, however often it is listed.
    return list(dict.fromkeys(line.strip() for line in read_text(id_file).splitlines() if line.strip()))


def read_text(path: Path) -> str:
    """The text of a file in UTF-8."""
    try:
        # Windows programs begin a file with a mark of its encoding, which is no part of the text.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def open_archive(data_dir: Path, exclude: tuple[str, ...], reader: str) -> "Archive":
    """The archive in a directory that was named on the command line."""
    from datetime import timedelta

    from ifcb_flow_pipeline.bins.archive import DEFAULT_EXCLUDED
    from ifcb_flow_pipeline.store.archive import Archive

    names = frozenset(filter(None, exclude)) if exclude else DEFAULT_EXCLUDED
    # Who names a directory on the command line wants what is there now: nothing is waited for.
    return Archive(data_dir, names, timedelta(), "pyifcb" if reader == "pyifcb" else "native")


@contextmanager
def progress(n_jobs: int, chunk_size: int, total: int | None) -> Iterator["Work"]:
    """How work is parted, with a progress bar where a person looks on."""
    from ifcb_flow_pipeline.api import Work

    if not sys.stderr.isatty():
        yield Work(n_jobs, chunk_size)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="bin", desc="Reading bins") as bar:
        yield Work(n_jobs, chunk_size, bar.update)


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Have errors of writing name the file that people named."""
    # What fails may be a directory or a temporary file: people know the file that they named.
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror or error}") from error


def write_table(table: "pa.Table", output: Path) -> None:
    """Write a table as Parquet or CSV, as the name says; whole or not at all."""
    from ifcb_flow_pipeline.store.daily import replacing

    with writing(output), replacing(output) as temporary:
        if output.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary)
        else:
            from ifcb_flow_pipeline.store.csv_files import write_csv

            write_csv(table, temporary)


def daily_tables() -> "DailyTables":
    """The deployment's tables."""
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.settings import Settings

    return DailyTables(Settings.from_environment(os.environ).home / "tables")


def model_store() -> "ModelStore":
    """The deployment's models."""
    from ifcb_flow_pipeline.store.models import ModelStore
    from ifcb_flow_pipeline.store.settings import Settings

    return ModelStore(Settings.from_environment(os.environ).home / "models")


def label_store() -> "LabelStore":
    """People's decisions in the deployment."""
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.settings import Settings

    return LabelStore(Settings.from_environment(os.environ).home / "labels.sqlite")


def user_name() -> str:
    """Who runs the command."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def say_unmatched(names: list[str], where: str) -> None:
    """Say which decisions match no bin."""
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        click.echo(f"{len(names)} decisions match none {where}: {', '.join(names[:5])}{more}", err=True)

"""Damages to what is stored, and disks that take nothing."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from benchmarks.faults.outcome import Outcome
from benchmarks.faults.site import TABLES, Site
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.records import RecordError
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, POINT_CLOUDS


def damages(site: Site, n: int, rng: random.Random) -> list[Outcome]:
    """A bit, or a sector of zeros, in a stored file: refused when read, and never read as other values."""
    outcomes = []
    day = site.tables.days(BIN_FEATURES)[0]
    for table in TABLES:
        path, tried, noticed = site.tables.path(table, day), 0, 0
        good = path.read_bytes()
        for number in range(n // len(TABLES)):
            damaged = _damaged(good, rng, sector=number % 4 == 3)
            if damaged == good:
                continue
            path.write_bytes(damaged)
            tried += 1
            noticed += _is_refused(site.tables, table is POINT_CLOUDS, table, day)
        path.write_bytes(good)
        outcomes.append(Outcome(f"damaged files of {table.name}", tried, noticed))
    return outcomes


def _damaged(content: bytes, rng: random.Random, *, sector: bool) -> bytes:
    changed, place = bytearray(content), rng.randrange(len(content))
    if sector:
        changed[place : place + 512] = bytes(len(changed[place : place + 512]))
    else:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _is_refused(tables: DailyTables, clouds: bool, table: Any, day: date) -> bool:
    try:
        if clouds:
            list(CloudTables(tables).read_all(day, days.CLOUD_COLUMNS))
        else:
            tables.read(table, day)
    except StoreError:
        return True
    return False


#: What is left on the disk, in bytes, at each try.
LEFT_BYTES = (0, 4096, 16_384, 65_536, 200_000)

_DISK_BYTES = 16 * 2**20


def full_disk(site: Site, folder: Path) -> Outcome:
    """Nothing is torn on a full disk, decisions are read there, and all is made once there is room again."""
    fault = "a full disk"
    try:
        with _small_disk(folder) as disk:
            return Outcome(fault, len(LEFT_BYTES), sum(_survives_full_disk(site, disk, left) for left in LEFT_BYTES))
    except (OSError, subprocess.CalledProcessError) as error:
        return Outcome(fault, 0, 0, f"not tried: a small file system cannot be mounted here ({error})")


def _survives_full_disk(site: Site, disk: Path, left: int) -> bool:
    on_disk, wanted = replace(site, home=disk / f"home-{left}"), site.features()
    decisions = LabelStore(on_disk.home / "labels.sqlite")
    on_disk.make()
    decisions.add([_decision("before")])
    filler = disk / "filler"
    state = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - left)))
    with suppress(OSError, StoreError):
        on_disk.make()
    with suppress(RecordError):
        decisions.add([_decision("while the disk was full")])
    read = len(decisions.current()) == 1
    whole = on_disk.features() == wanted
    filler.unlink()
    on_disk.make()
    decisions.add([_decision("after")])
    healed = on_disk.features() == wanted and decisions.history(_PID)[-1].note == "after"
    for path in sorted(on_disk.home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return read and whole and healed


_PID = "D20230810T113059_IFCB134"


def _decision(note: str) -> Label:
    return Label(_PID, "good", (), note, "reviewer", datetime.now(UTC), "triage")


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(disk)]
    subprocess.run(["/bin/mount", *options], check=True, capture_output=True)
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True, capture_output=True)

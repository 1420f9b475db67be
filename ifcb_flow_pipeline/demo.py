"""The demo: a simulated archive with planted faults (or the user's own), through the whole pipeline."""

import csv
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ifcb_flow_pipeline.detection.model_card import MIN_TRAINING_BINS
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.simulate import demo_plan, write_archive, write_labels
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.left_out import LeftOutTable, examples, summary
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.survey import Budget
from ifcb_flow_pipeline.store.tables import BIN_SCORES, JUDGED, status_name

DEMO_HOME = "demo"

#: Triggers of a bin of the demo, about: with images, which are all drawn, its archive then takes 2 GB.
DEMO_TRIGGERS = 600.0

#: How many bins the printed list shows.
LISTED = 25

Echo = Callable[[str], object]


#: For longer than this, the demo does not wait for bins that may still grow.
LONGEST_WAIT_SECONDS = 600


#: What a simulated archive and its results take on the disk, in bytes, with some to spare.
DEMO_BYTES = 3 * 10**9


class NoRoomError(FlowError):
    """The disk has no room for the demo."""


class EmptyArchiveError(FlowError):
    """There is no bin to work on."""


class YoungBinsError(FlowError):
    """The bins were written too recently to be used."""


def prepare(environment: MutableMapping[str, str], echo: Echo) -> Settings:
    """Settings for the demo: those of the environment where IFCB_DATA_DIR is set, else a simulated archive.

    Completes ``environment``, which the programs started later inherit. An archive that an earlier demo wrote is
    used again.
    """
    simulated = not environment.get("IFCB_DATA_DIR")
    if simulated:
        environment.setdefault("IFCB_FLOW_HOME", DEMO_HOME)
    settings = Settings.from_environment(environment)
    if simulated:
        _simulate(settings.home, settings.archive.root, echo)
    environment["IFCB_FLOW_HOME"] = str(settings.home)
    environment["IFCB_DATA_DIR"] = str(settings.archive.root)
    listing = settings.archive.scan()
    if not listing.bins:
        strays = (
            f" ({len(listing.strays)} files are not named as a bin, e.g. {listing.strays[0]})" if listing.strays else ""
        )
        raise EmptyArchiveError(
            f"no bins in {settings.archive.root}{strays}; IFCB_DATA_DIR must name the directory that has them"
        )
    days = listing.days
    echo(f"{len(listing.bins)} bins of {len({raw.bin_id.instrument for raw in listing.bins})} instruments, "
         f"{days[0]} to {days[-1]}, in {settings.archive.root}")  # fmt: skip
    environment.setdefault("IFCB_START_DAY", days[0].isoformat())
    return Settings.from_environment(environment)


def run(settings: Settings, echo: Echo) -> None:
    """Backfill, train, score, and print the bins to distrust, with what was planted in them if known."""
    # Imported late: the days that have partitions are read from the environment at import.
    from ifcb_flow_pipeline.defs.launch import bring_up_to_date
    from ifcb_flow_pipeline.defs.resources import Deployment

    wait_for_young_bins(settings.archive, echo)
    bring_up_to_date(Deployment(), echo)
    tables = DailyTables(settings.home / "tables")
    made = tables.days(BIN_SCORES)
    scores = tables.read_range(BIN_SCORES, made[0], made[-1])
    for line in ranked_list(scores, _planted(settings.home / "planted.csv"), datetime.now(tz=UTC)):
        echo(line)
    for line in _left_out(settings):
        echo(line)


def wait_for_young_bins(archive: Archive, echo: Echo, wait: Callable[[float], object] = time.sleep) -> None:
    """Say which bins may still grow, and wait for them where too few others are there to train on.

    Raises YoungBinsError, naming the setting, where that would take too long.
    """
    now = archive.now()
    states = [(raw, raw.state(now, archive.settle).status) for raw in archive.scan().bins]
    young = [raw for raw, status in states if status == "unsettled"]
    if not young:
        return
    seconds = archive.settle.total_seconds()
    said = f"{len(young)} bins were written less than {seconds:g} s ago and may still grow"
    if sum(status == "ok" for _, status in states) >= MIN_TRAINING_BINS:
        echo(f"{said}: they come with the next run (IFCB_SETTLE_SECONDS)")
        return
    left = math.ceil(max((raw.modified + archive.settle - now).total_seconds() for raw in young)) + 1
    if left > LONGEST_WAIT_SECONDS:
        raise YoungBinsError(f"{said}: try again in {left} s, or set IFCB_SETTLE_SECONDS to fewer seconds")
    echo(f"{said}: waiting {left} s for them (IFCB_SETTLE_SECONDS says how long) ...")
    wait(left)


def _left_out(settings: Settings) -> list[str]:
    table = LeftOutTable(settings.home)
    table.renew(settings, datetime.now(tz=UTC).date(), Budget())
    rows = table.read()
    return ["", f"{summary(rows)}:", "", *(f"      {line}" for line in examples(rows))] if rows else []


def ranked_list(scores: pa.Table, planted: dict[str, dict[str, str]], now: datetime) -> list[str]:
    """The worst bins as lines of text, then those that cannot be read, how many were not judged, and the episodes that
    go on at the time ``now``; with planted faults, what was planted and how many were found.
    """
    unreadable = scores.filter(pc.field("verdict") == "unreadable").sort_by("pid").to_pylist()
    judged = scores.filter(pc.field("verdict").isin(JUDGED)).sort_by(
        [("severity", "descending"), ("anomaly_score", "ascending"), ("pid", "ascending")]
    )
    lines = ["", f"The {min(LISTED, judged.num_rows)} bins to distrust most (severity 0 to 100, higher is worse):", ""]
    for rank, row in enumerate(judged.slice(0, LISTED).to_pylist(), start=1):
        label = planted.get(row["pid"])
        note = f"planted: {label['fault']} ({float(label['severity']):.1f})" if label else row["reasons"][:80]
        suspected = CAUSE_NAMES.get(row["cause"], row["cause"]) or "-"
        lines.append(f"{rank:4}  {row['pid']}  {row['severity']:3.0f}  {row['verdict']:5}  {suspected:27}  {note}")
    if unreadable:
        lines += ["", f"{len(unreadable)} bins cannot be read:", ""]
        lines += [
            f"      {row['pid']}  {row['reason'][:120] or status_name(row['status'])}" for row in unreadable[:LISTED]
        ]
    not_judged = scores.filter(pc.field("verdict") == "not_judged")["instrument"].to_pylist()
    for name, n in sorted(Counter(not_judged).items()):
        lines += ["", f"{n} bins of {name} have no verdict: it has too little history"]
    running = [episode.line() for episode in episodes_of(scores, now) if episode.ongoing]
    lines += ["", "Ongoing:", "", *(f"      {line}" for line in running)] if running else []
    return lines + (_found(scores, judged, planted) if planted else [])


def _found(scores: pa.Table, judged: pa.Table, planted: dict[str, dict[str, str]]) -> list[str]:
    faulty = {pid for pid, label in planted.items() if label["is_fault"] == "true"}
    called = scores.filter(pc.field("verdict").isin(["bad", "unreadable"]))["pid"].to_pylist()
    at_top = judged.slice(0, len(faulty))["pid"].to_pylist()
    return [
        "",
        f"{len(faulty)} bins have a planted fault: {len(faulty.intersection(called))} of the {len(called)} bins that "
        f"are bad or unreadable, {len(faulty.intersection(at_top))} of the {len(at_top)} first in the list.",
    ]


def _simulate(home: Path, archive: Path, echo: Echo) -> None:
    if archive.is_dir():
        return
    _see_that_there_is_room(home)
    echo("Simulating an archive of two instruments and two weeks with planted faults ...")
    last_day = datetime.now(tz=UTC).date() - timedelta(days=1)
    unfinished = home / "archive.unfinished"
    faults = write_archive(demo_plan(last_day, mean_triggers=DEMO_TRIGGERS, with_images=True), unfinished)
    write_labels(faults, home / "planted.csv")
    # Appears whole: a demo that was stopped halfway starts afresh.
    unfinished.rename(archive)


def _see_that_there_is_room(home: Path) -> None:
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < DEMO_BYTES:
        raise NoRoomError(
            f"the demo needs {DEMO_BYTES / 1e9:g} GB, and the disk of {there} has {free / 1e9:.1f} GB: "
            "name a folder on another one in IFCB_FLOW_HOME"
        )


def _planted(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["pid"]: row for row in csv.DictReader(file)}

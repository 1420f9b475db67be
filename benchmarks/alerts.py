"""Alerts over the bins of a data folder, a look after every bin: ``python -m benchmarks.alerts demo``.

Counts messages for each fault of two bins or more; how many are sent twice where the process is killed at random, 20
times over; and what a year of older bins sends at once that is filled in day by day.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from ifcb_flow_pipeline.alert_settings import AlertSettings, Channel
from ifcb_flow_pipeline.alerts import send_due
from ifcb_flow_pipeline.days import history_of, score_table
from ifcb_flow_pipeline.detection.verdict.episodes import Episode, episodes_of
from ifcb_flow_pipeline.review.alerting import Rules, Watched, decide
from ifcb_flow_pipeline.review.instruments import LISTED_COLUMNS, SCORED_COLUMNS, instrument_states
from ifcb_flow_pipeline.store.alert_log import AlertLog, Kept, Message, Noticed
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import CURRENT, ModelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS

_RULES = Rules(remind_after=None)
_CHANNELS = AlertSettings((Channel("file", "file", "first", ""),), _RULES)
_NO_BINS = pa.Table.from_pylist([], RAW_BINS.schema).select(list(LISTED_COLUMNS))

#: Seconds that a message takes on its way, and at most until a kill.
_SENDING, _LIVES = 0.02, 0.25


@click.command()
@click.argument("home", type=click.Path(exists=True, path_type=Path))
@click.option("--kills", type=int, default=20, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--child", type=click.Path(path_type=Path), hidden=True)
def main(home: Path, kills: int, seed: int, child: Path | None) -> None:
    """Measure on the tables of the data folder HOME."""
    scores = _scores(home)
    if child is not None:
        _live(scores, child)
        return
    judged_then = list(_as_judged_at_the_time(home, scores))
    for name, looks in (("final verdicts", list(_looks(scores))), ("as judged at the time", judged_then)):
        told = _replay(looks)
        faults = [one for one in episodes_of(looks[-1].scores) if one.n_bad >= _RULES.bad_bins]
        counts = [_counted(told, one) for one in faults]
        print(f"{name}: {len(faults)} faults of two bins or more; opened, recovered: {dict(Counter(counts))}; "
              f"all messages {dict(Counter(one.kind for one in told))}")  # fmt: skip
    print(_killed(home, kills, seed))
    print(f"a year filled in later: {_filled_in(scores)} messages at once")


@dataclass(frozen=True, slots=True)
class _Look:
    scores: pa.Table
    now: datetime


def _scores(home: Path) -> pa.Table:
    tables = DailyTables(home / "tables")
    days = tables.days(BIN_SCORES)
    return tables.read_range(BIN_SCORES, days[0], days[-1], SCORED_COLUMNS).sort_by("start_time")


def _looks(scores: pa.Table) -> Iterator[_Look]:
    for n, start in enumerate(scores["start_time"].to_pylist(), start=1):
        yield _Look(scores.slice(0, n), start + timedelta(minutes=25))


def _as_judged_at_the_time(home: Path, scores: pa.Table) -> Iterator[_Look]:
    """The same, each day judged anew after each of its bins, as the pipeline does it; days before stay as they were."""
    tables, model = DailyTables(home / "tables"), ModelStore(home / "models").load(CURRENT)
    history, before = history_of(tables), scores.slice(0, 0)
    for day in tables.days(BIN_FEATURES):
        features = (tables.read(BIN_FEATURES, day) or _NO_BINS).sort_by("start_time")
        rows = before
        for n, start in enumerate(features["start_time"].to_pylist(), start=1):
            judged = score_table(features.slice(0, n), model, history.before(day))
            rows = pa.concat_tables([before, judged.select(list(SCORED_COLUMNS)).cast(before.schema)])
            yield _Look(rows.sort_by("start_time"), start + timedelta(minutes=25))
        before = rows


def _watched(look: _Look) -> Watched:
    month = look.scores.filter(pc.field("start_time") > pa.scalar(look.now - timedelta(days=31)))
    return Watched(instrument_states(_NO_BINS, month), episodes_of(month, look.now))


def _replay(looks: list[_Look]) -> list[Message]:
    log = AlertLog()
    for look in looks:
        decided = decide(_watched(look), log, _RULES, look.now)
        new = [Kept(len(log.messages) + i, one, (), look.now) for i, one in enumerate(decided.messages, start=1)]
        noticed = {topic: Noticed(detail, look.now) for topic, detail in decided.noticed.items()}
        log = AlertLog((*log.messages, *new), frozenset(), {**log.noticed, **noticed})
    return [kept.message for kept in log.messages]


def _counted(told: list[Message], fault: Episode) -> tuple[int, int]:
    own = [
        one.kind
        for one in told
        if one.topic == f"fault {fault.instrument}" and one.since <= fault.end and one.until >= fault.start
    ]
    return own.count("opened"), own.count("recovered")


def _live(scores: pa.Table, folder: Path) -> None:
    """Look after every bin from where this folder got to; what is sent is a line each in a file."""
    at = folder / "step"
    done = int(at.read_text()) if at.exists() else 0
    with (folder / "sent").open("a") as sent:

        def send(_channel: Channel, title: str, body: str) -> bool:
            time.sleep(_SENDING)
            sent.write(json.dumps([title, body]) + "\n")
            sent.flush()
            return True

        for n, look in enumerate(_looks(scores)):
            if n >= done:
                send_due(folder / "home", _watched(look), _CHANNELS, send, look.now)
                new = at.with_suffix(".new")
                new.write_text(str(n + 1))
                new.replace(at)


def _killed(home: Path, wanted: int, seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311 - when to kill
    kills = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = [sys.executable, "-m", "benchmarks.alerts", str(home), "--child", name]
        while True:
            child = subprocess.Popen(program)
            step = folder / "step"
            before = step.read_text() if step.exists() else ""
            while kills < wanted and child.poll() is None and (not step.exists() or step.read_text() == before):
                time.sleep(0.01)
            if kills < wanted:
                time.sleep(chance.uniform(0, _LIVES))
            if kills >= wanted or child.poll() is not None:
                child.wait()
                break
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
        lines = Counter((folder / "sent").read_text().splitlines())
    wanted_lines = sum(kept.kind != "digest" for kept in _replay(list(_looks(_scores(home)))))
    return (f"{kills} kills: {len(lines)} messages of {wanted_lines} sent, {sum(lines.values()) - len(lines)} of them "
            "twice")  # fmt: skip


def _filled_in(scores: pa.Table) -> int:
    """A year, ten days old at its end, of which each look knows one day more."""
    now = datetime.now(tz=UTC)
    last = max(scores["start_time"].to_pylist())
    span = timedelta(days=14)
    parts = []
    for number in range(26, -1, -1):
        shift = now - timedelta(days=10) - last - number * span
        starts = [start + shift for start in scores["start_time"].to_pylist()]
        column = pa.array(starts, scores.schema.field("start_time").type)
        parts.append(scores.set_column(scores.column_names.index("start_time"), "start_time", column))
    year = pa.concat_tables(parts)
    first = year["start_time"].to_pylist()[0]
    looks = [
        _Look(
            year.filter(pc.field("start_time") <= pa.scalar(first + timedelta(days=day))), now + timedelta(minutes=day)
        )
        for day in range(1, 380)
    ]
    return len(_replay(looks))


if __name__ == "__main__":
    main()

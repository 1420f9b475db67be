"""What the HTTP interface costs on half a million scored bins: ``python -m benchmarks.web``.

Two stores: twenty years of three instruments, and ten weeks with as many bins a day as a hundred have. The server runs
in a thread of this process. Time of an answer is wall time as a client sees it, over a new connection; CPU time is that
of the whole process, of server and client.
"""

import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import numpy as np

from benchmarks.scored_store import LAST_DAY, StoreSize, write_scored_store
from benchmarks.table import Row, as_text, machine
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_SCORES
from ifcb_flow_pipeline.web.server import server

_ASKED, _SCRAPES = 500, 20
_SEED = 20260301

#: What must hold: an answer in seconds, a scrape in seconds of CPU.
_SCORE_S, _SCRAPE_S = 0.02, 0.05


@click.command()
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
def main(small: bool) -> None:
    """Measure and print."""
    sizes = {"3 instruments": StoreSize(), "100 instruments": StoreSize(n_days=73)}
    if small:
        sizes = {"small": StoreSize(n_bins=3_000, n_days=40, days_with_clouds=1)}
    rows: list[Row] = []
    for name, size in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            write_scored_store(Path(folder), replace(size, days_with_clouds=0))
            with _serving(Path(folder)) as url:
                tables = DailyTables(Path(folder) / "tables")
                rows += [*_scores(url, tables, name, size), *_metrics(url, tables, name)]
    click.echo(machine())
    click.echo(as_text(rows))


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    running = server(replace(Settings.from_environment({}), home=home), "127.0.0.1", 0)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own server
        return answer.read()


def _scores(url: str, tables: DailyTables, name: str, size: StoreSize) -> list[Row]:
    """Scores of bins drawn from all days."""
    drawn = np.random.default_rng(_SEED).choice(size.n_days, _ASKED)
    pids = [_scored_pid(tables, int(number)) for number in drawn]
    seconds, cpu = zip(*(_measured(lambda pid=pid: _get(f"{url}/flow_metric/{pid}")) for pid in pids), strict=True)
    return [
        Row(f"flow_metric, median, {name}", float(np.median(seconds))),
        Row(f"flow_metric, p95, {name}", float(np.quantile(seconds, 0.95)), limit_s=_SCORE_S),
        Row(f"flow_metric, CPU, median, {name}", float(np.median(cpu))),
    ]


def _scored_pid(tables: DailyTables, number: int) -> str:
    rows = tables.read(BIN_SCORES, LAST_DAY - timedelta(days=number), ["pid", "status"])
    return next(row["pid"] for row in rows.to_pylist() if row["status"] == "ok") if rows is not None else ""


def _metrics(url: str, tables: DailyTables, name: str) -> list[Row]:
    first = _measured(lambda: _get(f"{url}/metrics"))[1]
    unchanged = [_measured(lambda: _get(f"{url}/metrics"))[1] for _ in range(_SCRAPES)]
    changed = []
    for _ in range(_SCRAPES):
        _write_again(tables)
        changed.append(_measured(lambda: _get(f"{url}/metrics"))[1])
    return [
        Row(f"metrics, CPU, first, {name}", first),
        Row(f"metrics, CPU, nothing new, {name}", float(np.median(unchanged)), limit_s=_SCRAPE_S),
        Row(f"metrics, CPU, a day written anew, {name}", float(np.median(changed)), limit_s=_SCRAPE_S),
    ]


def _write_again(tables: DailyTables) -> None:
    rows, provenance = tables.read(BIN_SCORES, LAST_DAY), tables.provenance(BIN_SCORES, LAST_DAY)
    if rows is not None and provenance is not None:
        tables.write(BIN_SCORES, LAST_DAY, rows, provenance)


def _measured(do: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()

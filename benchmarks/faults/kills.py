"""Kills of a real deployment: ``ifcb-flow serve`` on a simulated archive, one of its programs killed in mid-run.

A kill is survived where, within RECOVERY_SECONDS and without a person, every run has ended and all days are up to date,
no table is torn, no bin missing or twice, and no program is left over. Where ``serve`` itself is killed it is started
again at once, as a service manager would.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event

import pyarrow.parquet as pq

from benchmarks.faults.outcome import Outcome, wait_for
from ifcb_flow_pipeline.defs.partitions import range_tags
from ifcb_flow_pipeline.defs.planning import LOOKED_AT, day_states, plan
from ifcb_flow_pipeline.simulate import demo_plan, write_archive
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.survey import Budget, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES, RAW_BINS

#: What is expected: back to work within three minutes.
RECOVERY_SECONDS = 180.0

#: A run is killed up to so many seconds after it has started; one of all days takes some ten.
LATEST_KILL_SECONDS = 6.0

#: What is killed, by what its command line holds. ``all``: everything at once, as a power cut does.
VICTIMS: Mapping[str, str] = {
    "run": "spawn_main",
    "daemon": "dagster-daemon",
    "code server": "api grpc",
    "serve": "ifcb_flow_pipeline.cli serve",
    "all": "",
    "web server": "defs.webserver",
    "review app": "streamlit",
}

_START_SECONDS = 300.0
_OPEN = frozenset({"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"})

_LAUNCH = """mutation($run: ExecutionParams!) {
  launchRun(executionParams: $run) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""

_BRING_UP = """
from ifcb_flow_pipeline.defs.launch import bring_up_to_date
from ifcb_flow_pipeline.defs.resources import Deployment
bring_up_to_date(Deployment(), lambda text: None)
"""


class CampaignError(Exception):
    """The campaign itself cannot go on; the message says why."""


@dataclass(slots=True)
class Served:
    """A deployment in ``folder`` that is served on ``port`` and the ports after it."""

    folder: Path
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """Its data folder."""
        return self.folder / "home"

    @property
    def archive(self) -> Archive:
        """Its archive, every file of which counts as settled."""
        return Archive(self.folder / "archive", settle=timedelta())

    @property
    def days(self) -> list[date]:
        """The days that its archive has."""
        return list(self.archive.scan().days)

    def set_up(self, n_days: int, bins_per_day: int) -> None:
        """Write the archive, up to yesterday; make features, a model and scores of all days."""
        last = datetime.now(UTC).date() - timedelta(days=1)
        first = last - timedelta(days=n_days - 1)
        simulated = replace(
            demo_plan(last, mean_triggers=100.0), n_days=n_days, first_day=first, bins_per_day=bins_per_day
        )
        write_archive(simulated, self.archive.root)
        self.home.mkdir()
        self.environment = {
            **os.environ,
            "IFCB_FLOW_HOME": str(self.home),
            "IFCB_DATA_DIR": str(self.archive.root),
            "IFCB_START_DAY": (first - timedelta(days=30)).isoformat(),
            "IFCB_SETTLE_SECONDS": "0",
            "DAGSTER_HOME": str(self.home / "dagster"),
        }
        subprocess.run([sys.executable, "-c", _BRING_UP], env=self.environment, check=True)

    def start(self) -> None:
        """Start ``ifcb-flow serve`` and wait until it says that everything is up. Raises CampaignError."""
        said = self.folder / "serve.out"
        command = [sys.executable, "-m", "ifcb_flow_pipeline.cli", "serve"]
        command += ["--dagster-port", str(self.port), "--app-port", str(self.port + 50)]
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=dict(self.environment), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        process = self.process
        wait_for(lambda: b"Ctrl-C stops" in said.read_bytes() or process.poll() is not None, _START_SECONDS)
        if process.poll() is not None:
            raise CampaignError(f"serve did not start: {said.read_text()[-500:]}")

    def stop(self) -> None:
        """End it as a person would, and whatever is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        for pid in self.processes():
            _kill(pid)

    def processes(self) -> dict[int, str]:
        """The command lines of all its processes, known by the data folder in their environment."""
        mark, found = f"IFCB_FLOW_HOME={self.home}".encode(), {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if command:
                        found[int(entry.name)] = command
        return found

    def victims(self, kind: str) -> list[int]:
        """The processes of a kind of VICTIMS, by their ids."""
        return [pid for pid, command in self.processes().items() if VICTIMS[kind] in command]

    def runs(self) -> dict[str, str]:
        """The status of every run, by its id; none while Dagster's database cannot be read."""
        path = self.home / "dagster" / "history" / "runs.db"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
                return dict(connection.execute("SELECT run_id, status FROM runs"))
        except sqlite3.Error:
            return {}

    def launch(self) -> str:
        """Ask the web server for a run over all days, as its page does; returns the id of the run."""
        days = self.days
        selector = {
            "jobName": "daily_flow", "repositoryName": "__repository__",
            "repositoryLocationName": "ifcb_flow_pipeline",
        }  # fmt: skip
        tags = [{"key": key, "value": value} for key, value in range_tags(days[0], days[-1]).items()]
        run = {"selector": selector, "runConfigData": "{}", "executionMetadata": {"tags": tags}}
        body = json.dumps({"query": _LAUNCH, "variables": {"run": run}}).encode()
        address = f"http://127.0.0.1:{self.port}/graphql"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - a fixed local address
            said = json.load(answer)
        try:
            return said["data"]["launchRun"]["run"]["runId"]
        except (KeyError, TypeError):
            raise CampaignError(f"no run was started: {said}") from None

    def open_runs(self) -> list[str]:
        """The runs that have not ended."""
        return [run for run, status in self.runs().items() if status in _OPEN]

    def up_to_date(self) -> bool:
        """Whether the sensor would ask for nothing."""
        surveyor = Surveyor(self.archive, DailyTables(self.home / "tables"), self.folder / "ledger.sqlite")
        found = surveyor.survey(LOOKED_AT, Budget())
        return found.complete and not plan(day_states(found), with_scores=True).requests

    def missing(self) -> list[str]:
        """The programs that do not run."""
        return [kind for kind in VICTIMS if kind != "run" and not self.victims(kind)]

    def answers(self) -> bool:
        """Whether Dagster's page can be asked: its program needs some seconds to start."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/server_info", timeout=20) as answer:
                return answer.status == 200
        except OSError:
            return False

    def is_back_at_work(self) -> bool:
        """Whether all programs run, no run is open, and nothing is left to be made."""
        return not self.missing() and not self.open_runs() and self.up_to_date() and self.answers()

    def is_whole(self) -> bool:
        """Whether every stored file can be read, and every bin of the archive is once in each table."""
        wanted = {raw.bin_id.pid for raw in self.archive.scan().bins}
        for table in (RAW_BINS, BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES):
            paths = sorted((self.home / "tables" / table.name).glob("*/*.parquet"))
            pids = Counter(pid for path in paths for pid in pq.read_table(path)["pid"].to_pylist())
            if set(pids) != wanted or max(pids.values()) > 1:
                return False
        for path in (self.home / "tables" / "point_clouds").glob("*/*.parquet"):
            pq.read_table(path)
        return True


def kills(served: Served, kinds: list[str], rng: random.Random, tell: Callable[[str], object]) -> list[Outcome]:
    """Kill each of these kinds in turn, in mid-run; how often that was survived, by kind."""
    tried, survived = Counter(kinds), Counter[str]()
    served.start()
    try:
        for kind in kinds:
            began = time.monotonic()
            problem = survives(served, kind, rng)
            survived[kind] += not problem
            tell(f"{kind}: {problem or 'right'} after {time.monotonic() - began:.0f} s")
            if problem:
                _by_hand(served)
    finally:
        served.stop()
    return [Outcome(f"kill of {kind}", tried[kind], survived[kind]) for kind in tried]


def survives(served: Served, kind: str, rng: random.Random) -> str:
    """Kill in mid-run; what was not survived, empty where all was."""
    _change_all_days(served, rng)
    run = served.launch()
    wait_for(lambda: served.runs().get(run) == "STARTED", _START_SECONDS)
    Event().wait(rng.uniform(0.0, LATEST_KILL_SECONDS))  # any moment of a run
    victims = served.victims(kind)
    for pid in victims:
        _kill(pid)
    deadline = time.monotonic() + RECOVERY_SECONDS
    if kind in ("serve", "all"):
        if served.process is not None:
            served.process.wait()
        if not wait_for(lambda: not served.processes(), 30.0):
            return f"left over: {', '.join(served.processes().values())}"
        served.start()
    if not wait_for(served.is_back_at_work, deadline - time.monotonic()):
        missing = ", ".join(served.missing()) or "nothing"
        return f"{len(served.open_runs())} runs open; up to date: {served.up_to_date()}; not running: {missing}"
    if served.process is None or served.process.poll() is not None:
        return "serve ended with what was killed"
    return "" if served.is_whole() else "a table is torn"


def _change_all_days(served: Served, rng: random.Random) -> None:
    """Give all files new times, as a new copy of them would have: all days are to be made again."""
    moment = time.time() - rng.uniform(1000.0, 100_000.0)
    for path in served.archive.root.rglob("*.adc"):
        os.utime(path, (moment, moment))


def _by_hand(served: Served) -> None:
    """What a person would do: start all of it again, and give it time."""
    served.stop()
    served.start()
    wait_for(served.is_back_at_work, 600.0)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

"""Serving as a user does it: everything starts, picks up bins by itself, and everything stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from ifcb_flow_pipeline import serving
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.serving import ServingError
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_FEATURES
from ifcb_flow_pipeline_tests.defs.conftest import settle

DAY = date(2023, 8, 10)
PATIENCE_SECONDS = 120.0


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, and fail where it does not for long."""
    deadline, pause = time.monotonic() + PATIENCE_SECONDS, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "waited for too long"
        pause.wait(0.2)


def processes_with(text: str) -> list[str]:
    """The commands of all processes in whose environment the text is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def kill_and_see_them_start_again(home: str, *programs: str) -> None:
    """Kill these programs of a deployment, known by words of their commands, and wait for others in their place."""

    def running() -> dict[str, int]:
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"IFCB_FLOW_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                    said = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found |= {program: int(folder.name) for program in programs if program in said}
            except OSError:
                continue
        return found

    before = running()
    assert set(before) == set(programs)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: set(running()) == set(programs) and not set(running().values()) & set(before.values()))


def archive_of_one_bin(root: Path) -> None:
    pid = format_pid("IFCB134", datetime(DAY.year, DAY.month, DAY.day, 6, tzinfo=UTC))
    root.mkdir(parents=True)
    for path in write_bin(simulate_bin(pid, mean_triggers=80), root):
        settle(path)


# SIGINT, what Ctrl-C sends, ends the demo in test_wheel.py.
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_serving_starts_everything_picks_up_bins_and_nothing_outlives_it_however_it_ends(
    tmp_path: Path, how: signal.Signals
) -> None:
    archive_of_one_bin(tmp_path / "archive")
    environment = {
        **os.environ,
        "IFCB_DATA_DIR": str(tmp_path / "archive"),
        "IFCB_FLOW_HOME": str(tmp_path / "home"),
        "IFCB_START_DAY": DAY.isoformat(),
    }
    command = [
        sys.executable,
        "-m",
        "ifcb_flow_pipeline.cli",
        "serve",
        "--dagster-port",
        "34100",
        "--app-port",
        "38600",
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = [process.stdout.readline() for _ in range(3)]
            dagster, app = (re.findall(r"http://127\.0\.0\.1:\d+", line)[0] for line in said[:2])
            assert urlopen(f"{dagster}/server_info", timeout=10).status == 200
            assert urlopen(f"{app}/_stcore/health", timeout=10).status == 200
            assert str(tmp_path / "home") in said[2]
            tables = DailyTables(tmp_path / "home" / "tables")
            if how is signal.SIGTERM:  # once is enough: the sensor takes its time
                wait_for(lambda: tables.days(BIN_FEATURES) == [DAY])
            if how is signal.SIGKILL:
                kill_and_see_them_start_again(str(tmp_path / "home"), "dagster-daemon", "streamlit", "api grpc")
                again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                assert again.returncode == 1
                assert f"served already: process {process.pid}, " in again.stderr
                assert dagster in again.stderr
            process.send_signal(how)
            assert process.wait(PATIENCE_SECONDS) == (-how if how is signal.SIGKILL else 0)
            wait_for(lambda: not processes_with(str(tmp_path)))
        finally:
            process.kill()
    assert (tmp_path / "home" / "dagster" / "dagster.yaml").exists()
    for name in ("logs/dagster-ui.log", "tables/archive.json"):
        if (tmp_path / "home" / name).exists():
            assert (tmp_path / "home" / name).stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_stepped_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serving._free_port(port) != port


def test_a_program_that_dies_at_its_start_is_an_error_that_names_its_log_and_stops_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "app_script", lambda: tmp_path / "main.py")
    settings = Settings.from_environment({"IFCB_FLOW_HOME": str(tmp_path / "home")})
    with pytest.raises(ServingError, match=r"review-app\.log"):
        serving.serve_until_stopped(settings, 34200, 38700, lambda _: None)
    assert not processes_with(str(tmp_path / "home"))


def test_what_serving_needs_is_missed_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serving.check_before_serving(34200, 38700)
    for name, value, said in (
        ("find_spec", lambda name: None if name == "streamlit" else name, "streamlit cannot be imported: install"),
        ("_daemon", lambda: tmp_path / "dagster-daemon", "dagster-daemon: install"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(serving, name, value)
            with pytest.raises(ServingError, match=said):
                serving.check_before_serving(34200, 38700)


def test_a_second_process_on_the_same_data_folder_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    settings = Settings.from_environment({"IFCB_FLOW_HOME": str(tmp_path / "home")})
    with serving._only_one(settings.home) as say_where:
        say_where({"Dagster UI": "http://127.0.0.1:3000"})
        with pytest.raises(ServingError, match=rf"served already: process {os.getpid()}, .*127\.0\.0\.1:3000"):
            serving.serve_until_stopped(settings, 34200, 38700, lambda _: None)
    with serving._only_one(settings.home):
        pass


def sleeper(tmp_path: Path) -> serving.Program:
    return serving.Program("Sleeper", [sys.executable, "-c", "import sys; sys.stdin.read()"], tmp_path / "sleeper.log")


def test_a_program_that_dies_is_started_again_and_ever_later_while_it_keeps_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, said, now = sleeper(tmp_path), [], 1000.0
    program.command = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(serving.time, "monotonic", lambda: now)
    pauses = []
    for _ in range(9):
        program.start(dict(os.environ), tmp_path)
        first = program.process
        assert first
        first.kill()
        first.wait()
        serving.keep_going(program, dict(os.environ), tmp_path, said.append)
        assert program.process is first
        assert program.again
        pauses.append(program.again - now)
        now = program.again
        serving.keep_going(program, dict(os.environ), tmp_path, said.append)
        assert program.process is not first
        program.process.kill()
        program.process.wait()
    assert pauses == [1, 3, 7, 15, 31, 60, 60, 60, 60]
    assert "sleeper.log" in said[0]
    assert program.pause(now + 61) == 0  # it had lived for long


KEEPER = """
import os, sys
from pathlib import Path
from ifcb_flow_pipeline.serving import Program
program = Program("Child", [sys.executable, "-c", "import time; time.sleep(600)"], Path(sys.argv[1]) / "child.log")
program.start(dict(os.environ), Path(sys.argv[1]))
print(program.process.pid, flush=True)
sys.stdin.read()
"""


def test_what_was_started_ends_when_the_process_that_serves_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KEEPER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        process.kill()
        process.wait()
    wait_for(lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes())


def test_a_long_log_becomes_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LONGEST_LOG", 10)
    log = tmp_path / "a.log"
    log.write_text("short")
    serving._shorten(log)
    assert log.read_text() == "short"
    log.write_text("longer than ten")
    serving._shorten(log)
    assert (log.read_text(), (tmp_path / "a.log.1").read_text()) == ("", "longer than ten")

"""Starting the Dagster UI, its daemon and the review app, and stopping all of it again."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.settings import Settings

_HOST = "127.0.0.1"
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ServingError(FlowError):
    """A program did not start; the message says where its log is."""


@dataclass(frozen=True, slots=True)
class _Program:
    name: str
    url: str
    ready: str
    log: Path
    process: subprocess.Popen[bytes]


def serve_until_stopped(settings: Settings, dagster_port: int, app_port: int, echo: Callable[[str], object]) -> None:
    """Start everything, say where it is, and wait for Ctrl-C or a signal; then stop everything.

    Raises ServingError where a program does not start or ends by itself.
    """
    from ifcb_flow_pipeline.defs.launch import prepare_dagster_home

    root = _project_root()
    environment = os.environ | {
        "DAGSTER_HOME": str(prepare_dagster_home(settings.home)),
        "IFCB_FLOW_HOME": str(settings.home),
        "IFCB_DATA_DIR": str(settings.archive.root),
        # Dagster advises another command for developers at each start; for users it is noise.
        "PYTHONWARNINGS": "ignore",
    }
    with _stop_requested() as stopped, _running(root, environment, settings, (dagster_port, app_port)) as programs:
        for program in programs:
            _wait_until_ready(program, stopped)
        if not stopped.is_set():
            for program in programs:
                echo(f"{program.name}: {program.url}")
            again = Path(sys.executable).with_name("ifcb-flow")
            echo(f"Everything is in {settings.home}. Ctrl-C stops; to start again:")
            echo(f"IFCB_FLOW_HOME={settings.home} IFCB_DATA_DIR={settings.archive.root} {again} serve")
        while not stopped.wait(1.0):
            for program in programs:
                if program.process.poll() is not None:
                    raise ServingError(f"{program.name} ended by itself; its log is {program.log}")
        echo("Stopping ...")


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that the usual signals set. Own handlers also keep the children from inheriting ignored signals."""
    stopped = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in _SIGNALS}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _running(
    root: Path, environment: dict[str, str], settings: Settings, ports: tuple[int, int]
) -> Iterator[list[_Program]]:
    programs: list[_Program] = []
    try:
        port = _free_port(ports[0])
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(root / "workspace.yaml"), "-h", _HOST]
        programs.append(_start("Dagster UI", [*command, "-p", str(port)], port, "server_info", settings, environment))
        port = _free_port(ports[1])
        command = [sys.executable, "-m", "streamlit", "run", str(root / "app" / "main.py"), "--server.headless", "true"]
        command += ["--server.address", _HOST, "--server.port", str(port)]
        programs.append(_start("Review app", command, port, "_stcore/health", settings, environment))
        yield programs
    finally:
        _stop(programs)


def _start(
    name: str, command: list[str], port: int, ready: str, settings: Settings, environment: dict[str, str]
) -> _Program:
    log = settings.home / "logs" / f"{name.lower().replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # A session of its own, so that stopping reaches everything that the program has started.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=settings.home, start_new_session=True
        )
    url = f"http://{_HOST}:{port}"
    return _Program(name, url, f"{url}/{ready}", log, process)


def _wait_until_ready(program: _Program, stopped: threading.Event) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not stopped.is_set():
        if program.process.poll() is not None:
            raise ServingError(f"{program.name} ended while it was starting; its log is {program.log}")
        try:
            with urllib.request.urlopen(program.ready, timeout=5) as answer:  # noqa: S310 - a fixed local address
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        if time.monotonic() > deadline:
            raise ServingError(f"{program.name} did not start within {_START_SECONDS:.0f} s; its log is {program.log}")
        stopped.wait(0.3)


def _stop(programs: list[_Program]) -> None:
    for program in programs:
        _signal(program, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for program in programs:
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(max(0.1, deadline - time.monotonic()))
        # Whatever of its session is still there by now does not stop by itself.
        _signal(program, signal.SIGKILL)
        program.process.wait()


def _signal(program: _Program, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.process.pid, number)


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    raise ServingError(f"no free port from {wanted} to {wanted + 49}; choose another")


def _project_root() -> Path:
    root = Path(__file__).resolve().parents[1]
    if not (root / "workspace.yaml").exists():
        raise ServingError(f"no workspace.yaml in {root}: install the project from its checkout, with pip install -e")
    return root

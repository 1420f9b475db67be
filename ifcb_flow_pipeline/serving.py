"""Starting Dagster and the review app, keeping them going, and stopping all of it again.

Programs of their own: the code server, which the runs belong to, Dagster's web server (behind the guard) and daemon,
the review app, and the HTTP interface where it is wanted. What dies is started again, after a pause that grows while it
keeps dying. All end with this process, however it ends, and a second one on the same data folder is refused.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import Settings

_HOST = "127.0.0.1"
_START_SECONDS = 300.0
_STOP_SECONDS = 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The code server's port is so far above that of Dagster's page.
_CODE_PORT_ABOVE = 500

#: A program that lived for so long starts again at once; one that keeps dying waits up to _LONGEST_PAUSE.
_LIVED_SECONDS = 60.0
_LONGEST_PAUSE = 60.0

#: A log that is longer, in bytes, becomes the one before, in place of the one that was.
LONGEST_LOG = 10 * 2**20

_PR_SET_PDEATHSIG = 1


class ServingError(FlowError):
    """A program did not start, or another process serves already; the message says what to do."""


@dataclass(slots=True)
class Program:
    """A program that is kept going. ``url``: its page, None where it has none; ``ready``: answers once it is up.

    ``address_in``: the setting that tells the other programs where its page is.
    """

    name: str
    command: Sequence[str]
    log: Path
    url: str | None = None
    ready: str | None = None
    address_in: str = ""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    n_deaths: int = 0
    again: float | None = None

    def start(self, environment: dict[str, str], folder: Path) -> None:
        """Start it, in a session of its own, so that stopping reaches everything that it has started."""
        private_folder(self.log.parent)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                start_new_session=True,
                preexec_fn=partial(_end_with_parent, os.getpid()),  # noqa: PLW1509 - it takes no lock
            )
        self.started, self.again = time.monotonic(), None

    @property
    def ended(self) -> bool:
        """Whether it is not running."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def pause(self, now: float) -> float:
        """Seconds to wait before it is started again, having died ``now``."""
        self.n_deaths = 0 if now - self.started > _LIVED_SECONDS else self.n_deaths + 1
        return min(float(2**self.n_deaths - 1), _LONGEST_PAUSE)


def serve_until_stopped(
    settings: Settings, dagster_port: int, app_port: int, echo: Callable[[str], object], api_port: int | None = None
) -> None:
    """Start everything, say where it is, and keep it going until Ctrl-C or a signal; then stop everything.

    ``api_port``: that of the HTTP interface for other programs, which is started only where it is given.
    Raises ServingError where a program does not start, or where another process serves this data folder.
    """
    from ifcb_flow_pipeline.defs.launch import prepare_dagster_home

    for_dagster = prepare_dagster_home(settings)
    dagster_home = Path(for_dagster["DAGSTER_HOME"])
    environment = (
        os.environ
        | for_dagster
        | {
            "IFCB_FLOW_HOME": str(settings.home),
            "IFCB_DATA_DIR": str(settings.archive.root),
            # Dagster advises another command for developers at each start; for users it is noise.
            "PYTHONWARNINGS": "ignore",
        }
    )
    # What the programs write is their owner's: others on the machine have no business with it.
    os.umask(0o077)
    with _only_one(settings.home) as say_where, _stop_requested() as stopped:
        programs = _programs(settings, dagster_home, dagster_port, app_port)
        programs += [] if api_port is None else [_interface(settings, api_port)]
        for program in programs:
            if program.url and program.address_in:  # behind a proxy, people set theirs
                environment.setdefault(program.address_in, program.url)
        try:
            for program in programs:
                program.start(environment, settings.home)
                _wait_until_ready(program, stopped)
            pages = {program.name: program.url for program in programs if program.url}
            say_where(pages)
            if not stopped.is_set():
                echo("\n".join(f"{name}: {url}" for name, url in pages.items()))
                again = Path(sys.executable).with_name("ifcb-flow")
                echo(f"Everything is in {settings.home}. Ctrl-C stops; to start again:")
                echo(f"IFCB_FLOW_HOME={settings.home} IFCB_DATA_DIR={settings.archive.root} {again} serve")
            while not stopped.wait(1.0):
                for program in programs:
                    keep_going(program, environment, settings.home, echo)
            echo("Stopping ...")
        finally:
            _stop(programs)


def keep_going(program: Program, environment: dict[str, str], folder: Path, echo: Callable[[str], object]) -> None:
    """Start a program that has ended, once its pause is over; keep its log short."""
    _shorten(program.log)
    if not program.ended:
        return
    now = time.monotonic()
    if program.again is None:
        program.send(signal.SIGKILL)  # what it has left behind
        pause = program.pause(now)
        program.again = now + pause
        echo(f"{program.name} ended by itself (its log is {program.log}); started again in {pause:.0f} s")
    if now >= program.again:
        program.start(environment, folder)


def _programs(settings: Settings, dagster_home: Path, dagster_port: int, app_port: int) -> list[Program]:
    script, logs = app_script(), settings.home / "logs"
    code_port = _free_port(dagster_port + _CODE_PORT_ABOVE)
    dagster_port, app_port = _free_port(dagster_port), _free_port(app_port)
    workspace = dagster_home / "workspace.yaml"
    location = {"host": _HOST, "port": code_port, "location_name": "ifcb_flow_pipeline"}
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": location}]}))  # JSON is YAML
    python, page, app = sys.executable, f"http://{_HOST}:{dagster_port}", f"http://{_HOST}:{app_port}"
    return [
        Program(
            "Code server",
            [python, "-m", "dagster", "api", "grpc", "-m", "ifcb_flow_pipeline.definitions", "-h", _HOST,
             "-p", str(code_port), "--location-name", "ifcb_flow_pipeline", "--use-python-environment-entry-point"],
            logs / "code-server.log", ready=f"tcp://{_HOST}:{code_port}",
        ),
        Program(
            "Dagster UI",
            [python, "-m", "ifcb_flow_pipeline.defs.webserver", "-h", _HOST, "-p", str(dagster_port),
             "-w", str(workspace)],
            logs / "dagster-ui.log", page, f"{page}/server_info", "IFCB_DAGSTER_URL",
        ),
        Program(
            "Dagster daemon",
            [str(_daemon()), "run", "-w", str(workspace)],
            logs / "dagster-daemon.log",
        ),
        Program(
            "Review app",
            [python, "-m", "streamlit", "run", str(script), "--server.headless", "true",
             "--server.address", _HOST, "--server.port", str(app_port)],
            logs / "review-app.log", app, f"{app}/_stcore/health", "IFCB_REVIEW_URL",
        ),
    ]  # fmt: skip


def _interface(settings: Settings, port: int) -> Program:
    port = _free_port(port)
    address = f"http://{_HOST}:{port}"
    command = [sys.executable, "-m", "ifcb_flow_pipeline.cli", "api", "--port", str(port)]
    return Program("HTTP interface", command, settings.home / "logs" / "api.log", address, f"{address}/health")


@contextmanager
def _only_one(home: Path) -> Iterator[Callable[[object], None]]:
    """Inside, no other process serves this folder; what is given says where the pages are.

    Raises ServingError, naming the process and its pages, where another does.
    """
    private_folder(home)
    with (home / "serve.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ServingError(f"{home} is served already: {file.read() or 'it is just starting'}") from None

        def say(pages: object) -> None:
            file.truncate(0)
            file.write(f"process {os.getpid()}, {pages}")
            file.flush()

        say("starting")
        yield say


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


def _wait_until_ready(program: Program, stopped: threading.Event) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not stopped.is_set() and program.ready:
        if program.ended:
            raise ServingError(f"{program.name} ended while it was starting; its log is {program.log}")
        if _answers(program.ready):
            return
        if time.monotonic() > deadline:
            raise ServingError(f"{program.name} did not start within {_START_SECONDS:.0f} s; its log is {program.log}")
        stopped.wait(0.3)


def _answers(address: str) -> bool:
    try:
        if address.startswith("tcp://"):
            host, port = address.removeprefix("tcp://").split(":")
            socket.create_connection((host, int(port)), timeout=5).close()
            return True
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - a fixed local address
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def _stop(programs: Sequence[Program]) -> None:
    for program in programs:
        program.send(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for program in programs:
        if program.process is None:
            continue
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(max(0.1, deadline - time.monotonic()))
        # Whatever of its session is still there by now does not stop by itself.
        program.send(signal.SIGKILL)
        program.process.wait()


def _end_with_parent(parent: int) -> None:
    # In the child, before the program: the system kills it when this process is killed. Linux only, as is IFCB's world.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before
        os._exit(1)


def _shorten(log: Path) -> None:
    # Copied and cut, not renamed: its program goes on writing to the same file.
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)


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


def app_script() -> Path:
    """The script of the review app, which Streamlit runs: inside the package where that was installed, ``app`` beside
    the package in a checkout. Raises ServingError where it is in neither place.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_app" / "app", package.parent / "app"):
        # Beside an installed package there may be somebody else's ``app``.
        if (folder / "main.py").is_file() and (folder / ".streamlit" / "config.toml").is_file():
            return folder / "main.py"
    raise ServingError(f"the review app is not in {package}: install ifcb-flow-pipeline again, from its wheel")


def review_app(environment: Mapping[str, str], port: int, echo: Callable[[str], object]) -> None:
    """Run the review app alone with these settings, until stopped. Raises ServingError where it is not there."""
    script = app_script()
    if find_spec("streamlit") is None:
        raise ServingError("streamlit cannot be imported: install ifcb-flow-pipeline again, with pip")
    port = _free_port(port)
    echo(f"Review app: http://{_HOST}:{port} (Ctrl-C stops it)")
    command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true",
               "--server.address", _HOST, "--server.port", str(port)]  # fmt: skip
    with suppress(KeyboardInterrupt):
        subprocess.run(command, env=dict(environment), check=False, cwd=script.parent)


def check_before_serving(dagster_port: int, app_port: int) -> None:
    """See that all that ``serve_until_stopped`` needs is there: the review app, Dagster, Streamlit and free ports.

    Raises ServingError, naming what is missing and the remedy.
    """
    app_script()
    missing = [name for name in ("dagster", "dagster_webserver", "streamlit") if find_spec(name) is None]
    if missing:
        raise ServingError(f"{', '.join(missing)} cannot be imported: install ifcb-flow-pipeline again, with pip")
    daemon = _daemon()
    if not daemon.is_file():
        raise ServingError(f"there is no {daemon}: install ifcb-flow-pipeline again, with pip")
    for port in (dagster_port + _CODE_PORT_ABOVE, dagster_port, app_port):
        _free_port(port)


def _daemon() -> Path:
    return Path(sys.executable).with_name("dagster-daemon")

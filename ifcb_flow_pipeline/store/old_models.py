"""Converting a pickled model in a process of its own that may do nothing but compute: no files, no network.

Nothing that a pickle says is run (see ``detection.reference.pickled_forest``); this is for what nobody has thought of.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.detection.reference.conversion import convert_pickle
from ifcb_flow_pipeline.detection.reference.model import Model
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: The largest pickle that is read, in bytes. A forest of ifcb-flow-metric has some megabytes.
LARGEST_PICKLE = 2**27

#: What the process may take: memory in bytes beside what it has at its start, and seconds of computing.
_MEMORY = 2**30
_SECONDS = 60

#: The user without rights of all Linux systems.
_NOBODY = 65534


def convert_apart(path: Path, settings: FeatureSettings, created: datetime, versions: Mapping[str, str]) -> Model:
    """The model in a ``classifier.pkl``: see ``convert_pickle``. Raises ModelError where there is none in it."""
    if path.stat().st_size > LARGEST_PICKLE:
        raise ModelError(f"{path} has {path.stat().st_size} bytes, more than any classifier.pkl")
    told = json.dumps({"settings": asdict(settings), "created": created.isoformat(), "versions": dict(versions)})
    command = [sys.executable, "-m", "ifcb_flow_pipeline.store.old_models", told]
    try:
        done = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=2 * _SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path} takes too long to read: it is no classifier.pkl of ifcb-flow-metric") from error
    if done.returncode == 0:
        return Model.from_bytes(done.stdout)
    said = done.stderr.decode(errors="replace").strip() if done.returncode == 1 else ""
    raise ModelError(said or f"{path} could not be read within its bounds of memory and time: it is not to be trusted")


def main() -> None:
    """Read a pickle from the standard input, write the model to the standard output; else say why not."""
    told = json.loads(sys.argv[1])
    settings, created = FeatureSettings(**told["settings"]), datetime.fromisoformat(told["created"])
    data = sys.stdin.buffer.read(LARGEST_PICKLE)
    _warm_up(settings, created)
    _without_rights()
    try:
        converted = convert_pickle(data, settings, created, told["versions"]).to_bytes()
    except ModelError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.buffer.write(converted)
    sys.stdout.flush()
    os._exit(0)


def _warm_up(settings: FeatureSettings, created: datetime) -> None:
    # Whatever is imported when it is first needed is imported now: later no file can be opened.
    import zipfile  # noqa: F401

    with suppress(ModelError):
        convert_pickle(b"N.", settings, created, {})


def _without_rights() -> None:
    """Give up all that computing does not need; none of it can be had back."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    in_use = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    # No file, socket or pipe can be opened, and no process started, once nothing more may be open.
    limits = {
        resource.RLIMIT_AS: in_use + _MEMORY,
        resource.RLIMIT_CPU: _SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    main()

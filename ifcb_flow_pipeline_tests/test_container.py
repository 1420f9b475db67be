"""The containers and the systemd units, as far as their files tell: nothing is built or started here."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "Dockerfile",
    ".dockerignore",
    "compose.yaml",
    "compose.postgres.yaml",
    "docker/workspace.yaml",
    "docker/entrypoint.sh",
    "docker/digests.sh",
    "ifcb_flow_pipeline/defs/dagster.yaml",
    "ifcb_flow_pipeline/defs/postgres.yaml",
    "docker/lock.sh",
    "docs/running.md",
    "requirements.lock",
    "requirements-dev.lock",
)
LOCKS = {"requirements.lock": ("postgres",), "requirements-dev.lock": ("postgres", "dev")}
OWN_SERVICES = ("code", "webserver", "daemon", "app", "api")
DAGSTER_SERVICES = OWN_SERVICES[:3]
UNITS = ROOT / "deploy" / "systemd"
UNIT_OF = {"code": "code", "webserver": "web", "daemon": "daemon", "app": "app", "api": "api"}

_PIN = re.compile(
    r"(?P<name>[a-z0-9._-]+)(\[[a-z0-9,._-]+\])?==(?P<version>[0-9][^\s;]*)(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def postgres() -> dict[str, Any]:
    """What the second file adds."""
    return yaml.safe_load((ROOT / "compose.postgres.yaml").read_text())


@pytest.fixture(scope="module")
def dockerfile() -> list[list[str]]:
    """The instructions, each as its words."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def _pins(lock: str) -> dict[str, str]:
    """The versions of a lock by package; fails on a line that is no version with its hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _PIN.fullmatch(re.sub(r"\s+", " ", line).strip())
        assert found, f"{lock}: no version with hashes: {line[:80]}"
        pins[found["name"]] = found["version"]
    return pins


def _tag(image: str) -> str:
    return image.rpartition("/")[2].partition("@")[0].partition(":")[2]


def test_every_image_has_a_full_version_as_its_tag_and_can_be_pinned_to_a_digest(compose, postgres, dockerfile):
    default = dict(words[1].split("=") for words in dockerfile if words[0] == "ARG")
    stages = {words[3] for words in dockerfile if words[0] == "FROM" and len(words) == 4}
    images = {words[1] for words in dockerfile if words[0] == "FROM"} - stages
    assert images == {"${PYTHON_IMAGE}"}
    build = compose["services"]["app"]["build"]["args"]["PYTHON_IMAGE"]
    assert build == f"${{PYTHON_IMAGE:-{default['PYTHON_IMAGE']}}}"
    database = re.fullmatch(r"\$\{POSTGRES_IMAGE:-(.*)\}", postgres["services"]["postgres"]["image"])
    assert database
    for image in (default["PYTHON_IMAGE"], database[1], compose["services"]["app"]["image"]):
        assert re.match(r"\d+\.\d+", _tag(image)), image


def test_the_script_that_pins_images_asks_for_those_that_are_used(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho sha256:of-$4\n")
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = subprocess.run(
        ["/bin/sh", ROOT / "docker/digests.sh"], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    python, database = said.stdout.splitlines()
    assert re.fullmatch(r"PYTHON_IMAGE=(python:\S+)@sha256:of-\1", python)
    assert re.fullmatch(r"POSTGRES_IMAGE=(postgres:\S+)@sha256:of-\1", database)


def test_the_services_share_one_image_and_differ_by_command(compose):
    services = [compose["services"][name] for name in OWN_SERVICES]
    assert len({service["image"] for service in services}) == 1
    assert [service["command"][0] for service in services] == [
        "dagster",
        "python",
        "dagster-daemon",
        "streamlit",
        "ifcb-flow",
    ]


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_a_service_writes_to_its_volume_and_to_memory_only_and_has_bounds(compose, name):
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["cap_drop"] == ["ALL"]
    assert {mount.partition(":")[0] for mount in service["tmpfs"]} == {"/tmp", "/home/ifcb"}  # noqa: S108 - of the container


def test_the_review_app_does_not_reach_dagsters_page_which_asks_for_no_password(compose, postgres):
    networks = {name: set(compose["services"][name]["networks"]) for name in OWN_SERVICES}
    for name in ("app", "api"):
        assert networks.pop(name).isdisjoint(set.union(*networks.values()))
    assert set(postgres["services"]["postgres"]["networks"]) <= networks["webserver"]


def test_webserver_and_daemon_ask_the_code_server_where_it_listens(compose):
    (server,) = yaml.safe_load((ROOT / "docker/workspace.yaml").read_text())["load_from"]
    command = compose["services"]["code"]["command"]
    assert server["grpc_server"]["host"] == "code"
    assert str(server["grpc_server"]["port"]) == command[command.index("-p") + 1]
    assert server["grpc_server"]["location_name"] == command[command.index("--location-name") + 1]
    for name in ("webserver", "daemon"):
        assert compose["services"][name]["command"][-2:] == ["-w", "docker/workspace.yaml"]


def test_dagsters_page_is_behind_the_guard(compose):
    assert "ifcb_flow_pipeline.defs.webserver" in compose["services"]["webserver"]["command"]


def test_the_image_runs_as_a_user_of_fixed_number_that_is_not_root(compose, dockerfile):
    users = [words[1] for words in dockerfile if words[0] == "USER"]
    assert users
    assert int(users[-1].partition(":")[0]) >= 1000
    assert not any("user" in service for service in compose["services"].values())
    assert not any(service.get("privileged") for service in compose["services"].values())


def test_the_dockerfile_copies_only_what_exists_and_what_the_ignore_file_lets_through(dockerfile):
    copied = [
        source
        for words in dockerfile
        if words[0] == "COPY" and not words[1].startswith("--from")
        for source in words[1:-1]
    ]
    assert copied
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for source in copied:
        assert (ROOT / source).exists(), source
        assert Path(source).parts[0] in let_through, source


def test_the_image_installs_the_lock_with_hashes_and_the_project_without_dependencies(dockerfile):
    installs = [words for words in dockerfile if words[0] == "RUN" and "install" in words and "pip" in words]
    assert len(installs) == 2
    assert {"--require-hashes", "requirements.lock"} <= set(installs[0])
    assert {"--no-deps", "--no-build-isolation"} <= set(installs[1])


@pytest.mark.parametrize("name", ["postgres", *OWN_SERVICES])
def test_every_service_restarts_and_tells_its_health(compose, postgres, name):
    service = (postgres if name == "postgres" else compose)["services"][name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert set(service["healthcheck"]) == {"test", "interval", "timeout", "retries", "start_period"}


def test_every_service_is_tested_here(compose, postgres):
    assert set(compose["services"]) == set(OWN_SERVICES)
    assert set(postgres["services"]) == {"postgres", *DAGSTER_SERVICES}


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("code", "grpc-health-check -p 4000"),
        ("webserver", ":3000/server_info"),
        ("app", ":8501/_stcore/health"),
        ("api", ":8001/health"),
        ("daemon", "liveness-check"),
    ],
)
def test_the_health_of_a_service_is_asked_where_it_answers(compose, name, sign):
    assert sign in " ".join(compose["services"][name]["healthcheck"]["test"])


@pytest.mark.parametrize("name", ["code", "app"])
def test_the_archive_is_required_and_mounted_read_only(compose, name):
    archive = [
        mount
        for mount in compose["services"][name]["volumes"]
        if isinstance(mount, dict) and mount["target"] == "/archive"
    ]
    assert len(archive) == 1
    assert archive[0]["read_only"] is True
    assert archive[0]["source"].startswith("${IFCB_DATA_DIR:?")
    # A misspelt path is an error, not a new, empty directory.
    assert archive[0]["bind"]["create_host_path"] is False


def test_ports_are_open_to_this_machine_only_unless_set_otherwise(compose, postgres):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 3
    for port in published:
        assert port.startswith("${IFCB_BIND:-127.0.0.1}:"), port
    assert "ports" not in postgres["services"]["postgres"]


def test_the_password_is_a_file_that_is_needed_and_is_in_no_environment(compose, postgres):
    assert postgres["secrets"]["postgres_password"]["file"].startswith("${DAGSTER_POSTGRES_PASSWORD_FILE:?")
    for service in (*compose["services"].values(), *postgres["services"].values()):
        for variable in service.get("environment", {}):
            assert "PASSWORD" not in variable or variable == "POSTGRES_PASSWORD_FILE"
    assert postgres["services"]["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"].startswith("/run/secrets/")
    assert "app" not in postgres["services"]


def test_dagster_starts_when_the_database_is_ready_and_its_pages_when_the_code_server_is(compose, postgres):
    for name in DAGSTER_SERVICES:
        assert postgres["services"][name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("webserver", "daemon"):
        assert compose["services"][name]["depends_on"] == {"code": {"condition": "service_healthy"}}


def test_there_can_be_one_daemon_only(compose):
    # Compose refuses a second container of a service whose container has a name.
    assert compose["services"]["daemon"]["container_name"]


def test_all_volumes_that_are_used_are_declared(compose, postgres):
    for part in (compose, postgres):
        used = {
            mount.partition(":")[0]
            for service in part["services"].values()
            for mount in service.get("volumes", [])
            if isinstance(mount, str)
        }
        assert used == set(part["volumes"])


def test_settings_that_are_not_set_stay_unset(compose):
    # An empty IFCB_EXCLUDE means that no directory is left out: it must not arise by itself.
    settings = compose["services"]["app"]["environment"]
    assert settings
    assert all(value is None for value in settings.values())


def test_the_compose_file_knows_every_setting_of_the_pipeline(compose):
    known = set(re.findall(r'"(IFCB_\w+)"', (ROOT / "ifcb_flow_pipeline/store/settings.py").read_text()))
    assert known
    # The first two are set in the image; the other reader is not part of it.
    passed_on = known - {"IFCB_DATA_DIR", "IFCB_FLOW_HOME", "IFCB_READER"}
    assert {"IFCB_DAGSTER_DB"} <= set(compose["x-dagster"])
    for name in OWN_SERVICES:
        assert passed_on <= set(compose["services"][name]["environment"]), name


def test_nothing_gets_into_the_image_unless_it_is_named():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"


def test_a_code_server_that_is_stopped_has_time_to_end_its_runs(compose):
    assert compose["services"]["code"]["stop_grace_period"] == "5m"


def _entrypoint(tmp_path: Path, **environment: str) -> tuple[Path, Path]:
    """What the entrypoint writes: the settings of Dagster, and the file with the password."""
    script = re.sub("/run/secrets/|/tmp/", f"{tmp_path}/", (ROOT / "docker/entrypoint.sh").read_text())
    image = tmp_path / "docker"
    image.mkdir()
    (image / "entrypoint.sh").write_text(script)
    (image / "dagster.yaml").write_text((ROOT / "ifcb_flow_pipeline/defs/dagster.yaml").read_text())
    (image / "postgres.yaml").write_text((ROOT / "ifcb_flow_pipeline/defs/postgres.yaml").read_text())
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
    command = ["/bin/sh", image / "entrypoint.sh", "env"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (tmp_path / "environment").write_text(said.stdout)
    return tmp_path / "home" / "dagster.yaml", tmp_path / "ifcb-flow-pgpass"


def test_the_entrypoint_puts_dagsters_settings_into_place_for_their_owner_only(tmp_path):
    written, password = _entrypoint(tmp_path, DAGSTER_HOME=str(tmp_path / "home"))
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    assert not password.exists()
    settings = yaml.safe_load(written.read_text())
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["run_queue"]["max_concurrent_runs"] == 2
    assert settings["run_monitoring"]["max_runtime_seconds"] == 6 * 3600
    assert "storage" not in settings


def test_a_user_who_may_not_write_to_the_volume_can_run_commands_all_the_same(tmp_path):
    _entrypoint(tmp_path, XDG_CACHE_HOME="/proc/cache")


def test_with_a_database_the_password_gets_from_its_file_to_a_private_one(tmp_path, postgres):
    database = postgres["services"]["daemon"]["environment"]["IFCB_DAGSTER_DB"]
    (tmp_path / "postgres_password").write_text("a:b\\c d\n")
    written, password = _entrypoint(tmp_path, DAGSTER_HOME=str(tmp_path / "home"), IFCB_DAGSTER_DB=database)
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert password.read_text() == r"*:*:*:*:a\:b\\c d"  # as libpq reads it
    assert database.endswith("?passfile=/tmp/ifcb-flow-pgpass")
    assert "/tmp/ifcb-flow-pgpass" in (ROOT / "docker/entrypoint.sh").read_text()  # noqa: S108 - of the container
    settings = yaml.safe_load(written.read_text())
    assert settings["storage"] == {"postgres": {"postgres_url": {"env": "IFCB_DAGSTER_DB"}}}
    assert (
        f"IFCB_DAGSTER_DB=postgresql+psycopg2://{database.partition('://')[2]}\n"
        in (tmp_path / "environment").read_text()
    )


def test_the_review_app_writes_no_settings_of_dagster(compose, tmp_path):
    assert "DAGSTER_HOME" not in compose["services"]["app"]["environment"]
    written, _ = _entrypoint(tmp_path)
    assert not written.exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_units_of_systemd_are_right(tmp_path):
    here = {"/opt/ifcb-flow/.venv/bin": str(Path(sys.executable).parent), "/opt/ifcb-flow": str(ROOT)}
    for path in UNITS.rglob("ifcb-flow*"):
        target = tmp_path / path.relative_to(UNITS)
        if path.is_dir():
            target.mkdir()
    for path in [*UNITS.glob("ifcb-flow*.*"), *UNITS.glob("*/*.conf")]:
        if path.is_file():
            text = path.read_text()
            for place, found in here.items():
                text = text.replace(place, found)
            (tmp_path / path.relative_to(UNITS)).write_text(text)
    units = sorted(tmp_path.glob("ifcb-flow*.service"))
    assert len(units) == 5
    command = [shutil.which("systemd-analyze") or "", "verify", *units, tmp_path / "ifcb-flow.target"]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert str(tmp_path) not in said.stderr, said.stderr


def test_units_and_containers_run_the_same_commands_but_for_addresses(compose):
    def words(command: list[str]) -> list[str]:
        # In the container the interface can be reached from elsewhere, and wants a token.
        return [word for word in command if not re.search(r"\d\.\d|workspace|headless|^true$|token", word)]

    for name, unit in UNIT_OF.items():
        text = (UNITS / f"ifcb-flow-{unit}.service").read_text()
        (command,) = re.findall(r"^ExecStart=/opt/ifcb-flow/.venv/bin/(.*)$", text, re.MULTILINE)
        assert words(command.split()) == words(compose["services"][name]["command"])


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_version_that_fits_for_every_direct_dependency(lock):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"]) + project["build-system"]["requires"]
    for extra in LOCKS[lock]:
        wanted += project["project"]["optional-dependencies"][extra]
    pins = _pins(lock)
    for requirement in map(Requirement, wanted):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in {lock}: run docker/lock.sh"
        assert requirement.specifier.contains(version), f"{requirement}, {lock} has {version}: run docker/lock.sh"


def test_developers_have_the_versions_of_the_image():
    assert _pins("requirements.lock").items() <= _pins("requirements-dev.lock").items()


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_registry_or_a_place_of_one_machine(name):
    text = (ROOT / name).read_text()
    hosts = re.findall(r"(?:https?|file)://(?!127\.0\.0\.1)[^\s\"')]+", text)
    assert not hosts
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|pypi\.org|pythonhosted", text)
    assert not re.search(r"(?<![\w.])/(work|root|Users)/", text)

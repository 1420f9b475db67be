"""The container set-up, as far as its files tell: nothing is built or started here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "Dockerfile",
    ".dockerignore",
    "compose.yaml",
    "docker/dagster.yaml",
    "docker/entrypoint.sh",
    "docker/lock.sh",
    "docs/running.md",
    "requirements.lock",
    "requirements-dev.lock",
)
LOCKS = {"requirements.lock": ("postgres",), "requirements-dev.lock": ("postgres", "dev")}
OWN_SERVICES = ("webserver", "daemon", "app")

_PIN = re.compile(
    r"(?P<name>[a-z0-9._-]+)(\[[a-z0-9,._-]+\])?==(?P<version>[0-9][^\s;]*)(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


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


def test_every_image_has_a_full_version_as_its_tag(compose, dockerfile):
    stages = {words[3] for words in dockerfile if words[0] == "FROM" and len(words) == 4}
    images = {words[1] for words in dockerfile if words[0] == "FROM"} - stages
    images |= {service["image"] for service in compose["services"].values()}
    assert len(images) == 3
    for image in images:
        assert re.match(r"\d+\.\d+", _tag(image)), image


def test_the_three_services_share_one_image_and_differ_by_command(compose):
    services = [compose["services"][name] for name in OWN_SERVICES]
    assert len({service["image"] for service in services}) == 1
    assert [service["command"][0] for service in services] == ["python", "dagster-daemon", "streamlit"]


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
def test_every_service_restarts_and_tells_its_health(compose, name):
    service = compose["services"][name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert set(service["healthcheck"]) == {"test", "interval", "timeout", "retries", "start_period"}


def test_every_service_is_tested_here(compose):
    assert set(compose["services"]) == {"postgres", *OWN_SERVICES}


@pytest.mark.parametrize(
    ("name", "sign"),
    [("webserver", ":3000/server_info"), ("app", ":8501/_stcore/health"), ("daemon", "liveness-check")],
)
def test_the_health_of_a_service_is_asked_where_it_answers(compose, name, sign):
    assert sign in " ".join(compose["services"][name]["healthcheck"]["test"])


@pytest.mark.parametrize("name", OWN_SERVICES)
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


def test_ports_are_open_to_this_machine_only_unless_set_otherwise(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(published) == 2
    for port in published:
        assert port.startswith("${IFCB_BIND:-127.0.0.1}:"), port
    assert "ports" not in compose["services"]["postgres"]


def test_the_password_has_no_default_and_the_review_app_does_not_get_it(compose):
    password = compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${DAGSTER_POSTGRES_PASSWORD:?")
    for name in ("webserver", "daemon"):
        assert compose["services"][name]["environment"]["DAGSTER_POSTGRES_PASSWORD"] == password
    assert not any("POSTGRES" in variable for variable in compose["services"]["app"]["environment"])


@pytest.mark.parametrize("name", ["webserver", "daemon"])
def test_dagster_starts_when_the_database_is_ready(compose, name):
    assert compose["services"][name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_there_can_be_one_daemon_only(compose):
    # Compose refuses a second container of a service whose container has a name.
    assert compose["services"]["daemon"]["container_name"]


def test_all_volumes_that_are_used_are_declared(compose):
    used = {
        mount.partition(":")[0]
        for service in compose["services"].values()
        for mount in service["volumes"]
        if isinstance(mount, str)
    }
    assert used == set(compose["volumes"])


def test_webserver_and_daemon_share_the_sockets_so_that_runs_can_be_stopped_from_the_page(compose):
    for name in ("webserver", "daemon"):
        service = compose["services"][name]
        assert f"run:{service['environment']['TMPDIR']}" in service["volumes"]


def test_settings_that_are_not_set_stay_unset(compose):
    # An empty IFCB_EXCLUDE means that no directory is left out: it must not arise by itself.
    settings = compose["services"]["app"]["environment"]
    assert settings
    assert all(value is None for value in settings.values())


def test_the_page_for_operators_and_the_compose_file_know_every_setting_of_the_pipeline(compose):
    known = set(re.findall(r'"(IFCB_\w+)"', (ROOT / "ifcb_flow_pipeline/store/settings.py").read_text()))
    assert known
    assert known <= set(re.findall(r"`(IFCB_\w+)`", (ROOT / "docs/running.md").read_text()))
    # The first two are set in the image; the other reader is not part of it.
    passed_on = known - {"IFCB_DATA_DIR", "IFCB_FLOW_HOME", "IFCB_READER"}
    for name in OWN_SERVICES:
        assert passed_on <= set(compose["services"][name]["environment"]), name


def test_nothing_gets_into_the_image_unless_it_is_named():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"


def test_a_daemon_that_is_stopped_has_time_to_end_its_runs(compose):
    settings = yaml.safe_load((ROOT / "docker/dagster.yaml").read_text())
    assert settings["code_servers"]["wait_for_local_processes_on_shutdown"] is True
    assert compose["services"]["daemon"]["stop_grace_period"] == "5m"


def test_dagster_takes_the_settings_of_the_containers(compose, monkeypatch):
    for variable, value in compose["services"]["daemon"]["environment"].items():
        if variable.startswith("DAGSTER_"):
            monkeypatch.setenv(variable, str(value))
    settings, instance_class = dagster_instance_config(str(ROOT / "docker"))
    assert instance_class is None
    assert settings["telemetry"] == {"enabled": False}
    assert settings["nux"] == {"enabled": False}
    assert settings["concurrency"]["runs"]["max_concurrent_runs"] == 2
    assert settings["run_monitoring"]["max_runtime_seconds"] == 6 * 3600
    assert settings["storage"]["postgres"]["postgres_db"]["scheme"] == "postgresql+psycopg2"


def test_every_variable_that_dagster_reads_is_set_in_the_compose_file(compose):
    asked = set(re.findall(r"env: (\w+)", (ROOT / "docker/dagster.yaml").read_text()))
    assert asked
    for name in ("webserver", "daemon"):
        assert asked <= set(compose["services"][name]["environment"])


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

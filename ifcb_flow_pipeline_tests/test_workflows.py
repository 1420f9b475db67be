"""The files for GitHub: whether they are what they should be, as far as that can be said without GitHub."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the key "on" for true.
    return {"on" if key is True else key: value for key, value in yaml.safe_load(path.read_text()).items()}


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_the_gate_the_image_the_release_and_the_documentation() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "gate", "image", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_a_bound_and_no_more_rights_than_it_needs(path: Path) -> None:
    workflow = read(path)
    assert workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert job["runs-on"] == "ubuntu-latest"
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
    text = path.read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
    # Values that strangers choose are no part of a command.
    assert "pull_request_target" not in text
    assert not re.search(r"run:.*\$\{\{", text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_is_either_a_versioned_action_or_a_valid_script(path: Path) -> None:
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v1)", step["uses"])
        else:
            assert "${{" not in step["run"]
            checked = subprocess.run(
                ["/bin/bash", "-n"], input=step["run"], text=True, capture_output=True, check=False
            )
            assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_script_calls_in_the_checkout_is_there(path: Path) -> None:
    commands = " ".join(step.get("run", "") for step in steps(path))
    for name in re.findall(r"(?:^|\s)((?:\.\w+/)\S+|compose\S*\.yaml)", commands):
        assert (ROOT / name).exists(), name
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", commands)) <= targets


def test_only_the_release_can_publish_to_the_package_index_and_without_a_password() -> None:
    jobs = {(path.stem, name): job for path in WORKFLOWS for name, job in read(path)["jobs"].items()}
    publishing = [key for key, job in jobs.items() if any("pypi-publish" in s.get("uses", "") for s in job["steps"])]
    assert publishing == [("release", "publish")]
    job = jobs["release", "publish"]
    assert job["permissions"] == {"id-token": "write"}
    assert job["environment"] == "pypi"
    assert read(ROOT / ".github/workflows/release.yml")["on"] == {"push": {"tags": ["v*"]}}


def test_the_gate_is_run_with_every_python_that_the_package_names() -> None:
    (job,) = read(ROOT / ".github/workflows/gate.yml")["jobs"].values()
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == named


def test_a_release_has_whole_addresses_in_readme_and_metadata(tmp_path: Path) -> None:
    tomllib = pytest.importorskip("tomllib")
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([ROOT / ".github/addresses.sh", "lab/flow", "v1.2.3"], cwd=tmp_path, check=True)
    text = (tmp_path / "README.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert "https://github.com/lab/flow/blob/v1.2.3/docs/running.md" in links
    assert "https://raw.githubusercontent.com/lab/flow/v1.2.3/docs/images/review-overview.png" in links
    assert all(link.startswith("https://") for link in links)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Source"] == "https://github.com/lab/flow"

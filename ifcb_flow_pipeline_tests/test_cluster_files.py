"""The files for clusters call the command that there is, with the shard that their engine gives them."""

import ast
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ifcb_flow_pipeline.cli import main

CLUSTER = Path(__file__).resolve().parents[1] / "deploy" / "cluster"
FEATURES = "days 2015-01-01 2024-12-31 --steps features --shard 3/10"
BASH = shutil.which("bash") or "bash"
SCORES = "days 2015-01-01 2024-12-31 --steps scores"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which ``ifcb-flow`` only says what it was called with."""
    program = tmp_path / "ifcb-flow"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "IFCB_DATA_DIR": "/archive", "IFCB_FLOW_HOME": "/data"}


def said(program: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_each_job_of_a_slurm_array_makes_its_shard_and_the_last_one_the_scores(environment):
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "10", "SLURM_CPUS_PER_TASK": "2"}
    days = ["2015-01-01", "2024-12-31"]
    assert said([BASH, f"{CLUSTER / 'features.sbatch'}", *days], environment | array) == FEATURES
    assert said([BASH, f"{CLUSTER / 'scores.sbatch'}", *days], environment) == SCORES
    assert "#SBATCH --array=0-9\n" in (CLUSTER / "features.sbatch").read_text()


def test_a_slurm_job_without_its_folders_says_which_is_missing(environment):
    del environment["IFCB_FLOW_HOME"]
    done = subprocess.run(
        [BASH, f"{CLUSTER / 'scores.sbatch'}", "2015-01-01", "2015-01-02"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "IFCB_FLOW_HOME: the data folder" in done.stderr


def test_each_pod_of_the_indexed_job_makes_its_shard_and_the_last_one_the_scores(environment):
    features, scores = (yaml.safe_load((CLUSTER / f"{name}-job.yaml").read_text()) for name in ("features", "scores"))
    spec = features["spec"]
    assert (spec["completionMode"], spec["completions"]) == ("Indexed", 10)
    [container] = spec["template"]["spec"]["containers"]
    settings = {one["name"]: one["value"] for one in container["env"]}
    assert said(container["command"], environment | settings | {"JOB_COMPLETION_INDEX": "3"}) == FEATURES
    [container] = scores["spec"]["template"]["spec"]["containers"]
    assert said(container["command"], environment) == SCORES


def test_the_options_that_the_files_use_exist():
    options = {option for parameter in main.commands["days"].params for option in parameter.opts}
    assert {"--steps", "--shard", "--dask"} <= options


def test_the_cluster_of_workers_in_jobs_is_a_program():
    tree = ast.parse((CLUSTER / "jobqueue.py").read_text())
    assert {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} == {"dask_jobqueue"}

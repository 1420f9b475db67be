"""The benchmarks run: their small version, without a look at the figures."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.faults.__main__ import main as faults

pytestmark = pytest.mark.slow


def test_all_measurements_run_and_agree_with_their_baselines(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--small", "--output", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert len(rows) == 30
    assert all(row["ours_s"] > 0 for row in rows)
    assert all(row["workload"] in (tmp_path / "results.md").read_text() for row in rows)


def test_every_fault_of_the_small_campaign_is_survived() -> None:
    result = CliRunner().invoke(faults, ["--small"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 18

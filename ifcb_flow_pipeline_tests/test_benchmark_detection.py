"""The benchmark of detection: its simulators are strangers to the package, its figures mean what they say, it runs."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import (
    bubbles,
    detection,
    field,
    field_day,
    field_faults,
    field_rigs,
    metrics,
    second_run,
    second_simulator,
)
from benchmarks.field_figures import PARTS, Figure
from benchmarks.metrics import Ranking, Truths
from benchmarks.schedule import FAULT, VARIATION, Slot, Truth

pytestmark = pytest.mark.slow

BENCHMARKS = Path(detection.__file__).parent


@pytest.mark.parametrize("name", ["second_simulator", "second_run", "second_faults", "second_files", "third_simulator"])
def test_the_independent_simulators_share_no_code_with_the_package(name: str) -> None:
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [module for module in imported if module.startswith("ifcb_flow_pipeline")]
    assert "benchmarks.fleets" not in imported


def _truths(*names: str) -> Truths:
    """One instrument's bins: "" healthy, "bloom" unusual, else a fault; neighbours of a name are an episode."""
    episode, truths = 0, []
    for number, name in enumerate(names):
        episode += number > 0 and name != names[number - 1]
        kind = "plain" if not name else VARIATION if name == "bloom" else FAULT
        truths.append(Truth(f"pid{number}", "IFCB1", Slot(name, 0.5 if name else 0.0, kind, episode)))
    return Truths.of(truths)


def test_a_perfect_ranking_reaches_one_and_a_reversed_one_nothing() -> None:
    truths = _truths("", "", "air", "", "clog", "")
    badness = truths.is_fault.astype(float)
    right = metrics.ranking_metrics([Ranking(badness, truths)])
    wrong = metrics.ranking_metrics([Ranking(-badness, truths)])
    assert [right[name].value for name in ("auroc", "average_precision", "recall_1")] == pytest.approx([1, 1, 1])
    assert wrong["auroc"].value == pytest.approx(0)
    assert wrong["recall_1"].value == 0


def test_faults_that_tie_with_healthy_bins_are_not_found_at_few_false_alarms() -> None:
    truths = _truths("air", *[""] * 50)
    found = metrics.ranking_metrics([Ranking(np.full(51, 100.0), truths)])
    assert found["recall_1"].value == 0
    assert found["auroc"].value == pytest.approx(0.5)


def test_faults_without_a_score_are_not_found() -> None:
    truths = _truths("empty_bin", *[""] * 9)
    found = metrics.ranking_metrics([Ranking(np.append(-np.inf, np.zeros(9)), truths)])
    assert found["recall_1"].value == 0


def test_an_onset_counts_from_the_first_faulty_bin_and_a_lost_episode_is_missed() -> None:
    truths = _truths("", "air", "air", "air", "", "", "", "clog", "clog", "clog")
    first_of_episode = np.array([-1, -1, 2, 2, -1, -1, -1, -1, -1, -1])
    assert metrics.onsets(truths, first_of_episode) == ([1], 1)


def test_every_regime_keeps_training_and_judgement_as_it_says() -> None:
    truths = Truths.of(
        [Truth(f"pid{i}", name, Slot()) for name in ("IFCB1", "IFCB2") for i in range(detection.FEW_BINS + 20)]
    )
    parts = {regime: detection.split(truths, regime) for regime in detection.REGIMES}
    assert all(part.all() for part in parts["same"])
    assert [part.sum() for part in parts["few bins"]] == [2 * detection.FEW_BINS] * 2
    assert not np.logical_and(*parts["later"]).any()
    assert set(truths.instrument[parts["unseen instrument"][0]]) == {"IFCB1"}
    assert set(truths.instrument[parts["unseen instrument"][1]]) == {"IFCB2"}


def test_the_benchmark_runs_on_a_small_archive_and_writes_its_tables(tmp_path: Path) -> None:
    command = ["--small", "--seeds", "1", "--source", "third", "--only", "flow", "--only", "reference forest, 27"]
    result = CliRunner().invoke(detection.main, [*command, "--output", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    content = json.loads((tmp_path / "detection-third.json").read_text())
    ours = [entry for entry in content["detectors"] if entry["detector"] == "flow"]
    assert [entry["regime"] for entry in ours] == list(detection.REGIMES)
    assert all(entry["verdicts"]["recall of verdicts"]["n"] > 0 for entry in ours)
    summary = (tmp_path / "detection.md").read_text()
    assert all(f"| third | {regime} | " in summary for regime in detection.REGIMES)
    assert "| reference forest, 27 | " in summary
    assert "| all | " in summary
    assert "false alarms, worst first:" in (tmp_path / "detection-third.md").read_text()


def test_the_benchmark_of_the_field_runs_small_and_marks_what_misses_its_bar(tmp_path: Path) -> None:
    command = ["--small", "--samples", str(tmp_path)]
    result = CliRunner().invoke(field.main, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert all(f"\n{part}\n" in result.output for part in PARTS)
    rows = [line for line in result.output.splitlines() if line.startswith("| days: ")]
    assert any(">= 0.97" in row for row in rows)


def test_a_figure_that_misses_its_bar_is_marked_and_totals_count_bins() -> None:
    figures = {0: [Figure("found", 0.5, 2, least=0.9)], 1: [Figure("found", 1.0, 6, least=0.9)]}
    assert [cell.strip() for cell in field.as_table(figures).splitlines()[-1].split("|")[1:-1]] == [
        "found", ">= 0.9", "0.875!", "8", "0.500!", "1.000",
    ]  # fmt: skip


def test_a_day_in_the_field_has_odd_bins_that_lost_images_and_headers_that_differ_by_one_word() -> None:
    day = field_day.archive(3, field_day.SMALL)
    odd = [truth for truth in day.truths if truth.slot.kind == FAULT]
    assert {truth.slot.name for truth in odd} == set(field_faults.FAULTS)
    assert all(0 < truth.slot.severity < 1 for truth in odd)
    headers = [
        next(day.root.rglob(f"{truth.pid}.hdr")).read_text().splitlines()
        for truth in day.truths
        if truth.instrument == day.truths[0].instrument
    ]
    measured = ("triggerCount", "roiCount", "runTime", "inhibitTime", "temperature", "humidity")
    first, second = ([line for line in header if not line.startswith(measured)] for header in headers[:2])
    assert set(first) ^ set(second) == {"sampleType: Normal", "sampleType: Alternative"}


def test_blind_triggers_come_faster_and_take_no_image_along() -> None:
    rng = np.random.default_rng(0)
    rig = field_rigs.rig(rng, "IFCB201")
    run = second_simulator.draw(rng, rig, second_run.Water(8000, rig.core_x, 0.1, 1.0, 0.01, 20, 5, 100, 0.13))
    blind = field_faults.blinded(rng, run, [(300.0, 700.0)])
    before, after = (((r.time >= 300) & (r.time < 700)).sum() for r in (run, blind))
    assert after > 1.1 * before
    assert not ((blind.width > 0) & (blind.time >= 300) & (blind.time < 700)).any()
    assert (blind.width > 0).sum() == ((run.width > 0) & ((run.time < 300) | (run.time >= 700))).sum()
    assert (np.diff(blind.time) >= 0).all()
    assert set(np.diff(blind.trigger).tolist()) <= {0, 1}


def test_bubbles_are_large_and_round_and_as_many_as_asked_for() -> None:
    rng = np.random.default_rng(1)
    rig = field_rigs.rig(rng, "IFCB201")
    run = second_simulator.draw(rng, rig, second_run.Water(3000, rig.core_x, 0.1, 1.0, 0.01, 20, 5, 100, 0.13))
    bubbly = bubbles.with_bubbles(rng, run, 0.08)
    large = (bubbly.width > bubbles.LARGE_PX) & (bubbly.height > bubbles.LARGE_PX)
    assert large.sum() / (bubbly.width > 0).sum() == pytest.approx(0.08, abs=0.02)
    inner = (bubbly.width - 2 * rig.grow[0]) / (bubbly.height - 2 * rig.grow[1])
    assert np.median(np.abs(np.log(inner[large]))) < 0.15

"""The archive as a whole: layout, labels beside it, determinism, and the demo's proportions."""

import csv
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.simulate import (
    ArchivePlan,
    Episode,
    InstrumentProfile,
    demo_plan,
    files_of,
    regenerate_bin,
    simulate_bin,
    write_archive,
    write_labels,
)
from ifcb_flow_pipeline.simulate.faults import FAULTS
from ifcb_flow_pipeline.simulate.plan import planned_bins

from .measures import V2_PID

LAST_DAY = date(2026, 8, 1)
PLAN = ArchivePlan(
    instruments=(InstrumentProfile("IFCB134"), InstrumentProfile("IFCB5", "v1", x0_px=400.0)),
    first_day=date(2026, 7, 30),
    n_days=2,
    bins_per_day=4,
    mean_triggers=80,
    seed=3,
    episodes=(
        Episode("air", "IFCB134", day=0, hour=10, n_bins=3, severity=0.9, first_severity=0.1),
        Episode("missing_hdr", "IFCB5", day=1, hour=0, n_bins=1),
        Episode("corrupt_adc", "IFCB5", day=1, hour=5, n_bins=1),
    ),
    with_images=True,
)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_plan_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name, plan in (("one", PLAN), ("two", PLAN), ("other", replace(PLAN, seed=4))):
        write_archive(plan, tmp_path / name)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    adc_files = [name for name in one if name.endswith(".adc")]
    assert len(adc_files) == 16
    assert not {one[name] for name in adc_files} & set(other.values())


def test_a_bin_drawn_alone_equals_the_one_in_the_archive(tmp_path: Path) -> None:
    write_archive(PLAN, tmp_path)
    for planned in reversed(planned_bins(PLAN)):
        files = files_of(regenerate_bin(PLAN, planned.pid), with_images=True)
        (adc,) = tmp_path.rglob(f"{planned.pid}.adc")
        assert adc.read_bytes() == files.adc
        assert adc.with_suffix(".roi").read_bytes() == files.roi
        assert adc.with_suffix(".hdr").exists() == (files.hdr is not None)


def test_the_layout_follows_each_schema_and_holds_bins_only(tmp_path: Path) -> None:
    write_archive(PLAN, tmp_path)
    for path in tmp_path.rglob("*.*"):
        bin_id = parse_pid(path.stem)
        assert path.suffix in {".adc", ".hdr", ".roi"}
        if bin_id.schema == "v2":
            expected = f"D{bin_id.day:%Y}/D{bin_id.day:%Y%m%d}"
        else:
            expected = f"{bin_id.day:%Y}/IFCB5_{bin_id.day:%Y_%j}"
        assert str(path.parent.relative_to(tmp_path)) == expected


def test_files_were_last_modified_at_the_end_of_their_run(tmp_path: Path) -> None:
    write_archive(PLAN, tmp_path)
    for path in tmp_path.rglob("*.*"):
        end = parse_pid(path.stem).start_time + timedelta(seconds=1200.85)
        assert path.stat().st_mtime == pytest.approx(end.timestamp(), abs=0.01)


def test_planted_faults_come_back_with_their_severity_and_go_into_the_label_file(tmp_path: Path) -> None:
    planted = write_archive(PLAN, tmp_path / "archive")
    write_labels(planted, tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        labels = list(csv.DictReader(file))
    assert list(labels[0]) == ["pid", "fault", "severity", "is_fault", "meaning"]
    air = [label["severity"] for label in labels if label["fault"] == "air"]
    assert air == ["0.100", "0.500", "0.900"]
    assert {label["is_fault"] for label in labels if label["fault"] == "post_clean"} == {"false"}
    assert {label["is_fault"] for label in labels if label["fault"] != "post_clean"} == {"true"}
    missing = next(label["pid"] for label in labels if label["fault"] == "missing_hdr")
    assert not list(tmp_path.rglob(f"{missing}.hdr"))
    assert all(label["meaning"] for label in labels)


def test_the_demo_has_two_weeks_of_two_instruments_and_an_eighth_of_faulty_bins() -> None:
    bins = planned_bins(demo_plan(LAST_DAY))
    variation = {None, "bloom", "post_clean"}
    faulty = [planned for planned in bins if planned.fault not in variation]
    assert len(bins) == 2 * 14 * 24
    assert len({planned.pid for planned in bins}) == len(bins)
    assert {planned.start_time.date() for planned in bins} == {LAST_DAY - timedelta(days=back) for back in range(14)}
    assert 0.12 <= len(faulty) / len(bins) <= 0.14
    in_images = [planned for planned in faulty if FAULTS[planned.fault].in_images_only]
    assert 25 <= len(in_images) <= 40
    assert len({planned.fault for planned in faulty}) >= 12
    first_faulty_day = min(planned.start_time for planned in faulty).date()
    assert first_faulty_day == LAST_DAY - timedelta(days=8)


def test_runs_of_an_instrument_do_not_overlap_and_cleaning_leaves_a_longer_gap() -> None:
    for name in ("IFCB134", "IFCB124"):
        bins = [planned for planned in planned_bins(demo_plan(LAST_DAY)) if planned.instrument.name == name]
        gaps_s = [(after.start_time - before.start_time).total_seconds() for before, after in pairwise(bins)]
        is_longer = [gap_s > 4400 for gap_s in gaps_s]
        assert min(gaps_s) > 1201
        assert sum(is_longer) >= 13
        after_cleaning = [planned for planned in bins if planned.fault == "post_clean"]
        assert all(is_longer[bins.index(planned) - 1] for planned in after_cleaning if planned != bins[0])


def test_neighbouring_bins_resemble_each_other_in_counts_and_position() -> None:
    plan = replace(PLAN, n_days=60, bins_per_day=24, episodes=())
    bins = [planned for planned in planned_bins(plan) if planned.instrument.name == "IFCB134"]
    log_counts = np.log([planned.conditions.mean_triggers for planned in bins])
    x0_px = np.array([planned.conditions.x0_px for planned in bins])
    assert np.corrcoef(log_counts[1:], log_counts[:-1])[0, 1] == pytest.approx(0.81, abs=0.05)
    assert np.diff(log_counts).std() == pytest.approx(0.21, abs=0.02)
    assert np.abs(x0_px - 980).max() <= 3
    assert x0_px.std() > 0.5


def test_simulate_bin_depends_on_pid_seed_and_fault_alone() -> None:
    def adc(**arguments: object) -> bytes:
        return files_of(simulate_bin(V2_PID, **arguments)).adc

    assert adc() == adc()
    assert adc(seed=1) != adc(seed=2)
    assert adc(fault="air") == adc(fault="air") != adc()
    assert files_of(simulate_bin("D20230810T123059_IFCB134")).adc != adc()


def test_a_plan_that_cannot_be_written_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="fewer bins a day"):
        replace(PLAN, bins_per_day=100)
    with pytest.raises(ValueError, match="unknown fault 'gremlins'"):
        replace(PLAN, episodes=(Episode("gremlins", "IFCB134", 0, 0, 1),))
    with pytest.raises(ValueError, match=r"IFCB999.*none of the instruments"):
        replace(PLAN, episodes=(Episode("air", "IFCB999", 0, 0, 1),))
    with pytest.raises(ValueError, match="named twice"):
        replace(PLAN, instruments=(InstrumentProfile("IFCB7"), InstrumentProfile("IFCB7")))


def test_an_episode_starts_with_the_first_bin_at_or_after_its_hour() -> None:
    air = [planned for planned in planned_bins(PLAN) if planned.fault == "air"]
    begin = datetime.combine(PLAN.first_day, time(10), UTC)
    earlier = [p for p in planned_bins(PLAN) if p.instrument.name == "IFCB134" and p.start_time < begin]
    assert len(air) == 3
    assert all(planned.start_time >= begin for planned in air)
    assert all(planned.fault != "air" for planned in earlier)

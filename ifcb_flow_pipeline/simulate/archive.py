"""Drawing a plan's bins and writing them as an archive, with labels beside it.

Labels never go into the archive: nothing that reads it may see them.
"""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.simulate.bins import SimulatedBin, healthy_bin, profile_of, usual_conditions
from ifcb_flow_pipeline.simulate.faults import FAULTS, apply_fault, files_of, generator_of
from ifcb_flow_pipeline.simulate.plan import ArchivePlan, Episode, PlannedBin, demo_plan, planned_bins

__all__ = [
    "ArchivePlan",
    "Episode",
    "PlannedBin",
    "PlantedFault",
    "bin_directory",
    "demo_plan",
    "draw_bin",
    "planned_bins",
    "regenerate_bin",
    "simulate_bin",
    "write_archive",
    "write_bin",
    "write_labels",
]


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """The truth about one bin; ``is_fault`` is False for normal variation such as a bloom."""

    pid: str
    fault: str
    severity: float
    is_fault: bool
    meaning: str


def simulate_bin(
    pid: str,
    *,
    fault: str | None = None,
    severity: float = 0.7,
    mean_triggers: float = 1000.0,
    seed: int = 0,
) -> SimulatedBin:
    """One bin, healthy or with a fault of ``FAULTS``, that depends on the arguments alone.

    What lasts over an episode (the place of a stuck ROI, the direction of a shift) is the same for all
    pids of one instrument and seed. Raises InvalidPidError for a pid that is none, ValueError for an
    unknown fault or a severity outside 0 to 1.
    """
    bin_id = parse_pid(pid)
    instrument = profile_of(bin_id.instrument, bin_id.schema)
    conditions = replace(usual_conditions(instrument, mean_triggers), seed=seed, lasting_seed=seed)
    return draw_bin(PlannedBin(pid, instrument, bin_id.start_time, conditions, fault, severity))


def draw_bin(planned: PlannedBin) -> SimulatedBin:
    """Return the bin as planned; its random numbers depend on the seed and the pid alone."""
    rng = generator_of(planned.conditions.seed, planned.pid)
    healthy = healthy_bin(rng, planned.instrument, planned.start_time, planned.conditions)
    if planned.fault is None:
        return healthy
    return apply_fault(healthy, planned.fault, planned.severity)


def regenerate_bin(plan: ArchivePlan, pid: str) -> SimulatedBin:
    """One bin of a plan, equal to the one in the archive; raises KeyError for a pid that is not planned."""
    return draw_bin({planned.pid: planned for planned in planned_bins(plan)}[pid])


def write_archive(plan: ArchivePlan, root: Path) -> list[PlantedFault]:
    """Write the plan's bins below ``root`` and return what was planted, in the order of the plan."""
    planted = []
    for planned in planned_bins(plan):
        write_bin(draw_bin(planned), bin_directory(root, planned.pid), with_images=plan.with_images)
        if planned.fault is not None:
            fault = FAULTS[planned.fault]
            planted.append(PlantedFault(planned.pid, fault.name, planned.severity, fault.is_fault, fault.meaning))
    return planted


def bin_directory(root: Path, pid: str) -> Path:
    """Where a bin's files belong: ``DYYYY/DYYYYMMDD`` for v2, ``YYYY/IFCBn_YYYY_DDD`` for v1."""
    bin_id = parse_pid(pid)
    if bin_id.schema == "v2":
        return root / f"D{bin_id.day:%Y}" / f"D{bin_id.day:%Y%m%d}"
    return root / f"{bin_id.day:%Y}" / f"{bin_id.instrument}_{bin_id.day:%Y_%j}"


def write_bin(simulated: SimulatedBin, directory: Path, *, with_images: bool = False) -> list[Path]:
    """Write the bin's files into ``directory`` (made if need be), modified at the end of the run."""
    files = files_of(simulated, with_images=with_images)
    end = simulated.start_time + timedelta(seconds=simulated.conditions.duration_s)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for extension, content in (("adc", files.adc), ("hdr", files.hdr), ("roi", files.roi)):
        if content is None:
            continue
        path = directory / f"{simulated.pid}.{extension}"
        path.write_bytes(content)
        os.utime(path, (end.timestamp(), end.timestamp()))
        written.append(path)
    return written


def write_labels(faults: Iterable[PlantedFault], path: Path) -> None:
    """Write the labels as CSV: ``pid,fault,severity,is_fault,meaning``; bins not listed are healthy."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pid", "fault", "severity", "is_fault", "meaning"])
        for planted in faults:
            severity = f"{planted.severity:.3f}"
            is_fault = str(planted.is_fault).lower()
            writer.writerow([planted.pid, planted.fault, severity, is_fault, planted.meaning])

"""The one table of what can be planted in a bin, and how to plant it.

``FAULTS`` lists faults and, with ``is_fault`` False, normal variation that looks unusual. How each
changes a run is in ``recipes``, how each changes files in ``damage``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias
from zlib import crc32

import numpy as np

from ifcb_flow_pipeline.simulate import damage, recipes
from ifcb_flow_pipeline.simulate.bins import AppliedFault, SimulatedBin
from ifcb_flow_pipeline.simulate.files import BinFiles, adc_bytes, hdr_bytes
from ifcb_flow_pipeline.simulate.images import roi_bytes

BinChange: TypeAlias = Callable[[np.random.Generator, SimulatedBin, float], SimulatedBin]
FilesChange: TypeAlias = Callable[[np.random.Generator, BinFiles, float], BinFiles]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to plant: what it means in plain words, what probably causes it, and what it changes.

    Faults of the optics change the images (``optics``), some of them nothing else.
    """

    name: str
    meaning: str
    cause: str
    change_bin: BinChange | None = None
    change_files: FilesChange | None = None
    is_fault: bool = True
    in_images_only: bool = False


_TABLE = (
    Fault(
        "air",
        "images come from all over the frame, many of them big and round",
        "air bubbles in the flow cell",
        recipes.air,
    ),
    Fault(
        "focus_loss",
        "the sample stream is no longer narrow: images spread along and across the flow",
        "obstructed needle, weak sheath flow or a failing pump",
        recipes.focus_loss,
    ),
    Fault(
        "flow_speed_shift",
        "the whole cloud moved along the flow, and particles take another time to pass the laser",
        "other sheath pump or other pump speed",
        recipes.flow_speed_shift,
    ),
    Fault(
        "laser_misalignment",
        "few triggers, many without an image, and only part of the stream is lit",
        "the laser no longer hits the stream",
        recipes.laser_misalignment,
    ),
    Fault(
        "camera_tilt",
        "the stripe of images leans",
        "the camera or the flow cell was turned",
        recipes.camera_tilt,
    ),
    Fault(
        "out_of_focus",
        "images are larger than usual and many small ones are missing, at the usual place",
        "the objective is out of focus",
        recipes.out_of_focus,
    ),
    Fault(
        "stuck_roi",
        "the same spot of the frame is imaged again and again",
        "debris or a stain on the flow cell",
        recipes.stuck_roi,
    ),
    Fault("clog", "triggers nearly stop part-way through the run", "a clogged needle or tubing", recipes.clog),
    Fault(
        "incomplete_run",
        "the run is much shorter than its volume needs",
        "the run was aborted",
        recipes.incomplete_run,
    ),
    Fault(
        "empty_bin",
        "hardly any triggers in a full run",
        "no sample was delivered: valve, syringe or intake",
        recipes.empty_bin,
    ),
    Fault(
        "noise_trigger",
        "triggers at the highest possible rate, most of them without signal and without an image",
        "trigger threshold too low or electrical noise",
        recipes.noise_trigger,
    ),
    Fault(
        "edge_clipping",
        "images touch the frame's edge or span its whole width",
        "camera lines dropped, or the field of view moved",
        recipes.edge_clipping,
    ),
    Fault(
        "volume_error",
        "fewer particles than usual in a run of normal length, and a volume that contradicts it",
        "the syringe does not move as told",
        recipes.volume_error,
    ),
    Fault("leak", "the air in the housing is getting humid", "a leaking seal", recipes.leak),
    Fault(
        "corrupt_adc",
        "lines of the .adc file are garbage or cut short",
        "a failing disk or an interrupted write",
        change_files=damage.garble_adc,
    ),
    Fault(
        "truncated_adc",
        "the .adc file ends in the middle of a line",
        "an interrupted transfer",
        change_files=damage.truncate_adc,
    ),
    Fault("missing_hdr", "the .hdr file is missing", "an incomplete transfer", change_files=damage.drop_hdr),
    Fault("dim_flash", "all images are darker than usual", "a flash lamp that wears out or fails", in_images_only=True),
    Fault(
        "uneven_light",
        "images are brighter on one side of the frame",
        "a flash or a condenser that moved",
        in_images_only=True,
    ),
    Fault(
        "motion_blur",
        "images are smeared along the flow",
        "a flash that is too long, or a flow that is too fast",
        in_images_only=True,
    ),
    Fault(
        "dirty_window",
        "the same dark spots lie over the images that pass them",
        "dirt on the window of the flow cell, too small or too faint to trigger",
        in_images_only=True,
    ),
    Fault("camera_noise", "images are grainy all over", "the camera or its gain", in_images_only=True),
    Fault(
        "bloom",
        "many more particles than usual, at the usual place",
        "a bloom in the water",
        recipes.bloom,
        is_fault=False,
    ),
    Fault(
        "detritus",
        "more and larger particles than usual, at the usual place",
        "a storm or a tide that stirred the water up",
        recipes.detritus,
        is_fault=False,
    ),
    Fault(
        "bead_run",
        "nearly all images have the same small size",
        "calibration beads instead of sea water",
        recipes.bead_run,
        is_fault=False,
    ),
    Fault(
        "post_clean",
        "more triggers, and more of them without an image, right after a cleaning",
        "remains of the cleaning cycle",
        recipes.post_clean,
        is_fault=False,
    ),
    Fault(
        "config_change",
        "the cloud moved when the flash delay was changed in the settings",
        "an operator's new setting",
        recipes.config_change,
        is_fault=False,
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _TABLE}


def fault_named(name: str) -> Fault:
    """Return the table's entry; raises ValueError, listing the names, for one that does not exist."""
    if name not in FAULTS:
        raise ValueError(f"unknown fault {name!r}; known are {', '.join(FAULTS)}")
    return FAULTS[name]


def apply_fault(simulated: SimulatedBin, name: str, severity: float) -> SimulatedBin:
    """Return the bin with a fault planted; severity from 0 (barely visible) to 1 (plain).

    A fault of the files leaves the columns alone and shows in ``files_of``. Raises ValueError for an
    unknown name or a severity out of range.
    """
    fault = fault_named(name)
    if not 0 <= severity <= 1:
        raise ValueError(f"severity {severity} of {name} is not between 0 and 1")
    changed = simulated
    if fault.change_bin is not None:
        changed = fault.change_bin(bin_generator(simulated, name), simulated, severity)
    return replace(changed, faults=(*simulated.faults, AppliedFault(name, severity)))


def files_of(simulated: SimulatedBin, *, with_images: bool = False) -> BinFiles:
    """Return the bin's files, damaged by those of its faults that damage files."""
    roi = roi_bytes(simulated, bin_generator(simulated, "images")) if with_images else None
    files = BinFiles(adc_bytes(simulated), hdr_bytes(simulated), roi)
    for applied in simulated.faults:
        change = FAULTS[applied.name].change_files
        if change is not None:
            files = change(bin_generator(simulated, applied.name), files, applied.severity)
    return files


def bin_generator(simulated: SimulatedBin, purpose: str) -> np.random.Generator:
    """Random numbers that depend on the bin's seed and pid and on what they are for, and on nothing else."""
    return generator_of(simulated.conditions.seed, simulated.pid, purpose)


def generator_of(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone."""
    return np.random.default_rng([seed, *(crc32(name.encode()) for name in names)])

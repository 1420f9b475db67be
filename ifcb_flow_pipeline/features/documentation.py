"""The catalogue as a page for people: what ``docs/features.md`` holds."""

from collections.abc import Sequence
from itertools import groupby

from ifcb_flow_pipeline.features.catalogue import FULL_ONLY, MIN_POINTS, REFERENCE, Feature
from ifcb_flow_pipeline.features.geometry import STRAY_PX

_HEADER = ("feature", "unit", "meaning", "what it finds", "source", "scale")

_FAMILIES = {
    "core_position": "Where the core of the flow lies: the line through the medians of the narrower half of the "
    "images, in bands across the flow, so that neither strays nor wide images move it.",
    "core_spread": "How far images lie from that line, and which part of the frame's height they fill.",
    "strays": f"Images off that line by more than {STRAY_PX:.0f} px, and what touches or leaves the camera frame.",
    "stuck_boxes": "What comes back again and again at one place. Sought in one half of the images and counted in the "
    "other, so that chance does not look like a stain.",
    "triggers": "Images per trigger, and triggers per second; rows of one camera frame are one trigger. "
    "A stretch without images counts as blind where chance does not explain it.",
    "sizes": "Sizes of the boxes around particles.",
    "bubbles": "Boxes as only bubbles have them in any number: large and round.",
    "time_structure": "How triggers lie in the run, and what changes while it lasts. What chance alone would give is "
    "subtracted.",
    "velocity": "How fast particles pass the laser.",
    "signals": "How bright particles are.",
    "run": "Time, volume and counts against what the header promises and states.",
    "environment": "What the sensors in the housing say. Their trend over the bins before is judged by the detector.",
    "data_quality": "Whether the file is as the instrument writes it.",
}


def as_markdown() -> str:
    """The page, of all features of the catalogue."""
    parts = [_INTRODUCTION, "## The reference set\n\n" + _REFERENCE_TEXT, _table(REFERENCE)]
    parts.append("## What the full set has besides\n\n" + _FULL_TEXT)
    for family, features in groupby(FULL_ONLY, key=lambda feature: feature.family):
        parts += [f"### `{family}`\n\n{_FAMILIES[family]}", _table(list(features))]
    return "\n\n".join(parts) + "\n"


def _table(features: Sequence[Feature]) -> str:
    lines = [_HEADER, tuple("---" for _ in _HEADER)]
    lines += [(f"`{one.name}`", one.unit, one.meaning, one.failure_mode, one.source, one.scale) for one in features]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_INTRODUCTION = f"""# Features

<!-- Written by `make docs` from the catalogue. Do not edit. -->

There are two sets: `reference`, the {len(REFERENCE)} features of ifcb-flow-metric, and `full`, these and
{len(FULL_ONLY)} more. A feature that a bin does not tell is empty (NaN), never invented: the shape of a cloud and
the order in time need {MIN_POINTS} images or triggers; what only a header states needs one; a column of signals or
times that is the same in every row was not measured. *scale* says how values are compared between bins: as they
are, by their logarithm, or (fractions) by their logit."""

_REFERENCE_TEXT = """Positions are the corners of boxes as the file states them; x is divided by the aspect ratio
first, except for edges (px* is the unit of that x). Names, families and values are those of ifcb-flow-metric
(github.com/WHOIGit/ifcb-flow-metric)."""

_FULL_TEXT = """Positions are the centres of boxes, x along the flow from the left of the frame, y across it from
the top. Some software states the bottom edge of a box as its y and some the top edge: which it is, the lattice of
8 px that boxes lie on tells, else the frame, which boxes cannot leave, else the title of the software in the
header. The frame is 1360 x 1024 px, of IFCB1 to IFCB6 1380 x 1034 px; `IFCB_FRAMES`, or `--frames` on the command
line, gives that of an instrument that has another, such as `IFCB160=1360x1840`. Only rows with an image have a
position."""

"""Which fault looks like this: what each suspected cause does to the features, in a table to read.

A cause is suspected where the rarities of a bin point the way of its signature. It stays a suspicion: the
words say so, and what to look at. The signatures follow the operators' descriptions (mrun0205/IFCB_FieldGuide,
7-RoutineChecks.md and 8-CommonIssues.md) and the physics of the instrument, not any simulator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata

#: Surprises beyond this say no more about the cause.
_PLAIN = 4.0

#: Below this share of the rarities in its direction no cause is named.
_ALIKE = 0.25


@dataclass(frozen=True, slots=True)
class Signature:
    """What one cause does: features that go ``up``, ``down``, or ``either`` way, with how typical that is.

    A negative number speaks against it.
    """

    cause: str
    up: Mapping[str, float] = field(default_factory=dict)
    down: Mapping[str, float] = field(default_factory=dict)
    either: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """A suspected cause: its code, its one name for people, and what to check on the instrument.

    ``remark``: what is said behind the name of a cause that is no fault.
    """

    code: str
    title: str
    check: str
    is_fault: bool = True
    remark: str = ""

    def suspicion(self, other: "Cause | None" = None) -> str:
        """The sentence that names it, and the next likely cause."""
        if self.code == "unknown":
            return "Cause unknown"
        said = f"Suspected cause: {self.title}" + (f", {self.remark}" if self.remark else "")
        return said if other is None else f"{said}{';' if self.remark else ','} or {other.title}"


def _harmless(code: str, title: str, check: str, remark: str = "no fault") -> Cause:
    return Cause(code, title, check, is_fault=False, remark=remark)


_TABLE = (
    Cause("air", "air bubbles", "Debubble; look for bubbles in images, tubing and syringe"),
    Cause("clog", "clog", "Look for debris in intake, needle and tubing; flush"),
    Cause("stain", "debris on the flow cell", "Look at the images at that spot; clean the flow cell"),
    Cause("laser", "laser misaligned", "Check laser alignment and power with beads"),
    Cause("focus", "out of focus", "Are images blurred? Refocus with beads"),
    Cause("sheath_flow", "sheath flow problem", "Check sheath pump, filter, tubing and needle"),
    Cause("alignment", "camera or flow cell rotated", "Check that both are tight and straight"),
    Cause("electronics", "electronics fault", "Check trigger thresholds, grounding, cables, camera link"),
    Cause("incomplete_run", "run cut short", "Check the instrument log for who or what stopped it"),
    Cause("empty", "no sample", "Check intake, valve and syringe, and that the laser is on"),
    Cause("volume", "syringe fault", "Check syringe and valve; do not use concentrations"),
    Cause("leak", "leak in the housing", "Check seals and desiccant before the next run"),
    Cause("overheating", "overheating", "Check cooling, sun and water flow around the housing"),
    Cause("beads", "bead run", "File it with the bead runs"),
    Cause("corrupt", "damaged files", "Transfer the files again; check the disk"),
    _harmless("config_change", "settings changed", "Were they changed on purpose?"),
    _harmless("bloom", "dense sample (bloom)", "Look at some images"),
    _harmless("community", "other particles in the water", "Look at some images"),
    _harmless(
        "moved", "the sample core moved", "Was the instrument serviced? Mark a bin good to confirm it",
        "no fault until confirmed",
    ),
    _harmless("post_clean", "cleaning residue", "Check the next bins"),
    Cause("unknown", "cause unknown", "Look at the cloud and some images"),
)  # fmt: skip

CAUSES: Mapping[str, Cause] = {cause.code: cause for cause in _TABLE}

#: The one name of each cause, as people read it everywhere.
CAUSE_NAMES: Mapping[str, str] = {cause.code: cause.title for cause in _TABLE}

SIGNATURES = (
    Signature(
        "air",
        up={"stray_fraction": 2, "stray_spread": 1.5, "stray_left_fraction": 1, "stray_right_fraction": 1,
            "edge_touch_fraction": 1.2, "out_of_frame_fraction": 0.5, "width_p95_px": 1, "large_fraction": 1,
            "size_spread": 1, "bubble_fraction": 1.5, "core_width_px": 0.5, "no_image_fraction": 0.5,
            "cross_range_px": 0.5,
            "full_width_fraction": -1.5},
        down={"images_per_trigger": 0.5, "cross_low_px": 0.5},
    ),
    Signature(
        "clog",
        up={"time_uniformity": 2, "longest_gap_fraction": 1},
        down={"trigger_rate_hz": 0.5},
        either={"rate_change": 2},
    ),
    Signature(
        "stain",
        up={"repeat_fraction": 2, "repeat_anchor_fraction": 2, "hot_cell_fraction": 2, "stuck_persistence": 2,
            "multi_image_fraction": 1.5,
            "images_per_trigger": 1.5, "stray_fraction": 0.7, "stray_left_fraction": 0.4, "stray_right_fraction": 0.4},
        down={"no_image_fraction": 0.5, "stray_spread": 0.5},
    ),
    Signature(
        "laser",
        up={"no_image_fraction": 1, "cross_low_px": 1, "peak_floor_fraction": 0.7},
        down={"trigger_rate_hz": 1, "n_triggers": 1, "images_per_trigger": 1, "peak_median_v": 1.5,
              "cross_range_px": 1.5, "cross_high_px": 1, "inhibit_fraction": 0.5},
        either={"peak_y_slope": 1},
    ),
    Signature(
        "focus",
        up={"width_median_px": 1.5, "height_median_px": 1.5, "area_median_px2": 1.5, "area_p10_px2": 1.5,
            "no_image_fraction": 0.8, "width_p95_px": 0.5},
        down={"images_per_trigger": 0.8},
    ),
    Signature(
        "sheath_flow",
        up={"core_width_px": 2, "stray_fraction": 1, "stray_left_fraction": 0.7, "stray_right_fraction": 0.7,
            "cross_high_px": 0.7, "cross_range_px": 0.7, "size_spread": 0.3, "flight_spread": 0.5,
            "full_width_fraction": -1.5},
        down={"cross_low_px": 0.7},
        either={"core_asymmetry": 0.3},
    ),
    Signature(
        "sheath_flow",
        either={"core_x_px": 2, "flight_time_us": 1.5, "drift_x_px": 0.7},
    ),
    Signature("alignment", up={"core_width_px": 0.3}, either={"core_tilt": 2, "core_bend_px": 0.7}),
    Signature(
        "electronics",
        up={"no_image_fraction": 1.5, "trigger_rate_hz": 1, "n_triggers": 1, "peak_floor_fraction": 2,
            "inhibit_fraction": 0.7, "no_image_burst": 0.7, "blind_fraction": 2,
            "longest_blind_s": 1},
        down={"images_per_trigger": 1.5, "peak_median_v": 0.3, "volume_ml": 0.4, "volume_ratio": 0.4,
              "trigger_rate_hz": -1, "n_triggers": -1},
    ),
    Signature(
        "electronics",
        up={"edge_touch_fraction": 2, "full_width_fraction": 2, "out_of_frame_fraction": 1, "stray_fraction": 0.7,
            "large_fraction": 0.7, "stray_left_fraction": 0.5, "stray_right_fraction": 0.5, "width_p95_px": 0.7,
            "size_spread": 0.7, "core_width_px": 0.3},
        down={"lattice_fraction": 0.5},
    ),
    Signature("electronics", up={"trigger_gap_fraction": 1, "time_backward_fraction": 0.7}, either={"dead_time_s": 2}),
    Signature(
        "incomplete_run",
        down={"run_time_s": 2, "run_time_ratio": 2, "volume_ml": 1, "volume_ratio": 1, "n_triggers": 0.5},
    ),
    Signature(
        "empty",
        up={"no_image_fraction": 0.7},
        down={"n_triggers": 2, "trigger_rate_hz": 2, "inhibit_fraction": 1},
    ),
    Signature("volume", down={"trigger_rate_hz": 0.4}, either={"run_time_ratio": 2, "volume_ratio": 2}),
    Signature("leak", up={"humidity_pct": 2, "humidity_rise_pct": 2, "temperature_c": 0.2}),
    Signature("overheating", up={"temperature_c": 2, "temperature_rise_c": 2}),
    Signature(
        "beads", up={"repeat_fraction": 0.4}, down={"size_spread": 2, "width_p95_px": 0.7, "large_fraction": 0.5}
    ),
    Signature(
        "corrupt",
        up={"bad_line_fraction": 2, "header_adc_mismatch": 2, "time_still_fraction": 1.5,
            "start_byte_gap_fraction": 1.5, "time_backward_fraction": 1.5, "trigger_gap_fraction": 1},
        down={"lattice_fraction": 1.5},
        either={"image_count_mismatch": 2, "run_time_mismatch": 1.5},
    ),
    Signature(
        "bloom",
        up={"trigger_rate_hz": 2, "n_triggers": 2, "inhibit_fraction": 1.5, "multi_image_fraction": 0.5,
            "width_median_px": 0.4, "width_p95_px": 0.4, "area_median_px2": 0.4, "large_fraction": 0.4},
        down={"volume_ml": 1.5, "volume_ratio": 1.5},
    ),
    # Detritus: large, shapeless, of all sizes, but where the sheath puts it.
    Signature(
        "bloom",
        up={"size_spread": 2, "large_fraction": 1, "width_p95_px": 1, "trigger_rate_hz": 0.7, "n_triggers": 0.7,
            "no_image_fraction": 0.7, "stray_fraction": -0.7, "edge_touch_fraction": -0.7, "core_width_px": -0.7,
            "peak_floor_fraction": -0.7},
        down={"images_per_trigger": 0.7, "peak_median_v": -0.4},
    ),
    Signature(
        "post_clean",
        up={"trigger_rate_hz": 1, "n_triggers": 1, "no_image_fraction": 2, "peak_floor_fraction": 1.5,
            "inhibit_fraction": 0.7},
        down={"images_per_trigger": 2, "volume_ml": 0.5, "volume_ratio": 0.5},
    ),
    # All of them larger, as where one large species is most of what comes.
    Signature(
        "community",
        up={"width_median_px": 1.5, "height_median_px": 1.5, "area_median_px2": 1.5, "area_p10_px2": 1,
            "width_p95_px": 0.7, "peak_median_v": 0.5, "trigger_rate_hz": 0.5},
    ),
    Signature("moved", either={"core_x_px": 2, "core_asymmetry": 0.5}),
    Signature("config_change", either={"core_x_px": 2, "core_asymmetry": 0.5, "width_median_px": 0.5}),
)  # fmt: skip


def likeness(
    rarities: NDArray[np.float32],
    counted: NDArray[np.float32],
    z: NDArray[np.float32],
    metadata: Sequence[FeatureMetadata],
) -> NDArray[np.float32]:
    """How well each signature fits each row, 0 to 1, shape (n, signatures): the cosine between the two.

    ``rarities``: -log10 of tail probabilities, ``counted``: how much each counts, 0 to 1; ``z``: the deviations, whose
    sign is the way; all of shape (n, d).
    """
    seen = np.minimum(rarities, _PLAIN) * counted
    ways = np.concatenate((np.where(z < 0, seen, 0.0), np.where(z > 0, seen, 0.0)), axis=1)
    length = np.linalg.norm(ways, axis=1, keepdims=True)
    table = _signature_table(metadata)
    return (ways @ table.T / np.maximum(length, 1e-9)).astype(np.float32)


def suspected(alike: NDArray[np.float32], possible: Mapping[str, NDArray[np.bool_]]) -> list[list[str]]:
    """The causes that fit each row, best first; ``unknown`` where none does.

    ``possible``: causes that only some rows can have, and which (n,).
    """
    codes = list(dict.fromkeys(signature.cause for signature in SIGNATURES))
    best = np.stack(
        [alike[:, [i for i, s in enumerate(SIGNATURES) if s.cause == code]].max(axis=1) for code in codes], axis=1
    )
    for code, where in possible.items():
        best[~where, codes.index(code)] = 0.0
    order = np.argsort(-best, axis=1, kind="stable")[:, :3]
    fitting = (np.take_along_axis(best, order, axis=1) >= _ALIKE).sum(axis=1)
    return [
        [codes[number] for number in numbers[:n]] or ["unknown"]
        for numbers, n in zip(order.tolist(), fitting.tolist(), strict=True)
    ]


def _signature_table(metadata: Sequence[FeatureMetadata]) -> NDArray[np.float64]:
    """The signatures as unit vectors over the ways down and then up of d features, shape (signatures, 2 d)."""
    d = len(metadata)
    place = {feature.name: column for column, feature in enumerate(metadata)}
    table = np.zeros((len(SIGNATURES), 2 * d))
    for row, signature in enumerate(SIGNATURES):
        for weights, offsets in ((signature.down, (0,)), (signature.up, (d,)), (signature.either, (0, d))):
            for name, weight in weights.items():
                for offset in offsets if name in place else ():
                    table[row, place[name] + offset] = weight
    # What goes either way goes one way in any bin: it counts once in the length.
    length = np.sqrt(np.maximum(table[:, :d], table[:, d:]) ** 2 @ np.ones(d))
    return table / np.maximum(length, 1e-9)[:, None]

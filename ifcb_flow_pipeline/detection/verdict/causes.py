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

#: How much a feature says of a cause: it is the key to it, the sign by which operators know it, or says most, much,
#: some or a bit of it. Nine grades named the same causes: of 1566 bins in question, simulated and real, four had
#: another first cause, and none changed between a fault and none. With three grades one in twelve does.
KEY, MOST, MUCH, SOME, BIT = 2.0, 1.5, 1.0, 0.7, 0.4


@dataclass(frozen=True, slots=True)
class Signature:
    """What one cause does: features that go ``up``, ``down``, or ``either`` way, with how much that says of it.

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
    Cause("focus", "images larger than usual", "Are they blurred? Refocus with beads"),
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
    Cause("defocus", "out of focus", "Look at the images; refocus with beads"),
    Cause("motion_blur", "motion blur", "Check flow speed, and length and timing of the flash"),
    Cause("bubbles", "bubbles in the images", "Debubble; check intake, tubing and syringe"),
    Cause("dim_flash", "flash too dim", "Check flash lamp, its voltage and trigger delay"),
    Cause("bright_flash", "flash too bright", "Check flash voltage and camera gain"),
    Cause("uneven_light", "uneven light", "Check flash alignment and the light path"),
    Cause("dirty_window", "dirt on the window", "Look at the window map; clean flow cell and objective"),
    Cause("camera_link", "camera link disturbed", "Check camera cable, frame grabber and their driver"),
    Cause("noise", "noisy images", "Check camera gain, cooling and cable"),
    Cause("cut_boxes", "particles cut off", "Check the size of image boxes and the place of the core"),
    Cause("empty_boxes", "empty images", "Check trigger thresholds and flash delay"),
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
        up={"stray_fraction": KEY, "stray_spread": MOST, "stray_left_fraction": MUCH, "stray_right_fraction": MUCH,
            "edge_touch_fraction": MUCH, "out_of_frame_fraction": BIT, "width_p95_px": MUCH, "large_fraction": MUCH,
            "size_spread": MUCH, "bubble_fraction": MOST, "core_width_px": SOME, "no_image_fraction": SOME,
            "cross_range_px": SOME,
            "full_width_fraction": -MOST},
        down={"images_per_trigger": BIT, "cross_low_px": BIT},
    ),
    Signature(
        "clog",
        up={"time_uniformity": KEY, "longest_gap_fraction": MUCH},
        down={"trigger_rate_hz": BIT},
        either={"rate_change": KEY},
    ),
    Signature(
        "stain",
        up={"repeat_fraction": KEY, "repeat_anchor_fraction": KEY, "hot_cell_fraction": KEY, "stuck_persistence": KEY,
            "multi_image_fraction": MOST, "images_per_trigger": MOST, "stray_fraction": SOME,
            "stray_left_fraction": BIT, "stray_right_fraction": BIT},
        down={"no_image_fraction": BIT, "stray_spread": BIT},
    ),
    Signature(
        "laser",
        up={"no_image_fraction": MUCH, "cross_low_px": MUCH, "peak_floor_fraction": SOME},
        down={"trigger_rate_hz": MUCH, "n_triggers": MUCH, "images_per_trigger": MUCH, "peak_median_v": MOST,
              "cross_range_px": MOST, "cross_high_px": MUCH, "inhibit_fraction": BIT},
        either={"peak_y_slope": MUCH},
    ),
    Signature(
        "focus",
        up={"width_median_px": MOST, "height_median_px": MOST, "area_median_px2": MOST, "area_p10_px2": MOST,
            "no_image_fraction": SOME, "width_p95_px": BIT},
        down={"images_per_trigger": SOME},
    ),
    Signature(
        "sheath_flow",
        up={"core_width_px": KEY, "stray_fraction": MUCH, "stray_left_fraction": SOME, "stray_right_fraction": SOME,
            "cross_high_px": SOME, "cross_range_px": SOME, "size_spread": BIT, "flight_spread": BIT,
            "full_width_fraction": -MOST},
        down={"cross_low_px": SOME},
        either={"core_asymmetry": BIT},
    ),
    Signature(
        "sheath_flow",
        either={"core_x_px": KEY, "flight_time_us": MOST, "drift_x_px": SOME},
    ),
    Signature("alignment", up={"core_width_px": BIT}, either={"core_tilt": KEY, "core_bend_px": SOME}),
    Signature(
        "electronics",
        up={"no_image_fraction": MOST, "trigger_rate_hz": MUCH, "n_triggers": MUCH, "peak_floor_fraction": KEY,
            "inhibit_fraction": SOME, "no_image_burst": SOME, "blind_fraction": KEY,
            "longest_blind_s": MUCH},
        down={"images_per_trigger": MOST, "peak_median_v": BIT, "volume_ml": BIT, "volume_ratio": BIT,
              "trigger_rate_hz": -MUCH, "n_triggers": -MUCH},
    ),
    Signature(
        "electronics",
        up={"edge_touch_fraction": KEY, "full_width_fraction": KEY, "out_of_frame_fraction": MUCH,
            "stray_fraction": SOME, "large_fraction": SOME, "stray_left_fraction": BIT, "stray_right_fraction": BIT,
            "width_p95_px": SOME, "size_spread": SOME, "core_width_px": BIT},
        down={"lattice_fraction": BIT},
    ),
    Signature(
        "electronics",
        up={"trigger_gap_fraction": MUCH, "time_backward_fraction": SOME},
        either={"dead_time_s": KEY},
    ),
    Signature(
        "incomplete_run",
        down={"run_time_s": KEY, "run_time_ratio": KEY, "volume_ml": MUCH, "volume_ratio": MUCH, "n_triggers": BIT},
    ),
    Signature(
        "empty",
        up={"no_image_fraction": SOME},
        down={"n_triggers": KEY, "trigger_rate_hz": KEY, "inhibit_fraction": MUCH},
    ),
    Signature("volume", down={"trigger_rate_hz": BIT}, either={"run_time_ratio": KEY, "volume_ratio": KEY}),
    Signature("leak", up={"humidity_pct": KEY, "humidity_rise_pct": KEY, "temperature_c": BIT}),
    Signature("overheating", up={"temperature_c": KEY, "temperature_rise_c": KEY}),
    Signature(
        "beads", up={"repeat_fraction": BIT}, down={"size_spread": KEY, "width_p95_px": SOME, "large_fraction": BIT}
    ),
    Signature(
        "corrupt",
        up={"bad_line_fraction": KEY, "header_adc_mismatch": KEY, "time_still_fraction": MOST,
            "start_byte_gap_fraction": MOST, "time_backward_fraction": MOST, "trigger_gap_fraction": MUCH},
        down={"lattice_fraction": MOST},
        either={"image_count_mismatch": KEY, "run_time_mismatch": MOST},
    ),
    Signature(
        "bloom",
        up={"trigger_rate_hz": KEY, "n_triggers": KEY, "inhibit_fraction": MOST, "multi_image_fraction": BIT,
            "width_median_px": BIT, "width_p95_px": BIT, "area_median_px2": BIT, "large_fraction": BIT},
        down={"volume_ml": MOST, "volume_ratio": MOST},
    ),
    # Detritus: large, shapeless, of all sizes, but where the sheath puts it.
    Signature(
        "bloom",
        up={"size_spread": KEY, "large_fraction": MUCH, "width_p95_px": MUCH, "trigger_rate_hz": SOME,
            "n_triggers": SOME, "no_image_fraction": SOME, "stray_fraction": -SOME, "edge_touch_fraction": -SOME,
            "core_width_px": -SOME, "peak_floor_fraction": -SOME},
        down={"images_per_trigger": SOME, "peak_median_v": -BIT},
    ),
    Signature(
        "post_clean",
        up={"trigger_rate_hz": MUCH, "n_triggers": MUCH, "no_image_fraction": KEY, "peak_floor_fraction": MOST,
            "inhibit_fraction": SOME},
        down={"images_per_trigger": KEY, "volume_ml": BIT, "volume_ratio": BIT},
    ),
    # All of them larger, as where one large species is most of what comes.
    Signature(
        "community",
        up={"width_median_px": MOST, "height_median_px": MOST, "area_median_px2": MOST, "area_p10_px2": MUCH,
            "width_p95_px": SOME, "peak_median_v": BIT, "trigger_rate_hz": BIT},
    ),
    Signature("moved", either={"core_x_px": KEY, "core_asymmetry": BIT}),
    Signature("config_change", either={"core_x_px": KEY, "core_asymmetry": BIT, "width_median_px": BIT}),
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

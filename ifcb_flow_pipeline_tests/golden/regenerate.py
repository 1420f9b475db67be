"""Makes the golden numbers again: ``python -m ifcb_flow_pipeline_tests.golden.regenerate [--bins]``.

Without ``--bins``, ``features.csv`` is computed anew from the stored .adc files, by the tests' own reader
and oracle, never by the package. With it, the .adc files themselves are drawn anew with the simulator,
which changes what all later runs are compared with: do it only to add a kind of bin.
"""

import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ifcb_flow_pipeline_tests.bins.reference import read_reference
from ifcb_flow_pipeline_tests.features.oracle import oracle_features

FOLDER = Path(__file__).parent
BINS = FOLDER / "bins"
FEATURES = FOLDER / "features.csv"
MIN_POINTS = 30

#: Identifier, fault (None: healthy) and mean number of triggers of each bin to draw.
DRAWN = (
    ("D20240601T000000_IFCB134", None, 300),
    ("D20240601T120000_IFCB134", "air", 250),
    ("D20240601T123000_IFCB134", "focus_loss", 250),
    ("D20240601T130000_IFCB124", "stuck_roi", 250),
    ("D20240601T133000_IFCB124", "camera_tilt", 250),
    ("D20240601T140000_IFCB124", "clog", 250),
    ("D20240601T143000_IFCB134", "laser_misalignment", 300),
    ("D20240601T150000_IFCB134", "edge_clipping", 250),
    ("D20240601T153000_IFCB134", "corrupt_adc", 250),
    ("D20240601T160000_IFCB134", "truncated_adc", 200),
    ("D20240601T163000_IFCB134", "bead_run", 200),
    ("IFCB1_2010_100_075913", None, 250),
    ("IFCB1_2010_100_082013", "air", 200),
)
#: How many lines of the first of DRAWN make these: none, and too few for features.
SHORT = {"D20240601T170000_IFCB134": 0, "D20240601T173000_IFCB134": 20}


def read_bin(path: Path) -> tuple[str, str, bytes]:
    """The identifier, the schema and the bytes of a stored .adc file."""
    pid = path.name.removesuffix(".adc.gz")
    return pid, "v1" if pid.startswith("I") else "v2", gzip.decompress(path.read_bytes())


def golden_rows() -> Iterator[dict[str, object]]:
    """The rows of ``features.csv``: counts and features of every bin, with images alone and all triggers."""
    for path in sorted(BINS.glob("*.adc.gz")):
        pid, schema, data = read_bin(path)
        adc = read_reference(data, schema)
        x, y = adc.column("x_px"), adc.column("y_px")
        image = (adc.column("width_px") > 0) & (adc.column("height_px") > 0)
        for triggers, points in (("images", image), ("all", np.ones(len(x), dtype=bool))):
            n_points = int(points.sum())
            row: dict[str, object] = {
                "pid": pid,
                "triggers": triggers,
                "n_rows": len(x),
                "n_images": int(image.sum()),
                "n_points": n_points,
                "bad_lines": len(adc.bad_numbers),
            }
            if n_points >= MIN_POINTS:
                values = oracle_features(x[points], y[points], len(x), int(image.sum()))
                row |= {name: repr(float(value)) for name, value in values.items()}
            yield row


def write_features() -> None:
    rows = list(golden_rows())
    with FEATURES.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=max(rows, key=len), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def draw_bins() -> None:
    from ifcb_flow_pipeline.simulate import files_of, simulate_bin

    contents = {
        pid: files_of(simulate_bin(pid, fault=fault, severity=0.8, mean_triggers=n, seed=0)).adc
        for pid, fault, n in DRAWN
    }
    lines = contents[DRAWN[0][0]].splitlines(keepends=True)
    contents |= {pid: b"".join(lines[:n]) for pid, n in SHORT.items()}
    BINS.mkdir(exist_ok=True)
    for pid, data in contents.items():
        (BINS / f"{pid}.adc.gz").write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    if "--bins" in sys.argv[1:]:
        draw_bins()
    write_features()

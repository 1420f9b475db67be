"""Stored bins must go on giving the stored numbers (see ``regenerate.py``)."""

import csv
import math
from collections import Counter

import pytest

from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings, extract_features
from ifcb_flow_pipeline_tests.features.comparing import assert_same_features

from .regenerate import BINS, DRAWN, FEATURES, FOLDER, SHORT, golden_rows, read_bin

with FEATURES.open(newline="") as _file:
    ROWS = list(csv.DictReader(_file))
COUNTS = ("n_rows", "n_images", "n_points", "bad_lines")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['pid']}-{row['triggers']}")
def test_a_stored_bin_gives_the_stored_features(row):
    _, schema, data = read_bin(BINS / f"{row['pid']}.adc.gz")
    adc = parse_adc(data, schema)
    features = extract_features(adc.columns, FeatureSettings(row["triggers"]))
    counts = (features.n_rows, features.n_images, features.n_points, adc.bad_lines)
    assert counts == tuple(int(row[name]) for name in COUNTS)
    if features.status == "ok":
        stored = {name: float(row[name]) for name in FEATURE_NAMES}
        assert_same_features(dict(zip(FEATURE_NAMES, features.values.tolist(), strict=True)), stored)
    else:
        assert features.status == ("empty" if features.n_rows == 0 else "too_few_points")
        assert [row[name] for name in FEATURE_NAMES] == [""] * len(FEATURE_NAMES)
        assert all(math.isnan(value) for value in features.values)


def test_the_oracle_still_gives_the_stored_numbers():
    for row, stored in zip(golden_rows(), ROWS, strict=True):
        values = {name: float(row[name]) for name in FEATURE_NAMES if name in row}
        assert {name: str(row[name]) for name in ("pid", "triggers", *COUNTS)} == {
            name: stored[name] for name in ("pid", "triggers", *COUNTS)
        }
        if values:
            assert_same_features(values, {name: float(stored[name]) for name in FEATURE_NAMES})


def test_every_stored_bin_has_its_two_rows_and_the_script_knows_it():
    stored = {read_bin(path)[0] for path in BINS.glob("*.adc.gz")}
    assert stored == {pid for pid, *_ in DRAWN} | set(SHORT)
    assert Counter(row["pid"] for row in ROWS) == dict.fromkeys(stored, 2)


def test_the_stored_bins_are_of_all_kinds():
    rows = {(row["pid"], row["triggers"]): {name: int(row[name]) for name in COUNTS} for row in ROWS}
    assert sum(pid.startswith("I") for pid, _ in rows) >= 4, "both schemas"
    assert any(counts["n_rows"] == 0 for counts in rows.values()), "an empty bin"
    assert any(counts["n_rows"] == 20 for counts in rows.values()), "a bin of few triggers"
    assert any(counts["bad_lines"] > 20 for counts in rows.values()), "a garbled bin"
    assert any(counts["bad_lines"] == 1 for counts in rows.values()), "a cut bin"
    assert any(counts["n_images"] < 30 <= rows[pid, "all"]["n_points"] for (pid, _), counts in rows.items()), (
        "a bin with few images among its triggers"
    )


def test_the_folder_stays_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 600_000

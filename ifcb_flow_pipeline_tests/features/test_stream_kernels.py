"""Compiled kernels of whole bins: held equal to the functions of the catalogue, whatever a file states."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from ifcb_flow_pipeline.features import catalogue, full, stream_kernels
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY
from ifcb_flow_pipeline.features.full import STUCK_COLUMNS, full_features

from .streams import COMPUTED, rows_of, simulated, stream_of, streams, with_columns


def assert_same(actual, expected, tolerance=1e-9):
    assert actual.keys() == expected.keys() == set(COMPUTED)
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True), name


def by_catalogue(stream):
    """The same stream in types that the kernels do not take."""
    wide = {name: values.astype(np.float64) for name, values in stream.columns.items()}
    return full_features(type(stream)(wide, stream.schema, stream.header, stream.frame_px, stream.bad_lines))


@settings(max_examples=150)
@given(streams())
def test_of_any_bin_the_kernels_give_what_the_catalogue_does(stream):
    assert_same(full_features(stream), by_catalogue(stream))


@pytest.mark.parametrize("instrument", ["IFCB134", "IFCB1"])
@pytest.mark.parametrize("fault", [None, "air", "stuck_roi", "edge_clipping", "clog", "noise_trigger", "focus_loss"])
def test_of_simulated_bins_the_kernels_give_what_the_catalogue_does(fault, instrument):
    stream = simulated(700, fault, instrument=instrument)
    assert_same(full_features(stream), by_catalogue(stream))


@pytest.mark.parametrize("n", [0, 1, 2, 29, 30, 31, 63])
def test_of_few_rows_the_kernels_give_what_the_catalogue_does(n):
    stream = rows_of(simulated(200), slice(0, n))
    assert_same(full_features(stream), by_catalogue(stream))


def test_of_a_million_repetitions_of_one_box_nothing_overflows():
    rng = np.random.default_rng(1)
    n = 100_000
    stream = stream_of(x_px=rng.integers(-(2**15), 2**15, n), y_px=rng.integers(-(2**15), 2**15, n))
    stream = with_columns(stream, width_px=np.full(n, 2**15 - 1), height_px=np.full(n, 2**15 - 1))
    assert_same(full_features(stream), by_catalogue(stream))


def test_columns_that_are_read_only_or_not_in_one_piece_go_through_the_kernels_without_another_compilation():
    stream = simulated(300)
    expected = full_features(stream)
    compiled = len(stream_kernels.image_features.signatures), len(stream_kernels.trigger_features.signatures)
    for name, values in stream.columns.items():
        frozen = values.copy()
        frozen.setflags(write=False)
        strided = np.repeat(values, 2)[::2]
        for column in (frozen, strided):
            other = type(stream)(
                {**stream.columns, name: column}, stream.schema, stream.header, stream.frame_px, stream.bad_lines
            )
            assert_same(full_features(other), expected, tolerance=0)
    assert (len(stream_kernels.image_features.signatures), len(stream_kernels.trigger_features.signatures)) == compiled


def test_what_files_are_read_as_goes_through_the_kernels(monkeypatch):
    seen = []
    monkeypatch.setattr(full, "_by_catalogue", seen.append)
    full_features(simulated(100))
    assert not seen


# What has no kernel


@pytest.fixture
def new_feature(monkeypatch):
    """A feature that is one entry in the catalogue and one function."""
    new = replace(FULL_ONLY[0], name="widest_px", function=lambda stream: stream.width_px.max(), kernel="none")
    monkeypatch.setattr(catalogue, "FULL_ONLY", (new, *FULL_ONLY))
    importlib.reload(full)
    yield new
    monkeypatch.undo()
    importlib.reload(full)


def test_a_feature_without_a_kernel_is_computed_by_its_function_and_the_others_by_theirs(monkeypatch, new_feature):
    stream = simulated(300)
    by_functions, seen = by_catalogue(stream), []
    monkeypatch.setattr(full, "_by_catalogue", seen.append)
    values = full_features(stream)
    assert not seen
    assert values.keys() == by_functions.keys() == {new_feature.name, *COMPUTED}
    assert values["widest_px"] == stream.width_px.max()
    del values["widest_px"], by_functions["widest_px"]
    assert_same(values, by_functions)


def test_each_kernel_gives_the_features_that_the_catalogue_says_it_does():
    of_kernels = (stream_kernels.TriggerFeatures._fields, stream_kernels.ImageFeatures._fields)
    for kernel, fields in zip(("triggers", "images"), of_kernels, strict=True):
        named = {feature.name for feature in FULL_ONLY if feature.kernel == kernel}
        assert named == set(fields) & set(COMPUTED) - {"n_triggers"} - set(STUCK_COLUMNS)

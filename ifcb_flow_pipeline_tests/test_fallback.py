"""Where kernels cannot be compiled, everything gives what it gave, after one warning."""

import sys

import numpy as np
import pytest

from ifcb_flow_pipeline import fallback
from ifcb_flow_pipeline.bins import scan
from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.features import kernels, stream_kernels
from ifcb_flow_pipeline.features.extract import FeatureSettings, extract_features
from ifcb_flow_pipeline.features.full import full_features
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.simulate import simulate_bin
from ifcb_flow_pipeline.simulate.files import adc_bytes

PID = "D20230810T000000_IFCB134"


@pytest.fixture(autouse=True)
def nothing_has_failed(monkeypatch) -> None:
    monkeypatch.setattr(fallback, "_failed", set())


@pytest.fixture
def broken(monkeypatch) -> None:
    """A compiler that does not fit: kernels fail when they are called, as where numba does not know this NumPy."""

    def fail(*_):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr(scan, "scan_text", fail)
    monkeypatch.setattr(kernels, "points_with_image", fail)
    monkeypatch.setattr(kernels, "cloud_features", fail)
    monkeypatch.setattr(stream_kernels, "run_times", fail)


def features() -> tuple[np.ndarray, dict[str, float]]:
    adc = parse_adc(adc_bytes(simulate_bin(PID, mean_triggers=300)), "v2")
    found = full_features(Stream(adc.columns, "v2"))
    return extract_features(adc.columns, FeatureSettings()).values, found


def test_without_a_compiler_a_bin_has_the_same_features_and_one_warning_says_why(request):
    reference, full = features()
    request.getfixturevalue("broken")
    with pytest.warns(RuntimeWarning, match="compiled kernels do not work here.*row_stack") as told:
        slow_reference, slow_full = features()
    assert len(told) == 1
    assert len(fallback.failed()) == 3
    np.testing.assert_allclose(slow_reference, reference, rtol=1e-9)
    assert slow_full.keys() == full.keys()
    np.testing.assert_allclose([slow_full[name] for name in full], list(full.values()), rtol=1e-7)


def test_what_failed_once_is_not_tried_again():
    calls = []

    def fail(_):
        calls.append(1)
        raise OSError("no such symbol")

    with pytest.warns(RuntimeWarning):
        assert fallback.with_kernels("ifcb_flow_pipeline.bins.scan", fail) is None
    assert fallback.with_kernels("ifcb_flow_pipeline.bins.scan", fail) is None
    assert calls == [1]


def test_too_little_memory_says_nothing_of_the_compiler():
    def fail(_):
        raise MemoryError

    with pytest.raises(MemoryError):
        fallback.with_kernels("ifcb_flow_pipeline.bins.scan", fail)
    assert not fallback.failed()


def test_where_numba_cannot_be_loaded_functions_stay_what_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "ifcb_flow_pipeline.compiled", None)
    fallback._compiler.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="compiled kernels do not work here"):
            assert fallback.kernel(features) is features
        assert fallback.part(features) is features
    finally:
        fallback._compiler.cache_clear()

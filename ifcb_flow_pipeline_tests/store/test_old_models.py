"""Pickled models are converted in a process that may do nothing but compute."""

import pickle
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store import old_models
from ifcb_flow_pipeline.store.old_models import convert_apart

CREATED = datetime(2023, 8, 10, tzinfo=UTC)


def convert(path: Path):
    return convert_apart(path, FeatureSettings("all"), CREATED, {"numpy": "1"})


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "classifier.pkl"
    path.write_bytes(content)
    return path


def test_the_model_comes_back_from_the_other_process(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 26))
    forest = IsolationForest(n_estimators=5, contamination=0.1, random_state=1).fit(rows)
    model = convert(written(tmp_path, pickle.dumps(forest)))
    np.testing.assert_allclose(model.score(rows).anomaly_score, forest.score_samples(rows), rtol=0, atol=1e-12)
    assert model.card.created == "2023-08-10T00:00:00+00:00"
    assert model.card.feature_settings == FeatureSettings("all")


def test_what_is_wrong_with_a_pickle_comes_back_as_well(tmp_path):
    with pytest.raises(ModelError, match="holds a dict, not a fitted IsolationForest"):
        convert(written(tmp_path, pickle.dumps({"a": 1})))


MEMORY_BOMBS = {
    "bytes": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
    "memo": b"\x80\x04Nr\xff\xff\xff\xff.",
    "doubling": b"\x80\x04]" + b"(" + b"2" * 40 + b"l.",
    "nesting": b"\x80\x04" + b"]" * 2_000_000 + b"a" * 1_999_999 + b".",
}


@pytest.mark.parametrize("name", MEMORY_BOMBS)
def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path, name):
    with pytest.raises(ModelError):
        convert(written(tmp_path, MEMORY_BOMBS[name]))


def test_a_file_that_is_too_large_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(old_models, "LARGEST_PICKLE", 10)
    with pytest.raises(ModelError, match="more than any"):
        convert(written(tmp_path, bytes(11)))


def test_a_process_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(old_models, "_SECONDS", 0.001)
    with pytest.raises(ModelError, match="takes too long"):
        convert(written(tmp_path, b"N."))


ATTEMPTS = {
    "read a file": "open('/etc/passwd')",
    "write a file": "open('written', 'w')",
    "open a socket": "__import__('socket').socket()",
    "start a program": "os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {}) and os.waitpid(-1, 0)[1] and 1 / 0",
    "take memory": "bytearray(3 * 2**30)",
    "have rights back": "os.setuid(0) if os.getuid() else __import__('resource').setrlimit(7, (9, 9))",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_process_has_no_rights_left(tmp_path, attempt):
    code = "import os, sys; from ifcb_flow_pipeline.store.old_models import _without_rights; _without_rights(); "
    code += ATTEMPTS[attempt]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Error" in done.stderr
    assert not list(tmp_path.iterdir())

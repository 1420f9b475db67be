"""Compiling all kernels ahead of time, so that no command has to wait for it.

Done by using them: a few small bins go through everything that calls a kernel, and are thrown away.
"""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ifcb_flow_pipeline import compiled
from ifcb_flow_pipeline.api import Work, archive_features, train_on
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.bins.roi import RoiTable
from ifcb_flow_pipeline.days import inventory_row, score_table
from ifcb_flow_pipeline.detection.images.explanations import explain
from ifcb_flow_pipeline.detection.images.window_map import WindowMap
from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.detection.open_model import ForestChoice
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.fallback import failed
from ifcb_flow_pipeline.feature_rows import feature_row
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.images.extract import features_of_bin, features_of_images
from ifcb_flow_pipeline.many_bins import entry_and_columns
from ifcb_flow_pipeline.reading import read_bin
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_files import ready_model

#: Small bins, as many as a model of an instrument needs at least.
_BINS, _TRIGGERS, _INSTRUMENT = 40, 120, "IFCB134"


def all_kernels() -> dict[str, tuple[Any, ...]]:
    """The kernels that have been loaded, by module and function, and the forms in which they have been called."""
    return {f"{each.py_func.__module__}.{each.py_func.__name__}": tuple(each.signatures) for each in compiled.KERNELS}


def warm() -> int:
    """Compile all kernels whose machine code is not there yet; returns how many forms of kernels there are now.

    Where they are kept: see ``compiled``. Raises FlowError where they cannot be compiled, OSError where no temporary
    files can be written.
    """
    settings = FeatureSettings()
    with tempfile.TemporaryDirectory() as folder:
        start = datetime(2023, 8, 10, tzinfo=UTC)
        for i in range(_BINS):
            pid = format_pid(_INSTRUMENT, start + timedelta(hours=i))
            write_bin(simulate_bin(pid, mean_triggers=_TRIGGERS), Path(folder))
        archive = Archive(Path(folder), settle=timedelta())
        features = archive_features(archive, None, settings, Work(n_jobs=1))
        reference = archive_features(archive, None, settings, Work(n_jobs=1), "reference")
        raw = archive.scan().bins[0]
        one = read_bin(archive, inventory_row(raw, archive, archive.now()))
    feature_row(*entry_and_columns(one), settings)
    _warm_images()
    half = features.num_rows // 2
    score_table(features.slice(half), train_on(features, settings), features.slice(0, half))
    forest = ForestChoice("forest", FEATURE_NAMES, ForestSettings())
    score_table(reference, train_on(reference, settings, forest=forest))
    if failed():
        raise FlowError(f"these kernels cannot be compiled here: {', '.join(failed())}")
    return sum(map(len, all_kernels().values()))


def _warm_images() -> None:
    # From memory that may be written to, and from a file, which may not: to numba, these are two types.
    image = np.zeros((8, 8), np.uint8)
    features_of_images([image])
    table = RoiTable(np.zeros(1, np.int64), np.array([8]), np.array([8]), 0)
    found = features_of_bin(image.tobytes(), table)
    model = ready_model()
    model.judge(found.values)
    explain(model, found.values, model.recogniser.kinds_[-1])
    corner = np.zeros(1, np.int64)
    WindowMap.of_bin(image.tobytes(), table, corner, corner, found)


def place() -> str:
    """Where the machine code is kept, for people."""
    chosen = os.environ.get(compiled.CACHE_SETTING)
    return f"in {chosen}" if chosen else "beside the code, or in the user's cache folder"

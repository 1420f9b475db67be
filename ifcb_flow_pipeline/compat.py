"""What scripts import from ifcb-flow-metric, of its versions up to 1.1.0, under one name.

Its classes are those of ``api``; the rest are the constants and functions that its ``train.py`` and ``score.py`` call.
What is different here: models are files of arrays instead of pickles, and the contamination is 0.02 unless given.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ifcb_flow_pipeline.api import (
    DEFAULT_CHUNK_SIZE,
    DEFAULT_MODEL,
    FeatureExtractor,
    Inferencer,
    ModelTrainer,
    Pair,
    adc_paths,
)
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.features.catalogue import REFERENCE
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO
from ifcb_flow_pipeline.features.measures import EDGE_TOLERANCE_PX
from ifcb_flow_pipeline.features.selection import SelectionError
from ifcb_flow_pipeline.store.archive import Archive

__all__ = [
    "CHUNK_SIZE", "CONTAMINATION", "EDGE_TOLERANCE", "IFCB_ASPECT_RATIO", "MODEL", "N_JOBS", "SCORES_OUTPUT",
    "FeatureExtractor", "Inferencer", "ModelTrainer",
    "get_default_feature_config", "get_enabled_features", "get_pid_pairs", "get_points", "list_adc_paths",
    "load_feature_config", "summarize_failures",
]  # fmt: skip

IFCB_ASPECT_RATIO = DEFAULT_ASPECT_RATIO
EDGE_TOLERANCE = EDGE_TOLERANCE_PX
CONTAMINATION = ForestSettings().contamination
CHUNK_SIZE = DEFAULT_CHUNK_SIZE
N_JOBS = -1
MODEL = DEFAULT_MODEL
SCORES_OUTPUT = "scores.csv"


def get_default_feature_config() -> dict[str, dict[str, bool]]:
    """All features of the reference set, by family, each true."""
    families = groupby(REFERENCE, key=attrgetter("family"))
    return {family: {feature.name: True for feature in features} for family, features in families}


def load_feature_config(config_path: str | Path) -> dict[str, Any]:
    """A selection of features from a YAML file. Raises SelectionError where it is none, OSError without such a file."""
    try:
        config = yaml.safe_load(Path(config_path).read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise SelectionError(f"{config_path} is no valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise SelectionError(f"{config_path} must hold families with lines of 'feature: true' or 'feature: false'")
    return config


def get_enabled_features(config: Mapping[str, Any]) -> dict[str, bool]:
    """A selection without its families: feature -> true or false."""
    return {
        name: wanted for family in config.values() if isinstance(family, Mapping) for name, wanted in family.items()
    }


def list_adc_paths(directory: str | Path) -> dict[str, str]:
    """The path of the .adc file of each bin that has one, by identifier, in order of time.

    Raises ArchiveError where the directory cannot be listed.
    """
    return {pid: str(path) for pid, path in adc_paths(directory, None) if path is not None}


def get_pid_pairs(data_dir: str | Path, id_file: str | Path | None = None) -> list[Pair]:
    """Identifiers with the paths of their .adc files: of all bins that have one, or of those in a file, one a line
    (None where there is no such bin). Raises ArchiveError where the directory cannot be listed.
    """
    if id_file is None:
        return list(list_adc_paths(data_dir).items())
    lines = Path(id_file).read_text(encoding="utf-8-sig").splitlines()
    return adc_paths(data_dir, [line.strip() for line in lines if line.strip()])


def get_points(pid: str, where: str | Path | None = ".") -> dict[str, Any]:
    """The positions of a bin's images: ``pid``, ``points`` (shape (n, 2), px; None without), ``t`` (shape (n,), s),
    ``n_total`` (ADC lines), ``error`` (why there are none, else None).

    ``where``: the bin's .adc file, or the directory of the archive.
    """
    result = {"pid": pid, "points": None, "t": None, "n_total": 0}
    try:
        parse_pid(pid)
    except InvalidPidError as error:
        return result | {"error": str(error)}
    path = Path(where) if where is not None else None
    if path is not None and path.is_dir():
        ((_, found),) = adc_paths(path, [pid])
        path = Path(found) if found is not None else None
    if path is None:
        return result | {"error": f"no .adc file found for {pid}"}
    read = Archive(path.parent).read_bin(pid, path.name, None)
    if read.status == "unreadable":
        return result | {"error": read.reason}
    columns, imaged = read.adc.columns, read.adc.has_image
    points = np.column_stack([columns[name][imaged] for name in ("x_px", "y_px")]).astype(float)
    return result | {"points": points, "t": columns["t_s"][imaged], "n_total": len(imaged), "error": None}


def summarize_failures(feature_results: Sequence[Mapping[str, Any]], verbose_limit: int = 20, limit: int = 10) -> None:
    """Print which bins have no features, and why: one a line, or by reason where there are more than verbose_limit."""
    failed = [row for row in feature_results if row["features"] is None]
    if not failed:
        return
    print(f"\n{len(failed)} bins have no features:")  # noqa: T201 - what it is for
    counted = Counter(row["error"] for row in failed).most_common(limit)
    for line in (
        (f"{n:5d} x {reason}" for reason, n in counted)
        if len(failed) > verbose_limit
        else (f"{row['pid']}: {row['error']}" for row in failed)
    ):
        print(f"  {line}")  # noqa: T201

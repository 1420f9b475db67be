"""Features of archives, kept as long as neither the archive nor the code that makes features changes."""

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ifcb_flow_pipeline
from benchmarks.metrics import Truths
from benchmarks.schedule import ASIDE, FAULT, Fleet, Slot, Truth

#: What features depend on, of the package; detection is no part of it.
_MAKERS = ("bins", "features", "store/tables.py", "store/archive.py", "api.py", "days.py")


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Rows of ``bin_features`` and truths of the same bins, in the same order."""

    features: pa.Table
    truths: Truths

    def and_of(self, other: "Measured") -> "Measured":
        """Both archives as one."""
        joined = (
            np.concatenate([getattr(self.truths, name), getattr(other.truths, name)]) for name in Truths.__slots__
        )
        return Measured(pa.concat_tables([self.features, other.features]), Truths(*joined))


def measured(fleet: Fleet) -> Measured:
    """A fleet's features, from where they are kept if they are."""
    pids = [truth.pid for truth in fleet.truths]
    return Measured(_features(fleet.root, pids, fleet.root.parent), Truths.of(fleet.truths))


def samples(folder: Path) -> Measured | None:
    """Public bins with an .adc that is not empty; ten were filed under bubbles. None where they are not there."""
    found = sorted({path.stem for path in folder.rglob("*.adc") if path.stat().st_size and "odd" not in path.parts})
    if not found:
        return None
    truths = []
    for pid in found:
        instrument = pid.split("_")[0] if pid.startswith("IFCB") else pid.split("_")[1]
        is_bubbly = instrument == "IFCB160"
        truths.append(Truth(pid, instrument, Slot("bubbles", 0.1, FAULT) if is_bubbly else Slot("sample", 0.0, ASIDE)))
    digest = hashlib.sha256(repr((str(folder.resolve()), found)).encode()).hexdigest()[:12]
    kept_in = Path(tempfile.gettempdir()) / "ifcb-flow-fleets" / f"samples-{digest}"
    kept_in.mkdir(parents=True, exist_ok=True)
    return Measured(_features(folder, found, kept_in), Truths.of(truths))


def _features(root: Path, pids: list[str], kept_in: Path) -> pa.Table:
    path = kept_in / f"features-{_version()}.parquet"
    if path.exists():
        return pq.read_table(path)
    from ifcb_flow_pipeline.api import Work, archive_features
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.store.archive import Archive

    table = archive_features(Archive(root, settle=timedelta()), pids, FeatureSettings(), Work(n_jobs=1))
    part = path.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(path)
    return table


def _version() -> str:
    package = Path(ifcb_flow_pipeline.__file__).parent
    digest = hashlib.sha256()
    for name in _MAKERS:
        place = package / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if path.exists():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]

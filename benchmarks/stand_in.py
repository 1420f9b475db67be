"""What the replaced tool does, where it cannot be had: its libraries, one bin at a time, a pickled forest.

``python -m benchmarks.stand_in train FOLDER MODEL`` and ``score FOLDER MODEL OUTPUT [PID]``. Its own reader is slower
than pandas, which is used here.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.ensemble import IsolationForest

from benchmarks.baseline import features


def main(how: str, folder: Path, model: Path, output: str = "", pid: str = "") -> None:
    """Train on all bins of a folder, or score them, or one of them, looked for as the replaced tool does."""
    paths = sorted(folder.rglob("*.adc"))
    if pid:
        paths = [path for path in paths if path.stem == pid]
    rows = pd.DataFrame([features(path) for path in paths], index=[path.stem for path in paths])
    if how == "train":
        grower: Any = IsolationForest
        model.write_bytes(pickle.dumps(grower(contamination=0.02, random_state=42).fit(rows.to_numpy())))
        return
    forest: Any = pickle.loads(model.read_bytes())  # noqa: S301 - written by this very program
    pd.Series(forest.score_samples(rows.to_numpy()), rows.index, name="anomaly_score").sort_values().to_csv(output)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])

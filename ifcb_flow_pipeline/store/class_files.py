"""Files of classifiers, and tables of classes in the forms that the IFCB's other programs read.

``csv``: ``<bin>.csv`` with file_name, class_name, class_name_auto, score (ClassiPyR, iRfcb). ``h5``: ``<bin>_class.h5``
with output_scores, class_labels, roi_numbers (the IFCB dashboard's third form of class scores, and iRfcb's). ``mat``:
``class<year>_v1/<bin>_class_v1.mat`` with class2useTB, TBscores, roinum (the dashboard's first form, pyifcb's
``class_scores``). Images are numbered by their ADC row, counted from 1.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.images.classifier import UNCLASSIFIED, ClassScores, ImageClassifier
from ifcb_flow_pipeline.detection.images.classifier_file import from_bytes, to_bytes
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.store.daily import replacing
from ifcb_flow_pipeline.store.image_files import image_id
from ifcb_flow_pipeline.store.model_files import read_model_file, write_model_file

#: Many times what usual classifiers have.
_LARGEST_FILE = 2**27


def read_classifier(path: Path) -> ImageClassifier:
    """The classifier in a file. Raises ModelError, naming file and remedy."""
    return read_model_file(path, "a classifier", _LARGEST_FILE, from_bytes)


def write_classifier(path: Path, classifier: ImageClassifier) -> None:
    """Write a classifier to a file, replacing what was there in one step."""
    write_model_file(path, to_bytes(classifier))


def write_class_table(folder: Path, form: str, pid: str, rows: list[int], scores: ClassScores, model_id: str) -> Path:
    """Write the classes of a bin's images, whole or not at all, in a form of FORMS; ``rows``: of the ADC file, from 0.

    Images without features are left out. Raises ModelError where a package that the form needs is not installed.
    """
    kept = np.flatnonzero(scores.best != "")
    numbers = np.array([rows[i] + 1 for i in kept.tolist()], np.int64)
    name, write = FORMS[form]
    path = folder / name.format(pid=pid, year=parse_pid(pid).day.year)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "numbers": numbers,
        "probability": scores.probability[kept],
        "best": scores.best[kept],
        "name": scores.name[kept],
    }
    with replacing(path) as temporary:
        write(temporary, pid, content, scores.classes, model_id)
    return path


_Content = Mapping[str, Any]


def _write_csv(path: Path, pid: str, content: _Content, classes: tuple[str, ...], model_id: str) -> None:  # noqa: ARG001
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "class_name", "class_name_auto", "score"])
        for number, row, best, name in zip(
            *(content[key] for key in ("numbers", "probability", "best", "name")), strict=True
        ):
            writer.writerow([f"{image_id(pid, number - 1)}.png", name, best, f"{row.max():.4f}"])


def _write_h5(path: Path, pid: str, content: _Content, classes: tuple[str, ...], model_id: str) -> None:
    try:
        import h5py  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ModelError("h5py is not installed: pip install 'ifcb-flow-pipeline[h5]', or take another form") from error
    with h5py.File(path, "w") as file:
        file.attrs["bin_id"] = pid
        file["output_scores"] = content["probability"]
        file["roi_numbers"] = content["numbers"]
        for name, texts in (
            ("class_labels", classes),
            ("class_name", content["name"]),
            ("class_name_auto", content["best"]),
        ):
            file[name] = [text.encode() for text in texts]
        file["classifier_name"] = model_id.encode()


def _write_mat(path: Path, pid: str, content: _Content, classes: tuple[str, ...], model_id: str) -> None:  # noqa: ARG001
    from scipy.io import savemat

    def texts(values: Any) -> Any:
        return np.array([str(value) for value in values], dtype=object)[:, None]

    with path.open("wb") as file:
        savemat(file, {
            # The last name is that of images without a class, for which there is no score.
            "class2useTB": texts([*classes, UNCLASSIFIED]),
            "TBscores": content["probability"],
            "roinum": content["numbers"][:, None].astype(np.float64),
            "TBclass": texts(content["best"]),
            "TBclass_above_threshold": texts(content["name"]),
            "classifierName": model_id,
        }, do_compression=True)  # fmt: skip


#: Where the file of a bin lies, and what writes it.
FORMS: Final[Mapping[str, tuple[str, Callable[..., None]]]] = {
    "csv": ("{pid}.csv", _write_csv),
    "h5": ("{pid}_class.h5", _write_h5),
    "mat": ("class{year}_v1/{pid}_class_v1.mat", _write_mat),
}

"""Images and image models on disk: the ready model, models in files, and clean images to train one with."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np

from ifcb_flow_pipeline.bins.archive import RawBin
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Image, RoiTable
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.model_file import from_bytes, to_bytes
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.detection.images.training_image import TrainingImage
from ifcb_flow_pipeline.features.images.extract import sampled_rows
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_labels import ImageLabel
from ifcb_flow_pipeline.store.model_files import read_model_file, write_model_file

#: The largest file of an image model, in bytes: many times what usual ones have.
_LARGEST_FILE = 2**26

#: A single image is no larger than the largest of a camera, compressed badly.
_LARGEST_IMAGE = 2**24

_PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")

_PID = re.compile(r"(D\d{8}T\d{6}_IFCB\d+|IFCB\d+_\d{4}_\d{3}_\d{6})")


def ready_model() -> ImageModel:
    """The model that comes with the package."""
    return from_bytes(resources.files("ifcb_flow_pipeline.ready_models").joinpath("images.npz").read_bytes())


def read_image_model(path: Path | None) -> ImageModel:
    """The image model in a file; the ready one where None. Raises ModelError, naming file and remedy."""
    if path is None:
        return ready_model()
    return read_model_file(path, "an image model", _LARGEST_FILE, from_bytes)


def write_image_model(path: Path, model: ImageModel) -> None:
    """Write a model to a file, replacing what was there in one step."""
    write_model_file(path, to_bytes(model))


def read_picture(path: Path) -> Image:
    """The grey values of a picture, uint8, (height, width). Raises OSError where it is none, or too large for one."""
    from PIL import Image as Pillow

    if path.stat().st_size > _LARGEST_IMAGE:
        raise OSError(f"{path} is too large for an image of a particle")
    try:
        with Pillow.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (Pillow.DecompressionBombError, ValueError, SyntaxError) as error:
        raise OSError(f"{path} is no picture: {error}") from error


def training_images(folder: Path, per_bin: int) -> Iterator[TrainingImage]:
    """Clean images to train with: pictures in a folder of classes (a folder for each), or else the .roi files of an
    archive, ``per_bin`` images of each bin (0: all).

    Bin and instrument are read from the names of pictures, ``<bin>_...``; one that names none is a bin of its own.
    """
    pictures = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in _PICTURES)
    return _pictures(pictures) if pictures else archive_images(Archive(folder), per_bin)


def _pictures(paths: list[Path]) -> Iterator[TrainingImage]:
    for path in paths:
        match = _PID.match(path.name)
        pid = match[1] if match else path.stem
        yield TrainingImage(path.stem, read_picture(path), pid, _instrument(pid), path.parent.name)


def archive_images(archive: Archive, per_bin: int, pids: Collection[str] | None = None) -> Iterator[TrainingImage]:
    """Images of the bins of an archive, ``per_bin`` of each (0: all); with ``pids`` of these only."""
    for raw in archive.scan().bins:
        adc, roi = raw.path("adc"), raw.path("roi")
        if adc is None or roi is None or (pids is not None and raw.bin_id.pid not in pids):
            continue
        pid = raw.bin_id.pid
        columns = archive.read_bin(pid, adc, None, ("start_byte", "width_px", "height_px")).adc.columns
        table = RoiTable(*(columns[name] for name in ("start_byte", "width_px", "height_px")),
                         first_byte=FIRST_BYTE[raw.bin_id.schema])  # fmt: skip
        rows = sampled_rows(table, per_bin, pid).tolist()
        for row, image in archive.read_images(roi, table, rows).images.items():
            yield TrainingImage(image_id(pid, row), image, pid, raw.bin_id.instrument)


def labelled_images(
    archive: Archive, labels: Iterable[ImageLabel]
) -> tuple[list[tuple[TrainingImage, str]], list[TrainingImage], int]:
    """The images of an archive that people labelled: those with a fault and which, and those that are clean with the
    class that they were given, if any; and how many of the labels are of images that the archive does not have.
    """
    by_bin: dict[str, dict[int, dict[str, str]]] = {}
    for one in labels:
        by_bin.setdefault(one.pid, {}).setdefault(one.roi, {})[one.kind] = one.label
    faulty, clean, n_missing = [], [], sum(map(len, by_bin.values()))
    for raw in archive.scan().bins if by_bin else ():
        said = by_bin.get(raw.bin_id.pid, {})
        for image, row in _rows_of(archive, raw, [roi - 1 for roi in said]):
            n_missing -= 1
            label = said[row + 1]
            if label.get("fault", CLEAN) != CLEAN:
                faulty.append((image, label["fault"]))
            elif "fault" in label or "class" in label:
                clean.append(replace(image, class_name=label.get("class", "")))
    return faulty, clean, n_missing


def _rows_of(archive: Archive, raw: RawBin, rows: list[int]) -> Iterator[tuple[TrainingImage, int]]:
    """The images of rows of a bin that can be read."""
    adc, roi, pid = raw.path("adc"), raw.path("roi"), raw.bin_id.pid
    if not rows or adc is None or roi is None:
        return
    columns = archive.read_bin(pid, adc, None, ("start_byte", "width_px", "height_px")).adc.columns
    table = RoiTable(*(columns[name] for name in ("start_byte", "width_px", "height_px")),
                     first_byte=FIRST_BYTE[raw.bin_id.schema])  # fmt: skip
    for row, image in archive.read_images(roi, table, [row for row in rows if row < len(table)]).images.items():
        yield TrainingImage(image_id(pid, row), image, pid, raw.bin_id.instrument), row


def image_id(pid: str, row: int) -> str:
    """The name of an image as the IFCB dashboard has it: bin and number of its ADC row, counted from 1."""
    return f"{pid}_{row + 1:05d}"


def _instrument(pid: str) -> str:
    try:
        return parse_pid(pid).instrument
    except InvalidPidError:
        return ""

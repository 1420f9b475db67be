"""Files that somebody hands in: are they the files of one bin, and what is in them. Nothing is written anywhere."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.bins.hdr import HeaderRead, read_hdr
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_name, parse_pid
from ifcb_flow_pipeline.bins.roi import MAX_SIDE_PX, Image
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.archive import BinRead, bin_read

#: The largest file of each kind that is taken, in bytes. A bin's .adc has 1 MB, its .hdr 5 kB, its .roi up to 100 MB.
MAX_BYTES: Mapping[str, int] = {"adc": 50 * 10**6, "hdr": 10**6, "roi": 100 * 10**6}

#: The largest picture of a single image that is taken, in bytes, and the most pictures at a time.
MAX_PICTURE_BYTES, MAX_PICTURES = 16 * 10**6, 24

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

#: How much of a file is looked at to tell text from other content.
_LOOK_BYTES = 4096


class UploadError(FlowError):
    """Files that are not those of one bin; the message names the file and what is expected."""


@dataclass(frozen=True, slots=True)
class UploadedBin:
    """The files of one bin: its name, and the content of each file by extension; ``adc`` is always there."""

    pid: str
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def roi_bytes(self) -> int | None:
        """Size of the .roi file, None where it was not handed in."""
        return len(self.files["roi"]) if "roi" in self.files else None

    def read(self) -> BinRead:
        """The bin as the archive's reader would give it: a damaged file is no error, but told in the reason."""
        schema = parse_pid(self.pid).schema
        header = read_hdr(self.files["hdr"], schema) if "hdr" in self.files else HeaderRead()
        return bin_read(self.pid, parse_adc(self.files["adc"], schema), header)


def uploaded_bin(named: Sequence[tuple[str, bytes]]) -> UploadedBin:
    """The bin to which these files belong, given by name and content.

    Raises UploadError where there is no .adc file among them, where they are of several bins, or where a file cannot
    be what its name says.
    """
    files: dict[str, bytes] = {}
    pids: dict[str, str] = {}
    for name, content in named:
        pid, extension = _parts(name)
        if extension in files:
            raise UploadError(f"there are two .{extension} files: upload the files of one bin at a time")
        _check_content(name, extension, content)
        files[extension] = content
        pids[pid] = name
    if len(pids) > 1:
        first, second, *_ = pids.values()
        raise UploadError(f"{first} and {second} are of different bins: upload the files of one bin at a time")
    if "adc" not in files:
        raise UploadError("the .adc file is missing: it holds the positions that are scored")
    return UploadedBin(next(iter(pids)), files)


def check_files(sizes: Sequence[tuple[str, int]]) -> None:
    """Raise UploadError for more files, given by name and size in bytes, than a bin has, for one that is larger than
    any of its kind, and for what ``check_pictures`` refuses: before they are read.
    """
    if any(is_picture(name) for name, _ in sizes):
        check_pictures(sizes)
        return
    if len(sizes) > len(MAX_BYTES):
        raise UploadError(f"these are {len(sizes)} files, and a bin has {len(MAX_BYTES)}: hand in one bin at a time")
    for name, n_bytes in sizes:
        check_size(name, n_bytes)


def check_size(name: str, n_bytes: int) -> None:
    """Raise UploadError for a file that is larger than any of its kind, before it is read."""
    _, extension = _parts(name)
    if n_bytes > MAX_BYTES[extension]:
        raise UploadError(
            f"{name} has {n_bytes / 1e6:,.0f} MB; a .{extension} file of up to {MAX_BYTES[extension] / 1e6:,.0f} MB is "
            "taken, and the instrument writes none that is larger"
        )


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name."""
    return name.lower().endswith(_PICTURES)


def check_pictures(sizes: Sequence[tuple[str, int]]) -> None:
    """Raise UploadError for pictures, given by name and size in bytes, that are too many, too large or mixed with the
    files of a bin: before they are read.
    """
    if len(sizes) > MAX_PICTURES:
        raise UploadError(f"these are {len(sizes)} pictures: upload up to {MAX_PICTURES} at a time")
    for name, n_bytes in sizes:
        if not is_picture(name):
            raise UploadError(f"{name} is no picture: upload pictures of images, or the files of one bin")
        if n_bytes > MAX_PICTURE_BYTES:
            raise UploadError(
                f"{name} has {n_bytes / 1e6:,.0f} MB; pictures of up to {MAX_PICTURE_BYTES / 1e6:,.0f} MB are taken"
            )


def uploaded_picture(name: str, content: bytes) -> Image:
    """The grey values of a picture that somebody hands in: uint8, (height, width). Nothing else of it is looked at, no
    EXIF either: it is shown as its pixels lie. Of several pages the first counts.

    Raises UploadError for what is no PNG, JPEG or TIFF, is damaged, or is larger than any camera's frame.
    """
    from PIL import Image as Pillow

    check_pictures([(name, len(content))])
    try:
        # Opening reads the size alone: nothing is unpacked before it is known to be believable.
        with Pillow.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF")) as picture:
            if max(picture.size) > MAX_SIDE_PX or picture.width * picture.height == 0:
                raise UploadError(
                    f"{name} has {picture.width} x {picture.height} px; an image has sides of 1 to {MAX_SIDE_PX} px"
                )
            if picture.mode.startswith("I;16"):
                return (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
            return np.asarray(picture.convert("L"))
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise UploadError(f"{name} is no PNG, JPEG or TIFF that can be read, or it is damaged") from error


def _parts(name: str) -> tuple[str, str]:
    """The pid and the extension that a file name says. Raises UploadError for any other name."""
    # Some browsers send the path on the other machine.
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, _, extension = name.rpartition(".")
    if extension.lower() not in MAX_BYTES:
        raise UploadError(
            f"{name} is not an IFCB file: these end in .adc, .hdr or .roi, and pictures in .png, .jpg or .tif"
        )
    try:
        return parse_name(stem).pid, extension.lower()
    except InvalidPidError as error:
        raise UploadError(
            f"the name of {name} is not that of a bin; the name says which instrument it is and when the run began: "
            f"{error}"
        ) from error


def _check_content(name: str, extension: str, content: bytes) -> None:
    check_size(name, len(content))
    if extension == "roi":
        return
    if not content.strip():
        # An instrument that has drawn nothing in leaves such a file; a header is never empty.
        raise UploadError(f"{name} is empty: it has no lines" + (", so no trigger was recorded" * (extension == "adc")))
    if b"\0" in content[:_LOOK_BYTES]:
        raise UploadError(f"{name} is not a text file; it may be a renamed .roi file or a damaged copy")
    if extension == "adc" and b"," not in content[:_LOOK_BYTES]:
        raise UploadError(f"{name} has no values separated by commas, as an .adc file has")

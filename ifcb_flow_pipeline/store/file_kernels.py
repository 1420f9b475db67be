"""Many ADC files to features in one call of compiled code: each is opened, read, parsed and turned into numbers.

Such a call gives Python's lock away once for many bins, so that two threads are twice as fast as one; and what a file
holds is still in the processor's caches when its features are computed. It takes clean files only, of a usual size and
number of columns, and leaves all others, with whatever fails on the way, to the careful way of ``Archive.read_bin``.

Only ``many_bins`` imports this module, when files are about to be read: it loads numba.
"""

# ruff: noqa: SIM113 - compiled code has no enumerate over what is unrolled

import os
from typing import Any, NamedTuple

import numpy as np
from numba import literal_unroll, types
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.scan import address, scan_text
from ifcb_flow_pipeline.bins.text import MARGIN
from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.features.catalogue import MIN_POINTS
from ifcb_flow_pipeline.features.kernels import cloud_features, points_with_image
from ifcb_flow_pipeline.features.stream_kernels import image_features, run_times, trigger_features

#: What became of a file.
LEFT, TOO_FEW, DONE = 0, 1, 2

#: What is noted of a file, by column: what became of it, its rows, its images.
STATE, N_ROWS, N_IMAGES = range(3)

# The system's own functions, by name: such calls can be kept with the machine code. open() takes the mode of a new file
# besides, which is read only where one is made. That it is not handed over matters to no machine that runs Linux.
_open: Any = types.ExternalFunction("open", types.intc(types.intp, types.intc))
_read: Any = types.ExternalFunction("read", types.intp(types.intc, types.intp, types.uintp))
_lseek: Any = types.ExternalFunction("lseek", types.int64(types.intc, types.int64, types.intc))
_close: Any = types.ExternalFunction("close", types.intc(types.intc))

#: Without waiting: opening a pipe would wait for somebody to write to it.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_FROM_START, _FROM_END = os.SEEK_SET, os.SEEK_END
_NEWLINE = ord("\n")


class Files(NamedTuple):
    """Paths, each ended by a zero byte, and where each of n starts, shape (n,)."""

    paths: NDArray[np.uint8]
    starts: NDArray[np.int64]


class Room(NamedTuple):
    """Memory for one file and for its columns, used again for each; see ``scan_text``."""

    text: NDArray[np.uint8]
    float32: NDArray[np.float32]
    float64: NDArray[np.float64]
    int16: NDArray[np.int16]
    int32: NDArray[np.int32]
    int64: NDArray[np.int64]


class Cells(NamedTuple):
    """Which cells of a line are read; see ``scan.plan``."""

    widths: NDArray[np.int64]
    positions: NDArray[np.int64]
    kinds: NDArray[np.int64]
    slots: NDArray[np.int64]


class Runs(NamedTuple):
    """Columns of the triggers of several bins, one bin behind the other, and where each starts, shape (bins + 1,)."""

    starts: NDArray[np.int64]
    trigger: NDArray[np.int32]
    t_s: NDArray[np.float64]
    width_px: NDArray[np.int16]
    height_px: NDArray[np.int16]
    peak_v: NDArray[np.float32]
    inhibit_time_s: NDArray[np.float64]


@part
def _content(path, memory):
    """Read a file of this address of its path into memory, behind the margin; how many bytes, -1 where it cannot be
    read or has no room.
    """
    descriptor = _open(path, _FLAGS)
    if descriptor < 0:
        return -1
    size = _lseek(descriptor, 0, _FROM_END)
    n, got = 0, 1
    if size < 0 or size > len(memory) - 2 * MARGIN - 1 or _lseek(descriptor, 0, _FROM_START) != 0:
        size, got = 0, -1
    # Up to what it was when it was opened: it may have become shorter, and may be growing.
    while n < size and got > 0:
        got = _read(descriptor, address(memory) + MARGIN + n, size - n)
        n += max(got, 0)
    _close(descriptor)
    return n if got >= 0 else -1


@part
def _rows(path, room, cells):
    """Read a file into the columns: how many rows, none where it is not clean."""
    n = _content(path, room.text)
    if n <= 0:
        return 0
    stop = MARGIN + n
    if room.text[stop - 1] != _NEWLINE:
        room.text[stop] = _NEWLINE
        stop += 1
    return scan_text(
        room.text, MARGIN, stop, cells.widths, cells.positions, cells.kinds, cells.slots, room.float32, room.float64,
        room.int16, room.int32, room.int64,
    )  # fmt: skip


@part
def _reference(x, y, width, height, aspect_ratio, out, info):
    """The reference features of a bin's rows into ``out``, shape (features,), and what became of it into ``info``."""
    points = points_with_image(x, y, width, height)
    n_images = len(points.x_px)
    info[STATE], info[N_ROWS], info[N_IMAGES] = TOO_FEW, len(x), n_images
    if n_images < MIN_POINTS:
        return
    info[STATE] = DONE
    k = 0
    for value in literal_unroll(cloud_features(points.x_px, points.y_px, len(x), n_images, aspect_ratio)):
        out[k] = value
        k += 1


@kernel
def reference_of_files(
    files: Files,
    room: Room,
    cells: Cells,
    boxes: tuple[int, int, int, int],
    aspect_ratio: float,
    out: NDArray[np.float64],
    info: NDArray[np.int64],
) -> None:
    """The reference features of n files into ``out``, shape (n, features), and what became of each into ``info``,
    shape (n, 3). ``boxes``: rows of ``int16`` that the columns of a box come to lie in.
    """
    for i in range(len(files.starts)):
        info[i, STATE] = LEFT
        n = _rows(address(files.paths) + files.starts[i], room, cells)
        if n > 0:
            x, y, width, height = boxes
            _reference(
                room.int16[x, :n], room.int16[y, :n], room.int16[width, :n], room.int16[height, :n], aspect_ratio,
                out[i], info[i],
            )  # fmt: skip


#: Of a bin's rows beside the features: signals with one number throughout, as bits in the order of the slots, behind
#: them ``peak_b``; triggers but the first, and those at the very time of the one before; images that do not start where
#: the one before ends.
DEAD, STEPS, STILL, GAPS = range(4)


@part
def _quality(room, n, signals, places, out):
    """What ``FileQuality`` counts in a bin's rows, into ``out``."""
    out[:] = 0
    for k in range(len(signals)):
        out[DEAD] |= np.int64(room.float32[signals[k], 1] == 1.0) << k
    peak, same = room.float32[places.peak_b], 1
    while same < n and peak[same] == peak[0]:
        same += 1
    out[DEAD] |= np.int64(same == n) << len(signals)
    trigger, start = room.int32[places.trigger], room.int64[places.start_byte]
    time = room.float64[places.t_s]
    width, height = room.int16[places.width_px], room.int16[places.height_px]
    due, seen = np.int64(0), False
    for i in range(n):
        if i > 0 and trigger[i] != trigger[i - 1]:
            out[STEPS] += 1
            out[STILL] += time[i] == time[i - 1]
        if width[i] > 0 and height[i] > 0:
            out[GAPS] += seen and start[i] != due
            due, seen = start[i] + np.int64(width[i]) * np.int64(height[i]), True


class Places(NamedTuple):
    """In which row of the arrays of its type each column comes to lie."""

    trigger: int
    t_s: int
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    start_byte: int
    peak_b: int
    time_of_flight_us: int
    run_time_s: int
    inhibit_time_s: int


class Headers(NamedTuple):
    """What ``image_features`` wants of the headers of n bins, each of shape (n,), the frame (n, 2)."""

    frame_px: NDArray[np.int64]
    margin_px: NDArray[np.int64]
    titled_bottom: NDArray[np.bool_]


class Found(NamedTuple):
    """Where results go, a row a file: reference features, of images, of the run, of the file, and what became of it."""

    reference: NDArray[np.float64]
    images: NDArray[np.float64]
    run: NDArray[np.float64]
    quality: NDArray[np.int64]
    info: NDArray[np.int64]


@kernel
def images_of_files(
    files: Files,
    room: Room,
    cells: Cells,
    places: Places,
    signals: NDArray[np.int64],
    aspect_ratio: float,
    headers: Headers,
    found: Found,
    runs: Runs,
) -> None:
    """As ``reference_of_files``, all features that do not depend on the length of the run, and what tells it.

    The columns of the triggers are kept in ``runs`` for those that do: a file for which there is no more room is left.
    ``signals``: the rows of ``float32`` with signals that are looked at for being dead.
    """
    at = 0
    for i in range(len(files.starts)):
        runs.starts[i] = at
        found.info[i, STATE] = LEFT
        n = _rows(address(files.paths) + files.starts[i], room, cells)
        if n <= 0 or at + n > len(runs.trigger):
            continue
        x, y = room.int16[places.x_px, :n], room.int16[places.y_px, :n]
        width, height = room.int16[places.width_px, :n], room.int16[places.height_px, :n]
        peak, flight = room.float32[places.peak_b, :n], room.float32[places.time_of_flight_us, :n]
        trigger, t_s = room.int32[places.trigger, :n], room.float64[places.t_s, :n]
        inhibit = room.float64[places.inhibit_time_s, :n]
        _reference(x, y, width, height, aspect_ratio, found.reference[i], found.info[i])
        _quality(room, n, signals, places, found.quality[i])
        run = run_times(trigger, t_s, width, height, room.float64[places.run_time_s, :n], inhibit)
        found.run[i, 0], found.run[i, 1] = run.n_triggers, run.n_images
        found.run[i, 2], found.run[i, 3] = run.adc_run_s, run.adc_inhibit_s
        found.run[i, 4], found.run[i, 5] = run.last_s, run.due_s
        frame = (headers.frame_px[i, 0], headers.frame_px[i, 1])
        images = image_features(
            x, y, width, height, peak, flight, frame, headers.margin_px[i], headers.titled_bottom[i], True
        )
        found.images[i, 0] = images.n_images
        k = 1
        for value in literal_unroll(images[1:]):  # all of one type, which literal_unroll wants
            found.images[i, k] = value
            k += 1
        stop = at + n
        runs.trigger[at:stop], runs.t_s[at:stop], runs.peak_v[at:stop] = trigger, t_s, peak
        runs.width_px[at:stop], runs.height_px[at:stop], runs.inhibit_time_s[at:stop] = width, height, inhibit
        at = stop
    runs.starts[len(files.starts)] = at


@kernel
def triggers_of_files(runs: Runs, run_s: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """The features of the triggers of n bins into ``out``, shape (n, features); ``run_s``: how long the runs were."""
    for i in range(len(run_s)):
        first, stop = runs.starts[i], runs.starts[i + 1]
        if first == stop:
            continue
        features = trigger_features(
            runs.trigger[first:stop], runs.t_s[first:stop], runs.width_px[first:stop], runs.height_px[first:stop],
            runs.peak_v[first:stop], runs.inhibit_time_s[first:stop], run_s[i],
        )  # fmt: skip
        k = 0
        for value in literal_unroll(features):
            out[i, k] = value
            k += 1

"""Many ADC files in one call of compiled code: each is opened, read, parsed, and kept or turned into features.

Such a call gives Python's lock away once for many bins, so that two threads are twice as fast as one; and what a file
holds is still in the processor's caches when its features are computed. It takes clean files only, of a usual size and
number of columns, and leaves all others, with whatever fails on the way, to the careful way of ``Archive.read_bin``.

Only ``file_batches`` imports this module, when files are about to be read: it loads numba.
"""

import os
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.scan import address, scan_text
from ifcb_flow_pipeline.bins.text import MARGIN
from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.features.batch_kernels import Columns, reference_features

#: What is noted of a file, by column: its rows, none where it is left to the careful way, and its images.
N_ROWS, N_IMAGES = range(2)

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
    """The reference features of n files into ``out``, shape (n, features), and what is noted of each into ``info``,
    shape (n, 2). ``boxes``: rows of ``int16`` that the columns of a box come to lie in.
    """
    x, y, width, height = boxes
    for i in range(len(files.starts)):
        n = max(_rows(address(files.paths) + files.starts[i], room, cells), 0)
        info[i, N_ROWS] = n
        if n:
            info[i, N_IMAGES] = reference_features(
                room.int16[x, :n], room.int16[y, :n], room.int16[width, :n], room.int16[height, :n], aspect_ratio,
                out[i],
            )  # fmt: skip


#: Of a bin's rows beside the features: signals with one number throughout, as bits in the order of the slots; triggers
#: but the first, and those at the very time of the one before; images that do not start where the one before ends.
DEAD, STEPS, STILL, GAPS = range(4)


@part
def _quality(room, n, signals, whole, places, out):
    """What ``FileQuality`` counts in a bin's rows, into ``out``."""
    out[:] = 0
    for k in range(len(signals)):
        out[DEAD] |= np.int64(room.float32[signals[k], 1] == 1.0) << k
    for k in range(len(whole)):
        signal, same = room.float32[whole[k]], 1
        while same < n and signal[same] == signal[0]:
            same += 1
        out[DEAD] |= np.int64(same == n) << (len(signals) + k)
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


@part
def _n_images(width, height):
    n = 0
    for i in range(len(width)):
        n += (width[i] > 0) & (height[i] > 0)
    return n


@kernel
def columns_of_files(
    files: Files,
    room: Room,
    cells: Cells,
    places: Places,
    signals: NDArray[np.int64],
    whole: NDArray[np.int64],
    columns: Columns,
    info: NDArray[np.int64],
    quality: NDArray[np.int64],
) -> None:
    """The columns of n files, one file behind the other, and what is noted of each into ``info``, shape (n, 2), and
    ``quality``, shape (n, 4). A file for which there is no more room is left.

    ``signals``: the rows of ``float32`` with signals of which only is asked whether they are dead; ``whole``: with
    those that are read: ``peak_b``, and ``pmt_b`` where it is wanted.
    """
    at = 0
    for i in range(len(files.starts)):
        columns.starts[i] = at
        n = _rows(address(files.paths) + files.starts[i], room, cells)
        if n <= 0 or at + n > len(columns.trigger):
            info[i, N_ROWS] = 0
            continue
        width, height = room.int16[places.width_px, :n], room.int16[places.height_px, :n]
        info[i, N_ROWS], info[i, N_IMAGES] = n, _n_images(width, height)
        _quality(room, n, signals, whole, places, quality[i])
        stop = at + n
        columns.trigger[at:stop] = room.int32[places.trigger, :n]
        columns.t_s[at:stop] = room.float64[places.t_s, :n]
        columns.x_px[at:stop] = room.int16[places.x_px, :n]
        columns.y_px[at:stop] = room.int16[places.y_px, :n]
        columns.width_px[at:stop], columns.height_px[at:stop] = width, height
        columns.peak_b[at:stop] = room.float32[places.peak_b, :n]
        columns.time_of_flight_us[at:stop] = room.float32[places.time_of_flight_us, :n]
        columns.run_time_s[at:stop] = room.float64[places.run_time_s, :n]
        columns.inhibit_time_s[at:stop] = room.float64[places.inhibit_time_s, :n]
        columns.start_byte[at:stop] = room.int64[places.start_byte, :n]
        if len(whole) > 1:
            columns.pmt_b[at:stop] = room.float32[whole[1], :n]
        at = stop
    columns.starts[len(files.starts)] = at

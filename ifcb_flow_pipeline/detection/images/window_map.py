"""The camera frame, cell by cell: dirt on the window that no single image shows.

A bin's images cover the frame many times over. Where the window is dirty, the background is a little darker in every
image of that place, or, where the dirt is opaque, always dark. Both are compared with the instrument's own map since
its last cleaning, for every frame has a pattern of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import RoiTable
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import ImageFeatures

#: Cells of 8 px, down and across: room for the frames of both schemas.
SHAPE = (130, 175)

#: Grey values below the background from which a pixel counts as dark.
DARK_FROM = 12.0

#: Share of the background by which a pixel must differ to be a particle's: faint dirt must not be taken for one.
PARTICLE_SHARE = 0.1

#: A cell is judged where at least so many images tell of its background, and where at least so many show it at all.
MIN_TELLING = 3
MIN_SEEN = 8

#: Standard deviation of one cell in one image that is assumed at least, grey values: what soft parts of particles make.
_LEAST_SD = 1.75

#: How often a healthy cell is assumed to be dark at least: a few images of a bin may all show particles there.
_LEAST_DARK = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class WindowMap:
    """Sums over the images of a bin, or of several: ``cells``, float64, (5, *SHAPE).

    0: background less that of the cells around, grey values, summed over images; 1: its squares; 2: images that tell;
    3: images in which a quarter of the cell is dark; 4: images that show it.
    """

    cells: NDArray[np.float64]

    @classmethod
    def empty(cls) -> "WindowMap":
        """A map of no images."""
        return cls(np.zeros((5, *SHAPE)))

    @classmethod
    def of_bin(
        cls,
        roi: bytes | memoryview | NDArray[np.uint8],
        table: RoiTable,
        x_px: NDArray[np.integer],
        y_px: NDArray[np.integer],
        features: ImageFeatures,
    ) -> "WindowMap":
        """The map of the images of a bin that have features; ``x_px``, ``y_px``: corners of all ADC rows."""
        from ifcb_flow_pipeline.detection.images.window_kernel import add_images

        ok = features.status == "ok"
        rows = features.row[ok]
        background = features.values[ok, NAMES.index("background")]
        found = cls.empty()
        add_images(
            np.frombuffer(roi, np.uint8),
            *(column[rows].astype(np.int64) for column in
              (table.start_byte, table.height_px, table.width_px, x_px, y_px)),
            background,
            PARTICLE_SHARE * background,
            DARK_FROM,
            found.cells,
        )  # fmt: skip
        return found

    def __add__(self, other: "WindowMap") -> "WindowMap":
        return WindowMap(self.cells + other.cells)


@dataclass(frozen=True, slots=True, eq=False)
class WindowScore:
    """How unlike its history a map is, cell by cell: ``faint`` and ``opaque``, z, (rows, columns), NaN where unseen.

    ``z``: the largest of either over the frame, of a cell or of 2 x 2, ``x_px``, ``y_px`` its place (middle of the
    cell), ``kind``: faint or opaque. Higher is dirtier.
    """

    faint: NDArray[np.float64]
    opaque: NDArray[np.float64]
    z: float
    x_px: int
    y_px: int
    kind: str


def score_window(window: WindowMap, history: WindowMap) -> WindowScore:
    """Compare a bin's map with the sum of the maps of the same instrument since its last cleaning.

    With an empty history the frame's own pattern looks like dirt; take a threshold from the scores of healthy bins.
    """
    faint = _strongest(*_faint(window.cells, history.cells))
    opaque = _strongest(*_opaque(window.cells, history.cells))
    best = {"faint": faint, "opaque": opaque}
    peaks = {name: float(np.max(np.nan_to_num(z, nan=-np.inf))) for name, z in best.items()}
    kind = max(peaks, key=lambda name: peaks[name])
    if not np.isfinite(peaks[kind]):
        return WindowScore(faint, opaque, 0.0, 0, 0, "")
    row, column = np.unravel_index(np.argmax(np.nan_to_num(best[kind], nan=-np.inf)), SHAPE)
    return WindowScore(faint, opaque, peaks[kind], int(column) * 8 + 4, int(row) * 8 + 4, kind)


def _faint(now: NDArray[np.float64], before: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much darker each cell is than it was, in images' standard deviations, and by how many images."""
    n, n_before = now[2], before[2]
    usual = before[0] / np.maximum(n_before, 1)
    spread = np.sqrt(np.maximum(before[1] / np.maximum(n_before, 1) - usual**2, _LEAST_SD**2))
    darker = usual - now[0] / np.maximum(n, 1)
    # Where the history is thin, its own error counts as well.
    weight = n / (1 + n / np.maximum(n_before, 1))
    return darker / spread, np.where((n >= MIN_TELLING) & (n_before >= MIN_TELLING), weight, 0)


def _opaque(now: NDArray[np.float64], before: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n, n_before = now[4], before[4]
    usual = (before[3] + 1) / (n_before + 20)
    usual = np.maximum(usual, _LEAST_DARK)
    darker = now[3] / np.maximum(n, 1) - usual
    return darker / np.sqrt(usual * (1 - usual)), np.where(n >= MIN_SEEN, n, 0)


def _strongest(effect: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviation of each cell, or of the best of the blocks of 2 x 2 cells that it is in, for dirt lies across cells."""
    seen = (weight > 0).astype(float)
    best = np.where(seen > 0, effect * np.sqrt(weight), -np.inf)
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        total, count, cells = (
            _block_sums(each, down, across) for each in (np.where(seen > 0, effect * weight, 0), weight, seen)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            # The images of neighbouring cells are mostly the same ones: four cells know no more than one.
            block = np.where(cells > 2.5, total / count * np.sqrt(count / cells), -np.inf)
        best = np.maximum(best, block)
    return np.where(seen > 0, best, np.nan)


def _block_sums(values: NDArray[np.float64], down: int, across: int) -> NDArray[np.float64]:
    """Of each cell, the sum over the block of 2 x 2 cells whose first cell lies so many rows and columns before it."""
    rows, columns = values.shape
    padded = np.pad(values, 1)
    first = padded[1 - down : 1 - down + rows + 1, 1 - across : 1 - across + columns + 1]
    return first[:-1, :-1] + first[:-1, 1:] + first[1:, :-1] + first[1:, 1:]

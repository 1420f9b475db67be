"""The local baseline: what is usual for each bin at its time, from its deployment and the hours before it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.flow.spreads import column_medians

#: The hours that are one block of bins, how many blocks before a bin's own tell what is usual at the time, and the
#: bins in them that count half.
_BLOCK_S = 4 * 3600.0
_LOCAL_BLOCKS = 12
_LOCAL_PRIOR_BINS = 12.0

#: How far, in spreads, the blocks before may move what is usual: a fault that lasts must not become normal. What a
#: setting or a service moves may go as far as it likes, once most of the bins before agree.
_LOCAL_LIMIT = 4.0

#: BinTable of blocks whose medians are taken at a time, and blocks that are set against those before them: bounds the
#: memory that a large table takes.
_ROWS_TOGETHER, _BLOCKS_TOGETHER = 65_536, 1024


@dataclass(frozen=True, slots=True)
class LocalBaseline:
    """What is usual among n rows: of each row's deployment, and of its hours.

    ``deployment`` (n,): numbers into ``centre``, ``spread`` (deployments, d) and ``points`` (deployments,).
    ``moved`` (n,): the row is the first of a deployment whose core lies elsewhere than before; ``settling`` (n,): it is
    one of the first few of such a deployment.
    """

    deployment: NDArray[np.int64]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    points: NDArray[np.float64]
    hours: "tuple[HourlyOffsets, ...]"
    moved: NDArray[np.bool_]
    settling: NDArray[np.bool_]

    def offsets(self, which: NDArray) -> NDArray[np.float32]:
        """How far the bins before lie from the centre, for these rows, shape (d, rows)."""
        found = np.zeros((self.centre.shape[1], len(which)), dtype=np.float32)
        for hours in self.hours:
            found[hours.columns] = np.take(hours.offset, hours.block[which], axis=1)
        return found


@dataclass(frozen=True, slots=True)
class HourlyOffsets:
    """How far the blocks before each block of hours lie from the centre, in some columns: shape (columns, blocks).

    ``block`` (n,): each row's block of its deployment or instrument. Blocks begin at fixed times: bins that are
    judged one by one find the same before them as those of a whole archive.
    """

    columns: NDArray[np.int64]
    block: NDArray[np.int64]
    offset: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        rows: BinTable,
        group: NDArray[np.int64],
        deployment: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]],
        columns: NDArray[np.int64],
        *,
        limited: bool,
    ) -> "HourlyOffsets":
        """Those of the blocks of each group (n,); ``deployment``: of each row, and the centres and spreads of all.

        ``limited``: so that a fault that lasts does not become normal.
        """
        code, centre, spread = deployment
        time = np.floor_divide(rows.time_s, _BLOCK_S).astype(np.int64)
        time -= time.min(initial=0)
        length = int(time.max(initial=0)) + 1
        blocks, example, block = np.unique(group * length + time, return_index=True, return_inverse=True)
        medians, counts = _block_medians(rows, (block, len(blocks)), columns, centre[:, columns], code)
        n_before, offset = np.zeros(len(blocks)), np.zeros(medians.shape, dtype=np.float32)
        for first in range(0, len(blocks), _BLOCKS_TOGETHER):
            some = slice(first, first + _BLOCKS_TOGETHER)
            before = np.full((_LOCAL_BLOCKS, *medians[some].shape), np.nan, dtype=np.float32)
            for back in range(1, _LOCAL_BLOCKS + 1):
                wanted = blocks[some] - back
                place = np.searchsorted(blocks, wanted)
                there = (blocks[place] == wanted) & (blocks[some] % length >= back)
                before[back - 1, there] = medians[place[there]]
                n_before[some] += np.where(there, counts[place], 0)
            offset[some] = np.nan_to_num(column_medians(before))
        offset = offset * (n_before / (n_before + _LOCAL_PRIOR_BINS))[:, None]
        if limited:
            limit = _LOCAL_LIMIT * spread[code[example]][:, columns]
            offset = np.clip(offset, -limit, limit)
        return cls(columns, block, np.ascontiguousarray(offset.T, dtype=np.float32))


def _block_medians(
    rows: BinTable, blocks: tuple[NDArray, int], columns: NDArray, centre: NDArray, code: NDArray
) -> tuple[NDArray, NDArray]:
    """Medians over the full rows of each block of how far they lie from the centre, and how many rows those are."""
    block, n_blocks = blocks
    order = np.argsort(block, kind="stable")
    order = order[rows.full[order]]
    bounds = np.searchsorted(block[order], np.arange(n_blocks + 1))
    counts = np.diff(bounds)
    medians = np.full((n_blocks, len(columns)), np.nan, dtype=np.float32)
    for count in np.unique(counts[counts > 0]).tolist():  # blocks of as many rows at a time
        alike = np.flatnonzero(counts == count)
        together = max(_ROWS_TOGETHER // count, 1)
        for first in range(0, len(alike), together):
            some = alike[first : first + together]
            own = order[bounds[some] + np.arange(count)[:, None]]
            medians[some] = column_medians(rows.values[own[:, :, None], columns] - centre[code[own]])
    return medians, counts

"""The bytes of a file in memory that the fast reader of ADC files can take in large blocks, and that is used again."""

from codecs import BOM_UTF8

import numpy as np
from numpy.typing import NDArray

#: The fast reader takes up to so many bytes before and behind what it looks at.
MARGIN = 64

_NEWLINE = ord("\n")


class Text:
    """One file's bytes, with a margin on both sides.

    Filling fresh memory takes several times as long as reading a file that the system has at hand, and threads wait
    for each other there: whoever reads many files fills one text again and again.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.memory: NDArray[np.uint8] = np.zeros(2 * MARGIN, np.uint8)
        self._stop = MARGIN
        if data:
            self.room(len(data))[:] = data
            self.filled(len(data))

    def __len__(self) -> int:
        return self._stop - MARGIN

    @property
    def start(self) -> int:
        """Where the lines start in memory: behind the byte order mark that some editors put before them."""
        n_mark = len(BOM_UTF8)
        has_mark = len(self) >= n_mark and self.memory[MARGIN : MARGIN + n_mark].tobytes() == BOM_UTF8
        return MARGIN + n_mark if has_mark else MARGIN

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes from ``start`` on, shape (n,): not a copy."""
        return self.memory[self.start : self._stop]

    def room(self, size: int) -> memoryview:
        """Memory to write at least that many bytes to; say with ``filled`` how many there are."""
        if size + 2 * MARGIN > len(self.memory):
            self.memory = np.zeros(size + 2 * MARGIN, np.uint8)
        return self.memory.data[MARGIN:-MARGIN]

    def filled(self, size: int) -> None:
        """What was written to the room is ``size`` bytes long."""
        self._stop = MARGIN + size

    def end_last_line(self) -> int:
        """Put a newline behind the last line where it has none, in the margin; where the lines stop in memory."""
        if self._stop > self.start and self.memory[self._stop - 1] != _NEWLINE:
            self.memory[self._stop] = _NEWLINE
            return self._stop + 1
        return self._stop

"""The camera frame that positions are in.

Sources: the acquisition software (github.com/robertjolson/ifcb-acq, ``config.h``) for instruments from IFCB7
on; ifcb-analysis (github.com/hsosik/ifcb-analysis) for IFCB1 to IFCB6.
"""

import re
from collections.abc import Mapping

from ifcb_flow_pipeline.bins.pid import Schema

#: Width and height in px.
FRAME_PX: Mapping[Schema, tuple[int, int]] = {"v1": (1380, 1034), "v2": (1360, 1024)}

_FRAME = re.compile(r"(\w+)=(\d+)x(\d+)", re.ASCII)


def parse_frames(text: str) -> dict[str, tuple[int, int]]:
    """Frames of single instruments, from text such as ``IFCB160=1360x1840 IFCB5=1380x1034``.

    Raises ValueError, quoting what cannot be read.
    """
    frames = {}
    for entry in text.replace(",", " ").split():
        match = _FRAME.fullmatch(entry)
        if match is None or not (int(match[2]) and int(match[3])):
            raise ValueError(f"frame {entry!r} must be an instrument and its frame in px, such as IFCB160=1360x1840")
        frames[match[1]] = (int(match[2]), int(match[3]))
    return frames

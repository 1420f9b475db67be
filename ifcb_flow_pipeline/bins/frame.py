"""The camera frame that positions are in.

Sources: the acquisition software (github.com/robertjolson/ifcb-acq, ``config.h``) for instruments from IFCB7
on; ifcb-analysis (github.com/hsosik/ifcb-analysis) for IFCB1 to IFCB6.
"""

from collections.abc import Mapping

from ifcb_flow_pipeline.bins.pid import Schema

#: Width and height in px.
FRAME_PX: Mapping[Schema, tuple[int, int]] = {"v1": (1380, 1034), "v2": (1360, 1024)}

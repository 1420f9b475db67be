"""Everything that a bin recorded, as the features of the full set see it: comparable coordinates, triggers, times.

Positions are centres of images in px, x along the flow from the left of the frame, y across it from the top,
whatever the acquisition software wrote (see ``geometry``). Only rows with an image have a position.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import Schema
from ifcb_flow_pipeline.features import geometry, timing
from ifcb_flow_pipeline.features.file_quality import FileQuality
from ifcb_flow_pipeline.features.geometry import Core
from ifcb_flow_pipeline.features.run import V1_BLIND_S, Run

#: What is read of an ADC file for the full set of features.
STREAM_COLUMNS = (
    "trigger", "t_s", "x_px", "y_px", "width_px", "height_px", "peak_b", "time_of_flight_us",
    "run_time_s", "inhibit_time_s",
)  # fmt: skip

#: What people are shown of a bin besides: where its images are in the .roi file, and fluorescence.
SHOWN_COLUMNS = ("start_byte", "pmt_b")

#: With fewer images, the shape of a cloud would say more about chance than about the flow; so would, with fewer
#: triggers, their distribution in time.
MIN_IMAGES = MIN_TRIGGERS = 30

DAY_S = 86_400.0


@dataclass(frozen=True)
class Stream:
    """One bin: its ADC rows in file order, and its header.

    ``columns``: STREAM_COLUMNS, each of shape (n,), n >= 0. ``header``: typed values of the .hdr (see ``bins.hdr``),
    empty where there is none. ``frame_px``: width and height of the camera frame. ``bad_lines``: ADC lines that
    could not be used. ``v1_blind_s``: see ``run.blind_s_of``. ``quality``: what else was seen as the files were read.
    """

    columns: Mapping[str, NDArray]
    schema: Schema
    header: Mapping[str, Any] = field(default_factory=dict)
    frame_px: tuple[int, int] = FRAME_PX["v2"]
    bad_lines: int = 0
    v1_blind_s: float = V1_BLIND_S
    quality: FileQuality = field(default_factory=FileQuality)

    @property
    def n_rows(self) -> int:
        """ADC rows."""
        return len(self.columns["x_px"])

    @cached_property
    def has_image(self) -> NDArray[np.bool_]:
        """Which rows have an image, shape (n,)."""
        return has_image(self.columns)

    @cached_property
    def n_images(self) -> int:
        """Rows with an image."""
        return int(np.count_nonzero(self.has_image))

    @property
    def enough_images(self) -> bool:
        """Whether there are enough images for the shape of their cloud."""
        return self.n_images >= MIN_IMAGES

    def of_images(self, name: str) -> NDArray[np.float64]:
        """A column at the rows with an image, shape (images,)."""
        return self.columns[name][self.has_image].astype(np.float64)

    def stated(self, name: str) -> NDArray[np.float64]:
        """A column of measurements, shape (n,): NaN throughout if its n > 1 rows have one and the same number, and
        where a single row has none.

        What was not measured or not kept is written as zero or as -999; no signal and no clock stands still.
        """
        values = self.columns[name].astype(np.float64)
        known = values[~np.isnan(values)]
        if len(values) > 1 and (known == known[:1]).all():
            return np.full(len(values), np.nan)
        return values

    # Geometry; all of shape (images,)

    @cached_property
    def left_px(self) -> NDArray[np.float64]:
        """Left edges."""
        return self.of_images("x_px")

    @cached_property
    def width_px(self) -> NDArray[np.float64]:
        """Widths."""
        return self.of_images("width_px")

    @cached_property
    def height_px(self) -> NDArray[np.float64]:
        """Heights."""
        return self.of_images("height_px")

    @cached_property
    def y_is_bottom(self) -> bool:
        """Whether the file states the bottom edge of an image as its y, instead of the top edge."""
        if self.schema == "v1":
            return False
        y_px, height_px = (self.columns[name][self.has_image].astype(np.int64) for name in ("y_px", "height_px"))
        return geometry.y_is_bottom(y_px, height_px, self.frame_px[1], self.header)

    @cached_property
    def top_px(self) -> NDArray[np.float64]:
        """Top edges."""
        y_px = self.of_images("y_px")
        return y_px - self.height_px if self.y_is_bottom else y_px

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """Centres along the flow."""
        return self.left_px + self.width_px / 2

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """Centres across the flow."""
        return self.top_px + self.height_px / 2

    @cached_property
    def core(self) -> Core:
        """The line that the core of the flow draws in the frame; only with enough images."""
        return Core.of(self.x, self.y, self.width_px, self.frame_px[1])

    @cached_property
    def small(self) -> NDArray[np.bool_]:
        """Which images are no wider than the median, and so tell where the core is."""
        return geometry.small_images(self.width_px)

    @cached_property
    def off_core_px(self) -> NDArray[np.float64]:
        """How far to the right of the core each centre lies."""
        return self.x - self.core.x_at(self.y)

    @cached_property
    def is_stray(self) -> NDArray[np.bool_]:
        """Which images are off the core."""
        return geometry.is_stray(self.off_core_px, self.width_px)

    # Triggers; all of shape (triggers,)

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """The first row of each trigger: rows of one camera frame share its number and follow each other."""
        trigger = self.columns["trigger"]
        if not len(trigger):
            return np.zeros(0, np.int64)
        return np.concatenate(([0], np.flatnonzero(np.diff(trigger) != 0) + 1))

    @property
    def n_triggers(self) -> int:
        """Triggers in the file."""
        return len(self.first_rows)

    @cached_property
    def images_of_trigger(self) -> NDArray[np.int64]:
        """How many images each trigger gave."""
        if not self.n_triggers:
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.has_image.astype(np.int64), self.first_rows)

    @cached_property
    def time_s(self) -> NDArray[np.float64]:
        """Time of each trigger since the start of the run, in file order; a jump back over midnight is undone."""
        time = self.columns["t_s"][self.first_rows].astype(np.float64)
        jumps = np.diff(time, prepend=time[:1]) < -DAY_S / 2
        return time + DAY_S * np.cumsum(jumps)

    @cached_property
    def events(self) -> "timing.Events":
        """The triggers as events in the time that the instrument was running."""
        return timing.Events.of(self.time_s, self.run.run_time_s)

    # Run

    @cached_property
    def run(self) -> Run:
        """What is known of the run besides its triggers."""
        run, blind = timing.counted_times(self.stated("run_time_s"), self.stated("inhibit_time_s"), self.stated("t_s"))
        return Run(
            schema=self.schema,
            header=self.header,
            n_rows=self.n_rows,
            n_images=self.n_images,
            n_triggers=self.n_triggers,
            bad_lines=self.bad_lines,
            adc_run_s=run,
            adc_inhibit_s=blind,
            last_s=float(self.time_s.max()) if self.n_rows else float("nan"),
            due_s=timing.next_due(self.time_s) if self.n_rows else float("nan"),
            v1_blind_s=self.v1_blind_s,
        )

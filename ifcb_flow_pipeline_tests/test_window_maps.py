"""The window week by week: a stain that is in no single image shows in the week it came."""

import io
from datetime import date

import numpy as np
from PIL import Image as Pillow

from ifcb_flow_pipeline.detection.images.window_map import SHAPE
from ifcb_flow_pipeline.window_maps import map_of_images, picture, weeks_of

MONDAY = [date(2026, 3, 2), date(2026, 3, 9), date(2026, 3, 16)]
STAIN = (600, 400)


def images(seed: int, depth: float):
    """120 images of 96 px around one place, whose window is darker by ``depth`` grey values in a disc of 24 px."""
    rng = np.random.default_rng(seed)
    found, x, y = {}, np.zeros(240, np.int64), np.zeros(240, np.int64)
    down, across = np.mgrid[:96, :96]
    for number in range(120):
        row = 2 * number + 1
        x[row], y[row] = 540 + rng.integers(0, 60), 340 + rng.integers(0, 60)
        grey = 190 + rng.normal(0, 2, (96, 96))
        grey -= depth * (np.hypot(across + x[row] - STAIN[0], down + y[row] - STAIN[1]) < 12)
        found[row] = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return found, x, y


def test_a_stain_shows_in_the_week_it_came_and_where_it_is():
    maps = [(MONDAY[week], map_of_images(*images(10 * week + bin_, 8.0 if week == 2 else 0.0)), 120)
            for week in range(3) for bin_ in range(2)]  # fmt: skip
    first, clean, stained = weeks_of(maps[::-1])
    assert [(week.monday, week.n_bins, week.n_images) for week in (first, clean, stained)] == [
        (monday, 2, 240) for monday in MONDAY
    ]
    assert first.score is None
    assert clean.score is not None
    assert stained.score is not None
    assert clean.score.z < 6 < 2 * clean.score.z + 6 < stained.score.z
    assert abs(stained.score.x_px - STAIN[0]) <= 16
    assert abs(stained.score.y_px - STAIN[1]) <= 16


def test_the_picture_is_dark_at_the_stain_and_clear_where_nothing_was_seen():
    drawn = np.asarray(Pillow.open(io.BytesIO(picture(map_of_images(*images(1, 8.0))))))
    cell = drawn.shape[0] // SHAPE[0]
    at_stain = drawn[STAIN[1] // 8 * cell, STAIN[0] // 8 * cell]
    beside = drawn[(STAIN[1] - 32) // 8 * cell, (STAIN[0] - 32) // 8 * cell]
    assert at_stain[0] < beside[0] - 60
    assert at_stain[1] == beside[1] == 255
    assert drawn[0, 0, 1] == 0


def test_without_maps_there_is_no_week():
    assert weeks_of([]) == []

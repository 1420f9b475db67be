"""Which edge of an image y is, told from the boxes: as the same for all bins of an instrument as can be."""

import numpy as np

from ifcb_flow_pipeline.features.geometry import y_is_bottom

FRAME_HEIGHT = 1024
HEIGHTS = np.full(200, 40)


def test_a_few_stray_boxes_do_not_decide_what_y_is() -> None:
    y = np.linspace(200, 800, 200).astype(int) // 8 * 8
    stray_at_top, stray_at_bottom = y.copy(), y.copy()
    stray_at_top[:3], stray_at_bottom[:3] = 0, FRAME_HEIGHT - 8
    assert not y_is_bottom(stray_at_top, HEIGHTS, FRAME_HEIGHT, {})
    assert not y_is_bottom(stray_at_bottom, HEIGHTS, FRAME_HEIGHT, {})


def test_many_boxes_that_would_leave_the_frame_do() -> None:
    y = np.linspace(700, 1020, 200).astype(int) // 8 * 8
    assert y_is_bottom(y, HEIGHTS, FRAME_HEIGHT, {})

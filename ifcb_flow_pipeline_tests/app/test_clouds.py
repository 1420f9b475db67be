import base64
import io

import numpy as np
import pytest
from PIL import Image

from app import clouds
from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.features.stream import Stream

FRAME = (1360, 1024)


def _stream(x: list[int], y: list[int], width: list[int], t_s: list[float], frame_px=FRAME) -> Stream:
    """A trigger a row; one of width 0 has no image."""
    columns = {column.name: np.zeros(len(x), dtype=column.dtype) for column in ADC_COLUMNS}
    columns |= {"trigger": np.arange(1, len(x) + 1), "x_px": np.array(x), "y_px": np.array(y)}
    columns |= {"width_px": np.array(width), "height_px": np.array(width), "t_s": np.array(t_s)}
    columns["pmt_b"] = np.array(t_s) / 100
    return Stream(columns, "v2", {}, frame_px)


def test_a_point_is_the_centre_of_an_image_and_triggers_without_image_are_none():
    points = clouds.points(_stream([0, 900], [0, 500], [0, 80], [30.0, 90.0]))
    assert points.to_dict("records") == [
        {"roi": 2, "x": 940.0, "y": 540.0, "minute": 1.5, "area_px2": 6400.0, "fluorescence_v": pytest.approx(0.9)}
    ]


def test_in_a_density_each_bin_weighs_the_same_and_rows_count_from_the_top():
    one = _stream([0], [0], [2], [1.0])
    many = _stream([1300] * 3, [1000] * 3, [2] * 3, [1.0, 2.0, 3.0])
    density = clouds.density([one, many], FRAME)
    assert density.shape == (64, 85)
    assert density[0, 0] == density[1001 // 16, 1301 // 16] == 0.5


def test_a_density_without_bins_is_zero_throughout():
    assert clouds.density([], FRAME).sum() == 0


def test_a_density_becomes_a_picture_that_is_clear_where_nothing_lies():
    density = np.array([[0.0, 0.2], [0.3, 0.5]])
    address = clouds.density_address(density, (1, 2, 3))
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
    assert picture.shape == (2, 2, 4)
    assert picture[0, 0, 3] == 0
    assert picture[0, 1, 3] < picture[1, 1, 3]


def test_the_course_of_a_run_counts_images_and_triggers_without_image_per_second():
    course = clouds.course(_stream([900] * 60 + [0] * 60, [500] * 120, [80] * 60 + [0] * 60, list(range(1, 121))))
    assert len(course) == clouds.N_STRETCHES
    # Two triggers in each stretch of two seconds, first with image, then without.
    assert course["images"].iloc[2:28].eq(1).all()
    assert course["without_image"].iloc[32:-1].eq(1).all()
    assert course["x_median"].iloc[2] == 940
    assert np.isnan(course["x_median"].iloc[-1])

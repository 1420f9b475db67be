"""Sheets of images: one scale, in the order given, nothing outside."""

import io

import numpy as np
from PIL import Image as Pillow

from ifcb_flow_pipeline.image_page import png, sheet


def drawn(page):
    return np.asarray(Pillow.open(io.BytesIO(page.picture)))


def test_images_stand_in_rows_on_one_line_in_the_order_given_at_one_scale():
    images = [np.full(shape, grey, np.uint8) for shape, grey in (((10, 40), 10), ((30, 20), 20), ((10, 60), 30))]
    page = sheet(images, width=100, most_height=75, caption_px=5)
    assert page.scale == 1.0
    # The first two fit beside each other; six px are between all, and room for captions is below each row.
    assert page.boxes.tolist() == [[6, 26, 40, 10], [52, 6, 20, 30], [6, 47, 60, 10]]
    assert page.height == 6 + 30 + 5 + 6 + 10 + 5 + 6
    pixels = drawn(page)
    assert pixels.shape == (page.height, 100, 2)
    for (x, y, width, height), image in zip(page.boxes, images, strict=True):
        assert (pixels[y : y + height, x : x + width, 0] == image[0, 0]).all()
        assert (pixels[y : y + height, x : x + width, 1] == 255).all()
    assert pixels[0, 0, 1] == 0


def test_one_scale_makes_all_fit_and_small_images_have_room_to_click_on():
    images = [np.full((300, 1300), 9, np.uint8), np.full((12, 12), 9, np.uint8)]
    page = sheet(images, width=400, most_height=200, least_cell=64)
    assert page.scale == 0.25
    assert page.boxes[0].tolist() == [6, 6, 325, 75]
    assert page.boxes[1][2:].tolist() == [64, 3]
    assert page.boxes[:, 0].max() + 64 <= 400


def test_the_scale_bar_is_a_round_length_of_about_60_px():
    page = sheet([np.zeros((20, 20), np.uint8)], width=400, most_height=400)
    assert page.scale == 2.0
    assert page.bar_um == 10
    assert page.px_of(page.bar_um) == 68.0


def test_what_never_fits_makes_the_sheet_higher_and_is_cut_nowhere():
    page = sheet([np.zeros((800, 900), np.uint8)] * 9, width=120, most_height=50)
    assert page.scale == 0.125
    assert page.height > 50
    assert (page.boxes[:, 0] + page.boxes[:, 2] <= 120).all()


def test_an_image_is_written_pixel_by_pixel():
    image = np.array([[0, 255], [7, 9]], np.uint8)
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(png(image)))), image)
    assert np.asarray(Pillow.open(io.BytesIO(png(image, 3)))).shape == (6, 6)

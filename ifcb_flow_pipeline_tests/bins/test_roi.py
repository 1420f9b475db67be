"""Images out of .roi bytes: hand-made files, cut files, damaged tables, real bins."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, MAX_SIDE_PX, RoiError, RoiTable, read_image, read_images

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "ifcb-samples"


def table_of(*rows: tuple[int, int, int], first_byte: int = 0) -> RoiTable:
    """Make a table of rows of (start_byte, width_px, height_px)."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return RoiTable(columns[0], columns[1], columns[2], first_byte)


# Reading


def test_an_image_is_stored_row_by_row():
    image = read_image(bytes([1, 2, 3, 4, 5, 6]), table_of((0, 3, 2)), 0)
    assert image.dtype == np.uint8
    assert image.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_start_byte_is_the_offset_as_it_stands_so_that_the_dummy_byte_of_v1_is_skipped():
    roi = bytes([0, 11, 12, 13, 14, 15, 0])
    table = table_of((1, 2, 2), (5, 1, 1), first_byte=FIRST_BYTE["v1"])
    images = read_images(roi, table).images
    assert images[0].tolist() == [[11, 12], [13, 14]]
    assert images[1].tolist() == [[15]]


def test_rows_without_an_image_are_neither_read_nor_missing():
    found = read_images(bytes([7]), table_of((0, 0, 0), (0, 1, 1), (999, 0, 5), (-1, 3, 0)))
    assert list(found.images) == [1]
    assert found.missing == {}


def test_images_are_read_only_views_whatever_the_kind_of_buffer():
    data = bytearray([1, 2, 3, 4])
    for roi in (bytes(data), memoryview(data), memoryview(bytes(data))):
        image = read_image(roi, table_of((0, 2, 2)), 0)
        assert not image.flags.writeable
        assert image.base is not None


def test_rows_may_stand_in_any_order_and_narrow_integers_do_not_overflow():
    roi = bytes(300 * 300) + bytes([9, 9])
    table = RoiTable(np.array([90_000, 0]), np.array([2, 300], np.int16), np.array([1, 300], np.int16), 0)
    found = read_images(roi, table)
    assert found.images[0].tolist() == [[9, 9]]
    assert found.images[1].shape == (300, 300)


# Damage


def test_a_truncated_file_names_the_bytes_needed_and_the_bytes_there():
    found = read_images(bytes(10), table_of((0, 3, 2), (6, 5, 2), (16, 1, 1)))
    assert list(found.images) == [0]
    assert found.missing[1] == (
        "row 1: the image of 5 x 2 px needs 10 bytes from byte 6 up to 16, the .roi file has 10"
    )
    assert list(found.missing) == [1, 2]


@pytest.mark.parametrize("roi", [b"", b"\0", b"\0\0"])
def test_an_empty_or_dummy_file_lacks_every_image(roi):
    found = read_images(roi, table_of((1, 2, 2), (5, 2, 2), first_byte=1))
    assert found.images == {}
    assert list(found.missing) == [0, 1]


@pytest.mark.parametrize(
    ("row", "first_byte", "message"),
    [
        ((-1, 2, 2), 0, "starts at byte -1"),
        ((0, 2, 2), 1, "starts at byte 0, before the first image at byte 1"),
        ((-4, 2, 2), 0, "starts at byte -4"),
        ((2**62, 2, 2), 0, "the .roi file has 100"),
        ((0, -2, -2), 0, "no image can be -2 x -2 px"),
        ((0, -2, 2), 0, "no image can be -2 x 2 px"),
        ((0, 2**32, 2**32), 0, "no image can be 4294967296 x 4294967296 px"),
        ((0, MAX_SIDE_PX + 1, 1), 0, "no image can be 2049 x 1 px"),
    ],
)
def test_impossible_offsets_and_sizes_are_refused(row, first_byte, message):
    table = table_of(row, first_byte=first_byte)
    with pytest.raises(RoiError, match=message):
        read_image(bytes(100), table, 0)
    assert message in read_images(bytes(100), table).missing[0]


def test_a_row_without_an_image_cannot_be_read_alone():
    with pytest.raises(RoiError, match="row 0: has no image"):
        read_image(bytes(9), table_of((0, 0, 0)), 0)


@pytest.mark.parametrize("row", [-1, 1])
def test_rows_outside_the_table_are_refused(row):
    with pytest.raises(RoiError, match="the table has 1 rows"):
        read_image(bytes(9), table_of((0, 1, 1)), row)


def test_columns_that_do_not_fit_together_are_refused():
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(RoiError, match="start_byte 1, width_px 2, height_px 2"):
        RoiTable(one, two, two, 0)
    with pytest.raises(RoiError, match="height_px must be one column of whole numbers, not 1-D float64"):
        RoiTable(two, two, np.zeros(2), 0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RoiError, match="not 2-D int64"):
        RoiTable(two.reshape(1, 2), two, two, 0)


# Round trips

SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8)


def write(sizes: list[tuple[int, int]], first_byte: int) -> tuple[bytes, RoiTable, dict[int, np.ndarray]]:
    """Make a file of numbered pixels, its table, and the images that went into it."""
    roi, rows, images = bytes(first_byte), [], {}
    for row, (width, height) in enumerate(sizes):
        rows.append((len(roi), width, height))
        if width * height:
            pixels = (np.arange(width * height) + 31 * row) % 251
            images[row] = pixels.astype(np.uint8).reshape(height, width)
            roi += images[row].tobytes()
    return roi, table_of(*rows, first_byte=first_byte), images


@given(SIZES, st.sampled_from([0, 1]))
def test_written_images_are_read_back(sizes, first_byte):
    roi, table, images = write(sizes, first_byte)
    found = read_images(roi, table)
    assert found.missing == {}
    assert found.images.keys() == images.keys()
    assert all(np.array_equal(found.images[row], images[row]) for row in images)


@given(SIZES, st.sampled_from([0, 1]), st.data())
def test_a_file_cut_anywhere_lacks_exactly_the_images_that_end_after_the_cut(sizes, first_byte, data):
    roi, table, images = write(sizes, first_byte)
    cut = data.draw(st.integers(0, len(roi)))
    ends = {row: int(table.start_byte[row]) + image.size for row, image in images.items()}
    found = read_images(roi[:cut], table)
    assert set(found.missing) == {row for row, end in ends.items() if end > cut}
    assert set(found.images) == {row for row, end in ends.items() if end <= cut}
    assert all(np.array_equal(image, images[row]) for row, image in found.images.items())


WILD = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 30)


@given(st.binary(max_size=60), st.lists(st.tuples(WILD, WILD, WILD), max_size=6), st.sampled_from([0, 1]))
def test_no_table_reads_outside_the_file_or_loses_a_row(roi, rows, first_byte):
    found = read_images(roi, table_of(*rows, first_byte=first_byte))
    assert set(found.images) | set(found.missing) == {i for i, (_, w, h) in enumerate(rows) if w and h}
    assert not set(found.images) & set(found.missing)
    for row, image in found.images.items():
        start, width, height = rows[row]
        assert image.shape == (height, width)
        assert image.tobytes() == roi[start : start + width * height]


# Real bins


def real_table(adc: Path, schema: str) -> RoiTable:
    start, width, height = (13, 11, 12) if schema == "v1" else (17, 15, 16)
    cells = [line.split(",") for line in adc.read_text().splitlines()]
    return table_of(
        *((int(row[start]), int(row[width]), int(row[height])) for row in cells),
        first_byte=FIRST_BYTE[schema],
    )


def wrap_jump(roi: bytes, table: RoiTable, row: int, shift: int) -> float:
    """Mean grey step between the last pixel of each image line and the first of the next.

    Opposite edges of an image differ, neighbours hardly do: the step is largest where lines really end.
    """
    start, width, height = int(table.start_byte[row]), int(table.width_px[row]), int(table.height_px[row])
    pixels = np.frombuffer(roi, np.uint8).astype(int)
    joints = start + shift + width * np.arange(1, height - 1)
    return float(np.abs(pixels[joints] - pixels[joints - 1]).mean())


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample bins beside the checkout")
@pytest.mark.parametrize(
    ("path", "schema", "count"),
    [
        ("2012/IFCB5_2012_028/IFCB5_2012_028_081515", "v1", 6),
        ("D2013/D20130526/D20130526T095207_IFCB013", "v2", 19),
        ("D2021/D20210308/D20210308T234128_IFCB147", "v2", 43),
        ("D2022/D20220519/D20220519T124533_IFCB134", "v2", 17),
    ],
)
def test_the_lines_of_real_images_end_where_the_table_says(path, schema, count):
    stem = SAMPLES / "archive" / path
    roi = stem.with_suffix(".roi").read_bytes()
    table = real_table(stem.with_suffix(".adc"), schema)
    found = read_images(roi, table)
    assert found.missing == {}
    assert len(found.images) == count
    steps = {shift: np.mean([wrap_jump(roi, table, row, shift) for row in found.images]) for shift in range(-4, 5)}
    assert steps[0] > 1.3 * max(step for shift, step in steps.items() if shift)

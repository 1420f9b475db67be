"""Files that are handed in: those of one bin are read as the archive's, all others are refused with a reason."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from ifcb_flow_pipeline.review.upload import (
    MAX_BYTES,
    MAX_PICTURE_BYTES,
    UploadError,
    check_files,
    check_size,
    uploaded_bin,
    uploaded_picture,
)
from ifcb_flow_pipeline.store.archive import Archive

PID = "D20230810T113059_IFCB134"
LINE = ",".join(["1", "0.05", *["0.1"] * 11, "900", "500", "80", "40", "0", *["0"] * 6])
ADC = "\n".join([LINE] * 40).encode() + b"\n"


def refused(*named: tuple[str, bytes]) -> str:
    with pytest.raises(UploadError) as caught:
        uploaded_bin(named)
    return str(caught.value)


def test_the_files_of_a_bin_are_read_as_the_archives_reader_reads_them(tmp_path):
    header = b"temperature: 21.5\n"
    bin_ = uploaded_bin([(f"{PID}.hdr", header), (f"{PID}.adc", ADC), (f"{PID}.roi", b"1234")])
    (tmp_path / f"{PID}.adc").write_bytes(ADC)
    (tmp_path / f"{PID}.hdr").write_bytes(header)
    read, stored = bin_.read(), Archive(tmp_path).read_bin(PID, f"{PID}.adc", f"{PID}.hdr")
    assert (read.pid, read.status, read.reason, read.header) == (PID, "ok", "", stored.header)
    assert (read.adc.columns["x_px"] == stored.adc.columns["x_px"]).all()
    assert len(read.adc) == 40
    assert bin_.roi_bytes == 4


def test_an_adc_file_alone_is_enough():
    bin_ = uploaded_bin([(f"{PID}.adc", ADC)])
    assert bin_.roi_bytes is None
    assert bin_.read().header == {}


def test_a_truncated_file_is_read_as_far_as_it_goes_and_the_rest_is_told():
    read = uploaded_bin([(f"{PID}.adc", ADC[:-60])]).read()
    assert read.status == "ok"
    assert "1 of 40 ADC lines unusable" in read.reason


def test_a_file_of_another_schema_is_unreadable_and_says_why():
    read = uploaded_bin([("IFCB1_2009_216_075913.adc", ADC)]).read()
    assert read.status == "unreadable"
    assert "line 1" in read.reason


def test_the_name_may_come_with_a_path_and_in_capitals():
    assert uploaded_bin([(f"C:\\data\\{PID}.ADC", ADC)]).pid == PID
    assert uploaded_bin([(f"/data/{PID}.adc", ADC)]).pid == PID


@pytest.mark.parametrize("name", ["holiday.jpg", f"{PID}.csv", PID, f"{PID}.adc.gz"])
def test_other_files_are_refused_with_the_endings_that_are_expected(name):
    assert "end in .adc, .hdr or .roi" in refused((name, ADC))


@pytest.mark.parametrize("name", ["mybin.adc", "D20231310T113059_IFCB134.adc", ".adc", "<script>.adc"])
def test_a_name_that_is_not_that_of_a_bin_is_refused_with_what_it_should_say(name):
    assert "which instrument it is and when the run began" in refused((name, ADC))


def test_without_adc_there_is_nothing_to_judge():
    assert ".adc file is missing" in refused((f"{PID}.hdr", b"temperature: 21.5\n"))
    assert ".adc file is missing" in refused()


def test_files_of_two_bins_are_refused_by_name():
    said = refused((f"{PID}.adc", ADC), ("D20230810T115500_IFCB134.hdr", b"temperature: 21.5\n"))
    assert PID in said
    assert "of different bins" in said


def test_two_files_of_a_kind_are_refused():
    assert "two .adc files" in refused((f"{PID}.adc", ADC), ("D20230810T115500_IFCB134.adc", ADC))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b" \r\n\n", "is empty"), (b"\x89PNG\0\0\0" * 9, "not a text file"), (b"hello\n", "commas")],
)
def test_content_that_is_none_of_an_adc_file_is_told(content, said):
    assert said in refused((f"{PID}.adc", content))


def test_a_file_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(UploadError, match=r"51 MB; a \.adc file of up to 50 MB"):
        check_size(f"{PID}.adc", MAX_BYTES["adc"] + 10**6)
    check_size(f"{PID}.adc", MAX_BYTES["adc"])


def test_more_files_than_a_bin_has_and_files_that_are_too_large_are_refused_before_they_are_read():
    check_files([(f"{PID}.{extension}", 10) for extension in MAX_BYTES])
    with pytest.raises(UploadError, match="these are 4 files, and a bin has 3"):
        check_files([(f"{PID}.adc", 10)] * 4)
    with pytest.raises(UploadError, match="is taken, and the instrument writes none that is larger"):
        check_files([(f"{PID}.adc", 10), (f"{PID}.roi", MAX_BYTES["roi"] + 1)])
    with pytest.raises(UploadError, match="is not an IFCB file"):
        check_files([("../../etc/passwd", 10)])


def pixels(size=(30, 20), mode="L", ending="PNG", **options):
    content = io.BytesIO()
    Pillow.new(mode, size, 200).save(content, ending, **options)
    return content.getvalue()


def test_a_picture_is_its_grey_values():
    image = np.random.default_rng(1).integers(0, 256, (20, 30)).astype(np.uint8)
    content = io.BytesIO()
    Pillow.fromarray(image).save(content, "PNG")
    assert np.array_equal(uploaded_picture("a.png", content.getvalue()), image)
    assert uploaded_picture("a.png", pixels(mode="RGB", size=(5, 9))).shape == (9, 5)


def test_sixteen_bits_become_eight():
    content = io.BytesIO()
    Pillow.fromarray(np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16)).save(content, "TIFF")
    assert uploaded_picture("a.tif", content.getvalue()).tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_a_picture_lies_as_its_pixels_do_whatever_its_exif_says():
    exif = Pillow.Exif()
    exif[274] = 6  # turned by a quarter
    assert uploaded_picture("a.jpg", pixels(ending="JPEG", exif=exif)).shape == (20, 30)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "a.png is no PNG, JPEG or TIFF"),
        ("a.png", pixels()[:40], "a.png is no PNG, JPEG or TIFF"),
        ("a.png", pixels(ending="GIF"), "a.png is no PNG, JPEG or TIFF"),
        ("a.png", pixels(size=(3000, 2)), "has 3000 x 2 px; an image has sides of 1 to 2048 px"),
        ("a.png", b"x" * (MAX_PICTURE_BYTES + 1), "pictures of up to 16 MB"),
        ("a.bmp", pixels(ending="BMP"), "a.bmp is no picture"),
    ],
)
def test_what_is_no_picture_of_an_image_is_refused(name, content, message):
    with pytest.raises(UploadError, match=message):
        uploaded_picture(name, content)


def test_a_picture_that_would_unpack_to_gigabytes_is_refused_before_it_is():
    small = bytearray(pixels())
    small[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in its header
    small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
    with pytest.raises(UploadError, match=r"no PNG|sides of 1 to"):
        uploaded_picture("a.png", bytes(small))


def test_many_pictures_are_refused_before_they_are_read():
    with pytest.raises(UploadError, match="up to 24 at a time"):
        check_files([(f"{number}.png", 10) for number in range(25)])

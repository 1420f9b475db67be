"""The page "Try a bin" without a browser: files that are handed in or named, good and bad ones."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from streamlit.testing.v1 import AppTest

from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import checked, open_page, said

PID = "D20260305T060000_IFCB101"
LINE = ",".join(["{0}", "{0}", *["0.1"] * 11, "9{1:02}", "{2}", "80", "40", "0", *["0"] * 6])
ADC = "\n".join(LINE.format(number, number % 60, 100 + 2 * number) for number in range(1, 301)).encode() + b"\n"


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    named = [(name, content, "application/octet-stream") for name, content in files]
    return checked(app.file_uploader(key="try_files").set_value(named).run())


@pytest.fixture
def store(home: Path) -> Path:
    return reviewed.write_review_store(home)


def test_without_a_model_a_bin_is_shown_without_a_verdict(home: Path):
    app = upload(open_page("try_a_bin"), (f"{PID}.adc", ADC))
    assert "There is no model yet" in said(app)
    assert len(app.get("vega_lite_chart")) == 2
    assert not app.error


def test_a_good_file_has_its_verdict_features_and_charts(store: Path):
    app = upload(open_page("try_a_bin"), (f"{PID}.adc", ADC), (f"{PID}.hdr", b"temperature: 21.5\n"))
    assert not app.error
    assert "Model: iforest" in said(app)
    features = app.dataframe[-1].value.set_index("feature")["value"]
    assert features["triggers"] == 300
    header = next(frame.value for frame in app.dataframe if "header" in frame.value.columns)
    assert header["value"].tolist() == ["21.5 °C"]


def test_nothing_of_a_bin_that_was_handed_in_is_kept(store: Path):
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    upload(open_page("try_a_bin"), (f"{PID}.adc", ADC))
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("holiday.txt", b"\xff\xd8", "end in .adc, .hdr or .roi"),
        ("holiday.jpg", b"\xff\xd8", "no PNG, JPEG or TIFF that can be read"),
        ("[x](evil) <b>.adc", ADC, "[x](evil) <b>.adc is not that of a bin"),
        (f"{PID}.adc", b"", "is empty"),
        (f"{PID}.adc", b"\0\1\2" * 99, "not a text file"),
        (f"{PID}.hdr", b"temperature: 21.5\n", ".adc file is missing"),
    ],
)
def test_a_bad_file_is_refused_with_a_message_that_says_why(store: Path, name: str, content: bytes, message: str):
    app = upload(open_page("try_a_bin"), (name, content))
    assert message in app.error[0].value.replace("\\", "")
    assert not app.get("vega_lite_chart")


def test_a_file_of_another_kind_of_instrument_is_unreadable_in_words(store: Path):
    app = upload(open_page("try_a_bin"), ("IFCB1_2009_216_075913.adc", ADC))
    assert "unreadable" in said(app).lower()
    assert "No point cloud" in said(app)


def test_a_file_of_the_archive_is_named_by_its_path_and_none_outside_of_it_is_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = store / "archive"
    (archive / "D20260305").mkdir(parents=True)
    (archive / "D20260305" / f"{PID}.adc").write_bytes(ADC)
    (store / f"{PID}.adc").write_bytes(ADC)
    monkeypatch.setenv("IFCB_DATA_DIR", str(archive))
    app = open_page("try_a_bin")
    checked(app.button_group(key="from").set_value("archive").run())
    checked(app.text_input(key="try_path").input(f"D20260305/{PID}.adc").run())
    assert not app.error
    assert "Model: iforest" in said(app)
    for outside in (f"../{PID}.adc", "/etc/passwd", str(store / f"{PID}.adc")):
        checked(app.text_input(key="try_path").input(outside).run())
        assert "There is no .adc file" in app.error[0].value.replace("\\", "")


def test_images_of_the_roi_file_are_shown_and_missing_ones_told(store: Path):
    app = upload(open_page("try_a_bin"), (f"{PID}.adc", ADC), (f"{PID}.roi", b"\x80" * 3200))
    assert "of 300 images looked at" in said(app)
    app = upload(open_page("try_a_bin"), (f"{PID}.adc", ADC), (f"{PID}.roi", b"\x80" * 100))
    assert "images could not be read: the .roi file is damaged or cut off." in said(app)


def picture(shape: tuple[int, int] = (90, 120), ending: str = "PNG") -> bytes:
    """A dark disc on a noisy background, as a file of a picture."""
    down, across = np.mgrid[: shape[0], : shape[1]]
    grey = 190 + np.random.default_rng(3).normal(0, 1.5, shape)
    grey[np.hypot(down - shape[0] / 2, across - shape[1] / 2) < 20] -= 80
    content = io.BytesIO()
    Pillow.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(content, ending)
    return content.getvalue()


@pytest.mark.parametrize(("name", "ending"), [("one.png", "PNG"), ("one.JPG", "JPEG"), ("one.tif", "TIFF")])
def test_a_picture_is_judged_without_a_model_of_bins(home: Path, name: str, ending: str):
    app = upload(open_page("try_a_bin"), (name, picture(ending=ending)))
    assert not app.error
    text = said(app)
    assert "120 x 90 px, about 35 x 26 µm" in text
    assert "probability of any fault" in text
    assert list(home.iterdir()) == []


def test_pictures_and_the_files_of_a_bin_are_not_mixed(store: Path):
    app = upload(open_page("try_a_bin"), ("one.png", picture()), (f"{PID}.adc", ADC))
    assert "is no picture: upload pictures of images, or the files of one bin" in app.error[0].value.replace("\\", "")

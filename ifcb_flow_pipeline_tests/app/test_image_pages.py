"""The pages "Gallery" and "Image" without a browser: orders, filters, pages, what is said of an image, its labels."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ifcb_flow_pipeline.store.image_labels import ImageLabelStore
from ifcb_flow_pipeline_tests.app.reviewed import SINGLE, WORST, checked, open_page, press, said

#: The images of the worst bin, by number, and the one that is a bubble.
FIRST, LAST, BUBBLE = 26, 300, 299


def labels(store: Path) -> list[tuple[int, str, str]]:
    return [(one.roi, one.kind, one.label) for one in ImageLabelStore(store / "labels.sqlite").current()]


def roi(app: AppTest) -> str:
    value = app.query_params["roi"]
    return value if isinstance(value, str) else value[-1]


def test_a_gallery_shows_a_page_of_images_and_leads_to_the_others(store: Path):
    app = open_page("gallery", bin=WORST, every="1", order="time")
    assert "1 to 48 of 275 images; " in said(app).replace("*", "")
    app = press(app, "go_Right")
    assert "49 to 96 of 275 images" in said(app).replace("*", "")
    assert app.query_params["page"] in ("2", ["2"])
    # Another order begins anew.
    app = checked(app.button_group(key="order").set_value("size").run())
    assert "1 to 48 of 275 images" in said(app).replace("*", "")


def test_a_gallery_is_of_the_faults_of_its_address_and_says_so_where_there_are_none(store: Path):
    app = open_page("gallery", bin=WORST, every="1", fault="bubble")
    assert "1 to 1 of 1 image" in said(app).replace("*", "")
    app = open_page("gallery", bin=WORST, every="1", fault="bubble", **{"class": "group 1"})
    assert len(app.get("vega_lite_chart")) <= 1


def test_a_bin_without_images_says_so(store: Path):
    assert "No .roi file in the archive for this bin" in said(open_page("gallery", bin=SINGLE))
    assert "No .roi file in the archive for this bin" in said(open_page("image", pid=SINGLE, roi="30"))
    (store / "archive" / f"{WORST}.roi").unlink()
    assert "Is IFCB_DATA_DIR set" in said(open_page("gallery", bin=WORST))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"pid": WORST, "roi": "5"}, "Trigger 5 made no image."),
        ({"pid": WORST, "roi": "301"}, "Row 301 is beyond the end of the .adc file, which has 300 rows."),
        ({"pid": WORST, "roi": "-1"}, "No image is chosen"),
        ({"pid": "nonsense", "roi": "1"}, "No image is chosen"),
        ({}, "No image is chosen"),
    ],
)
def test_an_image_that_does_not_exist_is_not_shown(store: Path, query: dict[str, str], message: str):
    assert message in said(open_page("image", **query))


def test_an_image_says_its_fault_with_reasons_and_what_is_like_it(store: Path):
    app = open_page("image", pid=WORST, roi=str(BUBBLE))
    text = said(app)
    assert ":red-badge[bubble]" in text
    assert "What speaks for bubble" in text
    assert "Nearest known images: " in text
    assert "80 x 80 px, about 24 x 24 µm" in text
    assert any("normally" in html.proto.body for html in app.get("html"))
    assert len(app.get("vega_lite_chart")) == 2  # its place in the frame, and similar ones


def test_a_label_is_kept_opens_the_next_image_and_undo_leads_back(store: Path):
    app = open_page("image", pid=WORST, roi=str(FIRST), order="time", every="1")
    app = press(app, "label_fault_clean")
    assert roi(app) == str(FIRST + 1)
    app = press(app, "label_fault_bubble")
    assert labels(store) == [(FIRST, "fault", "clean"), (FIRST + 1, "fault", "bubble")]
    app = press(app, "label_undo")
    assert roi(app) == str(FIRST + 1)
    assert labels(store) == [(FIRST, "fault", "clean")]
    app = press(app, "go_Left")
    assert "no fault" in said(app)
    assert "said Ada" in said(app)


def test_a_class_is_chosen_or_typed_and_given_again_by_key(store: Path):
    app = open_page("image", pid=WORST, roi=str(FIRST), order="time", every="1")
    app = checked(app.selectbox(key="image_label_class").set_value("Tripos").run())
    assert roi(app) == str(FIRST + 1)
    app = press(app, "label_class_Tripos")
    assert labels(store) == [(FIRST, "class", "Tripos"), (FIRST + 1, "class", "Tripos")]


def test_next_follows_the_order_and_the_filter_of_the_gallery(store: Path):
    app = open_page("image", pid=WORST, roi=str(BUBBLE), fault="bubble", every="1")
    assert app.button(key="go_Right").disabled
    assert app.button(key="go_Left").disabled
    app = open_page("image", pid=WORST, roi=str(LAST), order="time", every="1")
    assert app.button(key="go_Right").disabled
    assert roi(press(app, "go_Left")) == str(BUBBLE)


def test_the_bin_page_shows_the_image_of_its_address_beside_the_cloud(store: Path):
    text = said(open_page("bin", bin=WORST, roi=str(BUBBLE)))
    assert f"**Image {BUBBLE}**: bubble" in text
    assert "200 of 275 images looked at" in text or "of 275 images looked at" in text
    assert "Trigger 5 made no image." in said(open_page("bin", bin=WORST, roi="5"))


def test_the_window_is_shown_week_by_week_where_bins_have_images(store: Path):
    app = open_page("window", instrument="IFCB101")
    assert "Week of 2026-03-02**: 1 bin, " in said(app)
    assert len(app.get("image")) == 1
    assert "No bin of IFCB102" in said(open_page("window", instrument="IFCB102"))


def test_triage_shows_images_and_a_blind_study_says_nothing_of_them(store: Path):
    app = open_page("triage", period="all", bin=WORST)
    assert "Images, likeliest faults first" in said(app)
    assert "of 275 images looked at" in said(app)

"""Pictures: real PNGs whatever the numbers, every score in its bar, and no state between threads."""

import struct
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ifcb_flow_pipeline.pictures import BLUE, ORANGE, cloud_picture, comparison_picture, severity_picture


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG, which is checked to be one to its end."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    assert png[-8:-4] == b"IEND"
    return struct.unpack(">II", png[16:24])


def cloud(xs: list[int], ys: list[int], side: int = 30) -> dict[str, np.ndarray]:
    columns = {"x_px": xs, "y_px": ys, "width_px": [side] * len(xs), "height_px": [side] * len(xs)}
    return {name: np.array(values, dtype=np.int16) for name, values in columns.items()}


def drawn(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], bytes]) -> Figure:
    """The figure that a picture is made of."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    draw()
    (figure,) = figures
    return figure


# Clouds


@pytest.mark.parametrize(
    "columns",
    [
        cloud([], []),
        cloud([700], [500]),
        cloud([0, 0, 0], [0, 0, 0], side=0),
        cloud([5] * 50, [5] * 50),
        cloud([-11, 1359], [-11, 1023]),
        cloud([-32768, 32767], [-32768, 32767]),
    ],
    ids=["empty", "one", "no images", "constant", "older schema", "extremes"],
)
def test_any_cloud_gives_a_picture_of_the_same_size(columns):
    assert size_of(cloud_picture(columns, "v2", "title")) == size_of(
        cloud_picture(cloud([1, 2], [3, 4]), "v1", "other")
    )


def test_a_cloud_shows_its_images_and_its_triggers_without_image(monkeypatch):
    columns = cloud([10, 20, 30], [1, 2, 3])
    columns["width_px"][1] = 0
    figure = drawn(monkeypatch, lambda: cloud_picture(columns, "v2", "D20230810T113059_IFCB134"))
    axes = figure.axes[0]
    images, others = (np.asarray(points.get_offsets()).tolist() for points in axes.collections)
    assert (images, others) == ([[10, 1], [30, 3]], [[20, 2]])
    assert axes.get_title() == "D20230810T113059_IFCB134"
    assert "no image (1)" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("lowest", [500, 1024, 1500, 32760, 32767])
def test_a_cloud_has_its_lowest_point_inside_the_picture_and_the_first_line_of_the_camera_on_top(monkeypatch, lowest):
    axes = drawn(monkeypatch, lambda: cloud_picture(cloud([5, 6], [0, lowest]), "v2", "")).axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > max(lowest, 1024)
    assert top == -40


# Scores


SCORES = [
    np.zeros(0),
    np.array([-0.5]),
    np.full(9, -0.5),
    np.array([np.nan, np.nan]),
    np.array([-0.5, np.nan, -0.6, np.inf]),
    np.linspace(-0.9, -0.3, 500),
]
SCORE_IDS = ["empty", "one", "constant", "unscored", "some unscored", "many"]


@pytest.mark.parametrize("scores", SCORES, ids=SCORE_IDS)
@pytest.mark.parametrize("threshold", [50.0, 60.5, 0.1, 100.0])
def test_any_severities_give_a_picture(scores, threshold):
    assert size_of(severity_picture(-100.0 * scores, threshold, "title")) == (384, 208)


@settings(max_examples=60)
@given(
    st.lists(st.floats(0, 100), max_size=30),
    st.one_of(st.floats(1, 100), st.sampled_from([50.0, 52.5, 35.0])),
    st.booleans(),
)
def test_every_severity_is_in_a_bar_and_no_bar_mixes_both_sides_of_the_threshold(scores, threshold, on_it):
    scores = np.array([*scores, np.nan, *([threshold] if on_it else [])])
    with pytest.MonkeyPatch.context() as monkeypatch:
        axes = drawn(monkeypatch, lambda: severity_picture(scores, threshold, "")).axes[0]
    finite = scores[np.isfinite(scores)]
    bars = dict.fromkeys((BLUE, ORANGE), 0.0)
    for bar in axes.patches:
        bars[ORANGE if bar.get_facecolor()[0] > 0.5 else BLUE] += bar.get_height()
    assert bars == {ORANGE: np.sum(finite >= threshold), BLUE: np.sum(finite < threshold)}


# Comparisons


@pytest.mark.parametrize("one", SCORES, ids=SCORE_IDS)
@pytest.mark.parametrize("other", [SCORES[0], SCORES[-1]], ids=["none", "many"])
def test_any_two_distributions_give_a_picture(one, other):
    assert size_of(comparison_picture(("mine", "theirs"), (one, other), "title")) == (1050, 750)


def test_a_comparison_says_how_many_bins_have_a_score_and_their_medians(monkeypatch):
    scores = (np.array([-0.5, -0.7, -0.6, np.nan]), np.array([np.nan]))
    axes = drawn(monkeypatch, lambda: comparison_picture(("mine", "theirs"), scores, "T")).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["mine\n3 bins", "theirs\n0 bins"]
    assert [text.get_text() for text in axes.texts] == ["median -0.600"]


# Threads


def test_two_threads_draw_at_once_what_each_draws_alone():
    tasks = [
        lambda: cloud_picture(cloud(list(range(0, 900, 9)), list(range(100))), "v2", "one"),
        lambda: severity_picture(-100.0 * SCORES[-1], 60.0, "two"),
    ]
    alone = [task() for task in tasks]
    together: list[set[bytes]] = [set(), set()]
    start = threading.Barrier(2)

    def draw(i: int) -> None:
        start.wait()
        together[i] |= {tasks[i]() for _ in range(4)}

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [{alone[0]}, {alone[1]}]


def test_drawing_needs_no_pyplot(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    severity_picture(-100.0 * SCORES[-1], 60.0, "")
    assert "matplotlib.pyplot" not in sys.modules

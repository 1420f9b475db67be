"""Thumbnails: short enough to be shown in place, and valid SVG, whatever they show."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.thumbnails import MAX_CHARACTERS, cloud_thumbnail, severity_thumbnail

SVG = "{http://www.w3.org/2000/svg}"


def paths(address: str) -> dict[str, str]:
    """The drawn paths by colour."""
    scheme, _, text = address.partition(",")
    assert scheme == "data:image/svg+xml"
    assert len(address) <= MAX_CHARACTERS
    assert not set(" ()\n") & set(address), "would end the address in Markdown"
    root = ET.fromstring(unquote(text))  # noqa: S314 - our own picture
    return {path.attrib["stroke"]: path.attrib["d"] for path in root.iter(f"{SVG}path")}


def cloud(x: list[int], y: list[int], width: int = 80) -> dict[str, np.ndarray]:
    n = len(x)
    return {
        "x_px": np.array(x, np.int16),
        "y_px": np.array(y, np.int16),
        "width_px": np.full(n, width, np.int16),
        "height_px": np.full(n, 40, np.int16),
    }


def test_bad_bins_are_orange_and_the_others_blue() -> None:
    drawn = paths(severity_thumbnail(np.array([3.0, 20.0, 48.0, 51.0, 100.0]), 50.0))
    assert drawn["darkorange"].count("M") == 2
    assert drawn["steelblue"].count("M") == 3


@given(st.lists(st.floats(0, 100), max_size=300), st.floats(1, 100))
def test_severities_always_make_a_short_picture(severities: list[float], threshold: float) -> None:
    paths(severity_thumbnail(np.array([*severities, np.nan]), threshold))


def test_an_image_is_a_square_where_it_is_in_the_frame() -> None:
    assert paths(cloud_thumbnail(cloud([85], [205]), "v2"))["skyblue"] == "M2,5.5h1"


def test_neighbouring_squares_are_one_stroke() -> None:
    assert paths(cloud_thumbnail(cloud([0, 40, 80], [0, 0, 0]), "v2"))["skyblue"] == "M0,0.5h3"


def test_a_crowded_square_is_dark() -> None:
    drawn = paths(cloud_thumbnail(cloud([85] * 5 + [500], [205] * 6), "v2"))
    assert drawn["navy"] == "M2,5.5h1"
    assert drawn["skyblue"].count("M") == 2


def test_triggers_without_image_are_not_drawn() -> None:
    assert "skyblue" not in paths(cloud_thumbnail(cloud([0, 0], [0, 0], width=0), "v2"))


@pytest.mark.parametrize("schema", ["v1", "v2"])
@pytest.mark.parametrize("n", [100, 300, 3000])
def test_a_cloud_all_over_the_frame_is_shown_all_over_the_frame(schema, n: int) -> None:
    rng = np.random.default_rng(0)
    scattered = cloud(rng.integers(0, 1360, n).tolist(), rng.integers(0, 1024, n).tolist())
    address = cloud_thumbnail(scattered, schema)
    runs = re.findall(r"M(\d+),(\d+)\.5h(\d+)", paths(address)["skyblue"])
    across, down = (int(side) for side in re.findall(r"viewBox='0 0 (\d+) (\d+)'", unquote(address))[0])
    filled = {(int(x) + i, int(y)) for x, y, length in runs for i in range(int(length))}
    assert len(filled) > across * down / 4
    assert {x for x, _ in filled} == set(range(across)) - ({across - 1} if schema == "v1" else set())


def test_positions_outside_the_frame_do_no_harm() -> None:
    assert "skyblue" not in paths(cloud_thumbnail(cloud([-11, 3000], [-11, 1831]), "v2"))

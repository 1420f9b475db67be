"""Simulated images look like an IFCB's, are the same every time, and each fault of the optics shows as it should."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ifcb_flow_pipeline.simulate import FAULTS, SimulatedBin, files_of, simulate_bin

from .measures import V2_PID

Images = list[NDArray[np.float64]]


def roi_of(simulated: SimulatedBin) -> bytes:
    roi = files_of(simulated, with_images=True).roi
    assert roi is not None
    return roi


def images_of(fault: str | None = None, severity: float = 0.9, pid: str = V2_PID, n: int = 150) -> Images:
    simulated = simulate_bin(pid, fault=fault, severity=severity, seed=4, mean_triggers=n)
    content = roi_of(simulated)
    rows = np.flatnonzero(simulated.has_image)
    boxes = zip(*(simulated.columns[name][rows] for name in ("roi_width", "roi_height", "start_byte")), strict=True)
    return [np.frombuffer(content, np.uint8, w * h, start).reshape(h, w).astype(float) for w, h, start in boxes]


def background(images: Images) -> float:
    return float(np.median([np.median(image[:, :4]) for image in images]))


def noise(images: Images) -> float:
    """Of neighbours in the left margin, where no particle is."""
    return float(np.median([np.std(np.diff(image[:, :6], axis=0)) / np.sqrt(2) for image in images]))


def sharpness(images: Images) -> float:
    """The steepest change along the flow, grey levels a px."""
    return float(np.median([np.percentile(np.abs(np.diff(image, axis=1)), 99) for image in images]))


def tilt(images: Images) -> float:
    """By how much the right margin is brighter than the left, relative to both."""
    return float(np.median([image[:, -6:].mean() / image[:, :6].mean() - 1 for image in images]))


def test_the_background_is_bright_and_even_and_particles_are_darker():
    images = images_of()
    assert 165 < background(images) < 212
    assert 1 < noise(images) < 3
    assert np.mean([image.min() for image in images]) < background(images) - 50


def test_instruments_have_backgrounds_of_their_own():
    assert abs(background(images_of()) - background(images_of(pid="D20230810T113059_IFCB124"))) > 1


def test_the_same_bin_has_the_same_images_and_another_seed_has_others():
    first, again, other = (roi_of(simulate_bin(V2_PID, seed=seed, mean_triggers=50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


SHOWS: dict[str, Callable[[Images, Images], bool]] = {
    "dim_flash": lambda bad, good: background(bad) < 0.75 * background(good),
    "uneven_light": lambda bad, good: abs(tilt(bad)) > 0.05 > 5 * abs(tilt(good)),
    "motion_blur": lambda bad, good: sharpness(bad) < 0.6 * sharpness(good),
    "camera_noise": lambda bad, good: noise(bad) > 3 * noise(good),
    "out_of_focus": lambda bad, good: sharpness(bad) < 0.6 * sharpness(good) and noise(bad) < 1.2 * noise(good),
    "focus_loss": lambda bad, good: sharpness(bad) < 0.85 * sharpness(good),
    "edge_clipping": lambda bad, good: noise(bad) > 2 * noise(good),
}


@pytest.mark.parametrize("name", SHOWS)
def test_a_fault_of_the_optics_shows_in_the_images(name: str):
    assert SHOWS[name](images_of(name), images_of())


def test_dirt_on_the_window_darkens_the_same_few_places_of_the_frame_in_every_image_that_shows_them():
    simulated = simulate_bin(V2_PID, seed=4, mean_triggers=400)
    corners = np.stack([simulated.columns[name][simulated.has_image] for name in ("roi_y", "roi_x")], axis=1)
    clean, dirty = images_of(n=400), images_of("dirty_window", 1.0, n=400)
    darker = [np.argwhere(good - bad > 20) + corner for good, bad, corner in zip(clean, dirty, corners, strict=True)]
    places = {tuple(cell) for pixels in darker for cell in (pixels // 32).tolist()}
    assert sum(pixels.size > 0 for pixels in darker) > 20
    assert len(places) < 25


def test_bubbles_are_bright_in_the_middle_of_a_dark_ring():
    large = [image for image in images_of("air", 1.0) if min(image.shape) > 70 and max(image.shape) < 200]
    rings = []
    for image in large:
        down, across = (side // 2 for side in image.shape)
        radius = min(down - 1, across - 20)
        middle = image[down - 2 : down + 3, across - 2 : across + 3].mean()
        rings.append(middle - image[down, across + int(0.7 * radius) : across + int(0.86 * radius)].mean())
    assert np.median(rings) > 30


def test_faults_that_show_in_images_only_leave_the_other_files_alone():
    good = files_of(simulate_bin(V2_PID, seed=6, mean_triggers=40), with_images=True)
    for name in (name for name, fault in FAULTS.items() if fault.in_images_only):
        bad = files_of(simulate_bin(V2_PID, fault=name, severity=0.9, seed=6, mean_triggers=40), with_images=True)
        assert (bad.adc, bad.hdr) == (good.adc, good.hdr)
        assert bad.roi != good.roi

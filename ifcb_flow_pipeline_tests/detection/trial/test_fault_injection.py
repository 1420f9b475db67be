"""What is planted into a cloud: each fault does what it says, to nothing else, and the same each time."""

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, has_image, parse_adc
from ifcb_flow_pipeline.detection.trial.fault_injection import INJECTED, inject
from ifcb_flow_pipeline.simulate import simulate_bin
from ifcb_flow_pipeline.simulate.faults import files_of


@pytest.fixture(scope="module")
def healthy() -> dict[str, np.ndarray]:
    pid = "D20230810T120000_IFCB134"
    return dict(parse_adc(files_of(simulate_bin(pid, mean_triggers=2000, seed=3)).adc, "v2").columns)


def images(columns, name):
    return columns[name][has_image(columns)].astype(float)


@pytest.mark.parametrize("fault", INJECTED)
def test_a_planted_bin_has_the_columns_and_types_of_a_bin_and_lies_in_the_frame(healthy, fault):
    before = {name: values.copy() for name, values in healthy.items()}
    found = inject(fault, healthy, "v2", 1)
    assert {name: values.dtype for name, values in found.items()} == {c.name: np.dtype(c.dtype) for c in ADC_COLUMNS}
    assert len({len(values) for values in found.values()}) == 1
    with_image = has_image(found)
    assert with_image.sum() > 100
    for position, size, limit in (("x_px", "width_px", 1360), ("y_px", "height_px", 1024)):
        assert found[position][with_image].min() >= 0
        assert (found[position].astype(int) + found[size])[with_image].max() <= limit
    assert all(np.array_equal(values, before[name]) for name, values in healthy.items())
    again = inject(fault, healthy, "v2", 1)
    assert all(np.array_equal(values, again[name]) for name, values in found.items())


@pytest.mark.parametrize("fault", sorted(set(INJECTED) - {"electronics", "clog"}))
def test_positions_stay_on_the_lattice_of_the_bin(healthy, fault):
    def share_off(columns):
        inside = columns["x_px"][has_image(columns) & (columns["x_px"] > 0)]
        return float(np.mean(inside % 8 != np.bincount(inside % 8).argmax()))

    assert share_off(inject(fault, healthy, "v2", 1)) <= share_off(healthy) + 0.03


def test_air_is_anywhere_in_the_frame(healthy):
    found = inject("air", healthy, "v2", 1)
    away = np.abs(images(found, "x_px") - np.median(images(healthy, "x_px"))) > 200
    assert 0.3 < away.mean() < 0.5


def test_a_weak_sheath_flow_widens_the_core(healthy):
    width = [
        np.subtract(*np.percentile(images(c, "x_px"), (75, 25)))
        for c in (healthy, inject("sheath_flow", healthy, "v2", 1))
    ]
    assert 4 < width[1] / width[0] < 8


def test_a_rotated_camera_tilts_the_core(healthy):
    slope = [
        np.polyfit(images(c, "y_px"), images(c, "x_px"), 1)[0] for c in (healthy, inject("alignment", healthy, "v2", 1))
    ]
    assert slope[1] - slope[0] == pytest.approx(0.3, abs=0.05)


def test_a_moved_core_lies_120_px_to_the_left(healthy):
    moved = np.median(images(inject("laser", healthy, "v2", 1), "x_px")) - np.median(images(healthy, "x_px"))
    assert moved == -120


def test_a_stain_is_the_same_box_again_and_again_off_the_core(healthy):
    found = inject("stain", healthy, "v2", 1)
    boxes, counts = np.unique(
        np.column_stack([images(found, name) for name in ("x_px", "y_px", "width_px", "height_px")]),
        axis=0, return_counts=True,
    )  # fmt: skip
    assert 0.35 < counts.max() / counts.sum() < 0.45
    assert abs(boxes[counts.argmax()][0] - np.median(images(healthy, "x_px"))) > 150


def test_a_clog_leaves_few_triggers_after_four_tenths_of_the_run_and_the_end(healthy):
    found = inject("clog", healthy, "v2", 1)
    kept = len(found["t_s"]) / len(healthy["t_s"])
    assert kept == pytest.approx(0.46, abs=0.03)
    assert found["t_s"][-1] == healthy["t_s"][-1]
    assert set(np.diff(found["trigger"])) <= {0, 1}


def test_electronics_trigger_without_an_image(healthy):
    found = inject("electronics", healthy, "v2", 1)
    assert has_image(found).sum() / has_image(healthy).sum() == pytest.approx(0.4, abs=0.05)
    assert len(found["t_s"]) == len(healthy["t_s"])


@pytest.mark.parametrize("fault", INJECTED)
def test_a_bin_without_images_or_lines_can_be_planted_into(healthy, fault):
    for n in (0, 3):
        bare = {name: np.zeros(n, values.dtype) for name, values in healthy.items()}
        assert not has_image(inject(fault, bare, "v2", 1)).any()


def test_air_doubles_half_of_the_images_wherever_they_lie(healthy):
    found, with_image = inject("air", healthy, "v2", 1), has_image(healthy)
    moved = with_image & (found["width_px"] != healthy["width_px"])
    assert moved.sum() / with_image.sum() == pytest.approx(0.5, abs=0.04)
    for name, limit in (("width_px", 1360), ("height_px", 1024)):
        assert np.array_equal(found[name][moved], np.minimum(2 * healthy[name][moved].astype(int), limit))
    for name, size, limit in (("x_px", "width_px", 1360), ("y_px", "height_px", 1024)):
        assert np.array_equal(found[name][~moved], healthy[name][~moved])
        # All over the frame, as far as the box fits in.
        share = found[name][moved] / (limit - found[size][moved].astype(float))
        assert np.quantile(share, (0.1, 0.5, 0.9)) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)


@pytest.mark.parametrize(("fault", "slope_x", "slope_y"), [("sheath_flow", 5.0, 0.0), ("alignment", 0.0, 0.3)])
def test_images_move_by_their_place_to_the_next_step_of_the_lattice(healthy, fault, slope_x, slope_y):
    found = inject(fault, healthy, "v2", 1)
    x, y = images(healthy, "x_px"), images(healthy, "y_px")
    wanted = x + slope_x * (x - np.median(x)) + slope_y * (y - np.median(y))
    inside = (wanted > 8) & (wanted + images(healthy, "width_px") < 1352)
    assert inside.mean() > 0.5
    by = images(found, "x_px") - x
    assert np.abs(by + x - wanted)[inside].max() <= 4.0
    assert not (by[inside] % 8).any()


def test_a_stain_lies_240_px_from_where_its_box_was_towards_the_middle(healthy):
    found = inject("stain", healthy, "v2", 1)
    stained = np.flatnonzero(has_image(healthy) & (found["x_px"] != healthy["x_px"]))
    assert len(stained) / has_image(healthy).sum() == pytest.approx(0.4, abs=0.04)
    one = stained[0]
    assert found["x_px"][one] - int(healthy["x_px"][one]) == (-240 if healthy["x_px"][one] > 680 else 240)
    for name in ("y_px", "width_px", "height_px"):
        assert set(found[name][stained].tolist()) == {healthy[name][one]}


def test_a_clog_leaves_all_triggers_before_and_one_in_ten_after(healthy):
    found, n = inject("clog", healthy, "v2", 1), len(healthy["t_s"])
    before = int(0.4 * n)
    assert np.array_equal(found["t_s"][:before], healthy["t_s"][:before])
    assert (len(found["t_s"]) - before) / (n - before) == pytest.approx(0.1, abs=0.025)
    assert found["trigger"][0] == 1

"""Blind stretches and bubbles: toy bins, and plain loops as their oracle."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.full import full_features
from ifcb_flow_pipeline.features.stream import MIN_TRIGGERS

from .streams import feature, rows_of, simulated, stream_of, streams, with_columns

N = 3000
BLIND = ("blind_fraction", "longest_blind_s")


def without_images(stream, blank):
    """The stream with no image at these rows."""
    sizes = {name: np.where(blank, 0, stream.columns[name]) for name in ("width_px", "height_px")}
    return with_columns(stream, **sizes)


def steady(blank, **columns):
    """A run of 1200 s whose triggers, all as far from each other, have no image where told."""
    return without_images(stream_of(x_px=np.full(len(blank), 940), **columns), np.asarray(blank))


def random_blanks(share, n=N, seed=1):
    return np.random.default_rng(seed).random(n) < share


def blind_of(stream):
    values = full_features(stream)
    return tuple(values[name] for name in BLIND)


# Blind stretches


@pytest.mark.parametrize("share", [0.0, 0.004, 0.14, 0.4, 0.84, 0.95])
@pytest.mark.parametrize("n", [40, 300, 10_000])
def test_triggers_without_an_image_here_and_there_are_no_blind_stretch(share, n):
    assert blind_of(steady(random_blanks(share, n) & (np.arange(n) > 0))) == (0, 0)


@pytest.mark.parametrize("instrument", ["IFCB134", "IFCB1"])
@pytest.mark.parametrize("fault", [None, "air", "clog", "noise_trigger", "focus_loss", "stuck_roi"])
def test_no_simulated_bin_whose_camera_works_has_a_blind_stretch(fault, instrument):
    assert blind_of(simulated(3000, fault, instrument=instrument)) == (0, 0)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.14])
@pytest.mark.parametrize("seconds", [6, 25])
def test_some_seconds_without_an_image_in_mid_run_are_found_while_triggers_go_on(share, seconds):
    blank = random_blanks(share)
    t = (np.arange(N) + 0.5) * 1200 / N
    blank |= (t >= 500) & (t < 500 + seconds)
    fraction, longest = blind_of(steady(blank))
    # By chance the triggers on both sides may have no image, either.
    assert longest == pytest.approx(seconds, abs=2)
    assert fraction == pytest.approx(longest / 1199.6)


def test_a_run_that_is_blind_for_half_of_its_time_is_blind_by_half():
    blank = random_blanks(0.14) | (np.arange(N) >= N // 2)
    assert blind_of(steady(blank)) == pytest.approx((0.5, 600), rel=0.01)


def test_three_blocks_without_images_add_up_though_blind_triggers_come_faster():
    third = N // 3
    blank = np.arange(N) % third < 0.61 * third
    # Twice as fast while blind: the share of the time is less than that of the triggers.
    t = np.cumsum(np.where(blank, 0.5, 1.0))
    values = full_features(steady(blank, t_s=t, run_time_s=t))
    assert values["no_image_fraction"] == pytest.approx(0.61, abs=0.001)
    assert values["blind_fraction"] == pytest.approx(0.305 / (0.305 + 0.39), abs=0.005)
    assert values["longest_blind_s"] == pytest.approx(0.305 * third, rel=0.01)


def test_a_pause_without_triggers_is_not_blind():
    t = np.concatenate([np.linspace(1, 300, N // 2), np.linspace(900, 1199, N - N // 2)])
    blank = random_blanks(0.14)
    blank[N // 2 - 1 : N // 2 + 1] = True
    assert blind_of(steady(blank, t_s=t, run_time_s=t)) == (0, 0)


@pytest.mark.parametrize(("n_blank", "step_s"), [(9, 1.0), (100, 0.04)])
def test_too_few_triggers_and_too_short_a_time_are_no_blind_stretch(n_blank, step_s):
    blank = (np.arange(N) >= 1000) & (np.arange(N) < 1000 + n_blank)
    t = np.cumsum(np.where(blank, step_s, 0.4))
    assert blind_of(steady(blank, t_s=t)) == (0, 0)
    more = (np.arange(N) >= 1000) & (np.arange(N) < 1000 + 2 * n_blank)
    assert feature(steady(more, t_s=np.cumsum(np.where(more, step_s, 0.4))), "longest_blind_s") > 5


def test_of_a_run_over_midnight_the_stretches_are_those_of_one_that_is_not():
    blank = random_blanks(0.1) | (np.abs(np.arange(N) - N // 2) < 100)
    t = np.linspace(1, 1199, N)
    over = np.where(t > 600, t - 86_400, t)
    assert blind_of(steady(blank, t_s=over)) == pytest.approx(blind_of(steady(blank, t_s=t)))


def test_too_few_triggers_no_image_at_all_or_no_times_tell_nothing_of_blindness():
    few = steady(np.arange(MIN_TRIGGERS - 1) > 10)
    never = steady(np.ones(N, bool))
    still = steady(np.arange(N) > N // 2, t_s=np.zeros(N))
    for stream in (few, never, still):
        assert all(math.isnan(value) for value in blind_of(stream))
    assert full_features(never)["no_image_fraction"] == 1
    assert blind_of(steady(np.arange(MIN_TRIGGERS) > 10)) == pytest.approx((18 / 29, 18 * 40))


def triggers_of(stream) -> list[tuple[float, bool]]:
    """Time of each trigger, jumps over midnight undone, and whether it has an image."""
    names = ("trigger", "t_s", "width_px", "height_px")
    numbers, triggers, day, before = [], [], 0, None
    for number, t, width, height in zip(*(stream.columns[name].tolist() for name in names), strict=True):
        image = width > 0 and height > 0
        if numbers and numbers[-1] == number:
            triggers[-1] = triggers[-1][0], triggers[-1][1] or image
            continue
        day += before is not None and t - before < -43_200
        numbers.append(number)
        triggers.append((t + 86_400 * day, image))
        before = t
    return triggers


def slow_blind(stream) -> tuple[float, float]:
    """The two features once more, trigger by trigger."""
    triggers = triggers_of(stream)
    times, images = [t for t, _ in triggers], [image for _, image in triggers]
    if len(triggers) < 30 or not any(images) or not max(times) > min(times):
        return math.nan, math.nan
    # Between two images, and before the first and after the last, lie the rows of triggers without one.
    ends = [-1, *(place for place, image in enumerate(images) if image), len(images)]
    rows = [(first + 1, end) for first, end in itertools.pairwise(ends) if end > first + 1]
    counted = [image for place, image in enumerate(images) if place < 10 or any(images[place - 10 : place])]
    share, found = 1 - sum(counted) / len(counted), [0.0]
    for first, end in rows:
        seconds = times[min(end, len(times) - 1)] - times[first]
        if end - first >= 10 and seconds >= 5 and share ** (end - first) < 1e-6:
            found.append(seconds)
    return min(sum(found) / (max(times) - min(times)), 1), max(found)


@settings(max_examples=150)
@given(streams())
def test_of_any_bin_blind_stretches_are_those_that_a_plain_loop_finds(stream):
    assert blind_of(stream) == pytest.approx(slow_blind(stream), nan_ok=True)


@settings(max_examples=50)
@given(streams(), st.floats(0.5, 1.0))
def test_blindness_is_a_share_and_grows_with_a_stretch(stream, end):
    fraction, longest = blind_of(stream)
    assert math.isnan(fraction) or (0 <= fraction <= 1 and longest >= 0)
    n = 2000
    shorter, longer = ((np.arange(n) > n // 4) & (np.arange(n) < share * n) for share in (0.4, end))
    assert 0 < blind_of(steady(shorter))[0] < blind_of(steady(longer))[0]


# Bubbles


def bubbles(width, height, n=200) -> float:
    """The feature of a bin one in ten of whose boxes has this size; the others are 80 px wide and 42 px high."""
    is_large = np.arange(n) % 10 == 0
    sizes = {"width_px": np.where(is_large, width, 80), "height_px": np.where(is_large, height, 42)}
    return feature(stream_of(**sizes), "bubble_fraction")


@pytest.mark.parametrize(("width", "height"), [(155, 150), (210, 150), (510, 400), (210, 216), (180, 180)])
def test_large_round_boxes_are_bubbles(width, height):
    assert bubbles(width, height) == 0.1


@pytest.mark.parametrize(
    ("width", "height"), [(149, 149), (149, 200), (200, 149), (211, 150), (210, 217), (1000, 160), (300, 60)]
)
def test_small_and_long_boxes_are_none(width, height):
    assert bubbles(width, height) == 0


# A round box is 200 x 170 px, an oval one 300 x 170.
@pytest.mark.parametrize(("n_oval", "fraction"), [(0, 0.15), (10, 0.125), (18, 0.105), (19, 0.0), (30, 0.0), (60, 0.0)])
def test_half_as_many_round_boxes_as_ovals_are_chance_and_few_more_are_no_evidence(n_oval, fraction):
    assert rounds_and_ovals(30, n_oval) == pytest.approx(fraction)


@pytest.mark.parametrize(("n_small", "fraction"), [(0, 0.0), (2, 0.0), (3, 0.015), (40, 0.015)])
def test_smaller_round_boxes_show_that_large_ones_are_bubbles_but_are_not_counted(n_small, fraction):
    assert rounds_and_ovals(4, 2, n_small) == pytest.approx(fraction)


@pytest.mark.parametrize(("small", "fraction"), [((130, 100), 0.015), ((130, 99), 0.0), ((151, 100), 0.0)])
def test_boxes_show_roundness_from_100_px_on(small, fraction):
    assert rounds_and_ovals(4, 2, 20, small) == pytest.approx(fraction)


@pytest.mark.parametrize(("width", "expected"), [(323, 0.0), (324, 0.005)])
def test_ovals_reach_up_to_the_cube_of_the_ratio_of_round_boxes(width, expected):
    # 323 - 30 is 1.728 times 170 at most: with ovals, four round ones are no evidence.
    number = np.arange(200)
    sizes = {
        "width_px": np.select([number < 4, number < 8], [200, width], 80),
        "height_px": np.where(number < 8, 170, 42),
    }
    assert feature(stream_of(**sizes), "bubble_fraction") == pytest.approx(4 * expected)


def rounds_and_ovals(n_round, n_oval, n_small=0, small=(155, 120)) -> float:
    """The feature of 200 boxes, so many of which are large and round, large ovals, and of a size of their own."""
    number = np.arange(200)
    which = [number < n_round, number < n_round + n_oval, number < n_round + n_oval + n_small]
    width = np.select(which, [200, 300, small[0]], 80)
    height = np.select(which, [170, 170, small[1]], 42)
    return feature(stream_of(width_px=width, height_px=height), "bubble_fraction")


def test_with_too_few_images_bubbles_are_unknown():
    assert math.isnan(feature(rows_of(simulated(100), slice(0, 20)), "bubble_fraction"))


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(30, 200))
def test_bubbles_are_those_that_a_plain_loop_counts_wherever_they_are_and_in_any_order(seed, n):
    rng = np.random.default_rng(seed)
    # Some are rounder than chance, so that either answer comes often.
    width, height = np.where(
        rng.random(n) < rng.random(), rng.integers(180, 260, (2, n)), rng.integers(90, 300, (2, n))
    )
    counts = {150: [0, 0], 100: [0, 0]}
    for w, h in zip(width.tolist(), height.tolist(), strict=True):
        longer = max((w - 30) / h, h / (w - 30))
        for least, count in counts.items():
            if min(w, h) >= least and longer <= 1.2**3:
                count[int(longer > 1.2)] += 1
    shown = any(n_round - n_oval > 1.645 * math.sqrt(n_round + n_oval) for n_round, n_oval in counts.values())
    expected = max(counts[150][0] - counts[150][1] / 2, 0) / n if shown else 0.0
    places = {"x_px": rng.integers(0, 1000, n), "y_px": rng.integers(0, 700, n)}
    assert feature(stream_of(**places, width_px=width, height_px=height), "bubble_fraction") == expected
    order = rng.permutation(n)
    assert feature(stream_of(width_px=width[order], height_px=height[order]), "bubble_fraction") == expected

"""How faults and unusual waters look in the second simulator; severity from 0.1 (mild) to 1 (gross).

``CHANGES`` change a run: (generator, run, severity, generator of the episode, place in it). ``WATERS`` change the
water before it runs. Faults of files are in ``second_files``. The ranges follow the operators' descriptions.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.second_run import FRAME, Run, Water

#: Water in a closed housing evaporates: however dry the air was, it is at least so moist then, % relative humidity.
_WET_PCT = 25.0

Change = Callable[[np.random.Generator, Run, float, np.random.Generator, int], Run]


def _grade(severity: float, mild: float, gross: float) -> float:
    """Geometric between ``mild`` (severity 0.1) and ``gross`` (1)."""
    return float(mild * (gross / mild) ** ((severity - 0.1) / 0.9))


def _air(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    onset = run.length_s * (0 if place else lasting.uniform(0, 0.5))
    is_bubble = (run.time > onset) & (rng.random(run.n) < _grade(severity, 0.1, 0.9))
    swell = rng.lognormal(rng.uniform(0.3, 1.0), 0.6, run.n)
    bubbly = replace(
        run,
        x=np.where(is_bubble, rng.uniform(0, FRAME[0], run.n), run.x),
        y=np.where(is_bubble, rng.uniform(0, FRAME[1], run.n), run.y),
        width=np.where(is_bubble, run.width * swell, run.width),
        height=np.where(is_bubble, run.height * swell, run.height),
    )
    return bubbly.blanked(is_bubble & (rng.random(run.n) < _grade(severity, 0.1, 0.45)))


def _focus_loss(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    # The stream widens as a plume: along the flow and, less so, across it.
    plume = rng.normal(0, 1, (2, run.n))
    swell = rng.lognormal(0, 0.5 * severity, run.n)
    return replace(
        run,
        x=(run.x + _grade(severity, 20, 260) * plume[0]).clip(30, FRAME[0] - 30),
        y=(run.y + _grade(severity, 15, 220) * plume[1]).clip(20, FRAME[1] - 20),
        width=run.width * swell,
        height=run.height * swell,
        peak_b=run.peak_b * rng.lognormal(0, 0.9 * severity, run.n),
    )


def _speed(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    sign, is_ramp = lasting.choice([-1, 1]), lasting.random() < 0.3 and place == 0
    shift = sign * _grade(severity, 18, 150) + rng.normal(0, 1.5)
    course = np.clip(run.time / (0.6 * run.length_s), 0, 1) if is_ramp else np.ones(run.n)
    return replace(run, x=run.x + shift * course, flight=run.flight * (1 + shift * course / 500))


def _laser(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del place
    # The edge of the beam lights one side of the core only.
    depth = (run.y - run.rig.y_low) / (run.rig.y_high - run.rig.y_low)
    depth = 1 - depth if lasting.random() < 0.5 else depth
    light = 1 / (1 + np.exp((depth - _grade(severity, 0.95, 0.4)) * 8))
    kept = run.rows(rng.random(run.n) < light * _grade(severity, 0.7, 0.06))
    light = light[: kept.n]
    dark = rng.random(kept.n) < _grade(severity, 0.12, 0.8)
    weak = _grade(severity, 0.75, 0.15)
    return replace(kept, peak_a=kept.peak_a * weak, peak_b=0.011 + (kept.peak_b - 0.011) * weak).blanked(dark)


def _tilt(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del place
    slope = lasting.choice([-1, 1]) * _grade(severity, 0.05, 0.6) + rng.normal(0, 0.004)
    return replace(run, x=(run.x + slope * (run.y - 540)).clip(30, FRAME[0] - 30))


def _blur(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    swell = _grade(severity, 1.07, 1.6)
    is_faint = run.width < np.quantile(run.width, 0.6)
    lost = is_faint & (rng.random(run.n) < _grade(severity, 0.08, 0.6))
    return replace(run, width=run.width * swell, height=run.height * swell).blanked(lost)


def _stain(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    onset = 0 if place else lasting.uniform(0, 0.5) * run.length_s
    spot = lasting.uniform((120, 120, 64, 34), (FRAME[0] - 120, FRAME[1] - 120, 190, 110))
    is_first = np.diff(run.trigger, prepend=-1) != 0
    shows = is_first & (run.time > onset) & (rng.random(run.n) < _grade(severity, 0.05, 0.95))
    doubled = np.repeat(np.arange(run.n), np.where(shows & (run.width > 0), 2, 1))
    more = run.rows(doubled)
    is_spot = (np.diff(doubled, prepend=-1) == 0) | (shows & (run.width == 0))[doubled]
    # Its lower left corner stays, the blob's outline flickers.
    grown = rng.choice([0, 0, 0, 8], (2, more.n))
    return replace(
        more,
        x=np.where(is_spot, spot[0] + (spot[2] + grown[0]) / 2, more.x),
        y=np.where(is_spot, spot[1] + (spot[3] + grown[1]) / 2, more.y),
        width=np.where(is_spot, spot[2] + grown[0], more.width),
        height=np.where(is_spot, spot[3] + grown[1], more.height),
    )


def _clog(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    onset = run.length_s * rng.uniform(0.15, 0.75)
    # It closes over some seconds, and may free itself a little.
    open_share = np.where(run.time < onset, 1.0, _grade(severity, 0.65, 0.02))
    return run.rows(rng.random(run.n) < open_share)


def _aborted(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    end = _grade(severity, 980, 60) * rng.uniform(0.97, 1.02)
    return replace(run.rows(run.time < end - 0.2), length_s=end)


def _nothing(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    n = min(int(100 * (1 - severity)), run.n)
    kept = run.rows(np.sort(rng.choice(run.n, n, replace=False)))
    return kept.blanked(rng.random(kept.n) < rng.uniform(0.8, 1))


def _syringe(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    delivered = _grade(severity, 0.85, 0.12)
    kept = run.rows(rng.random(run.n) < delivered)
    return kept.header(volume=round(run.rig.volume_ml * delivered, 3))


def _noise(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    room = max(int(0.93 * run.length_s / run.rig.busy_s) - run.n, 50)
    n = int(min(_grade(severity, 0.25 * run.n, room), room))
    # It comes in bursts.
    centres = rng.uniform(0, run.length_s, max(int(n / 150), 3))
    times = np.abs(rng.choice(centres, n) + rng.normal(0, 0.02 * run.length_s, n)) % run.length_s
    source = rng.integers(0, max(run.n, 1), n)
    order = np.argsort(np.concatenate([run.time, times]), kind="stable")
    rows = np.concatenate([np.arange(run.n), source])[order]
    is_noise = np.concatenate([np.zeros(run.n, dtype=bool), np.ones(n, dtype=bool)])[order]
    crowded = run.rows(rows)
    crowded.trigger = np.cumsum(is_noise | (np.diff(run.trigger, prepend=-1)[np.minimum(rows, run.n - 1)] != 0)) - 1
    crowded.time = np.concatenate([run.time, times])[order]
    crowded.peak_a = np.where(is_noise, rng.normal(0.013, 0.0004, crowded.n), crowded.peak_a)
    crowded.peak_b = np.where(is_noise, rng.normal(0.0105, 0.0003, crowded.n), crowded.peak_b)
    return crowded.blanked(is_noise & (rng.random(crowded.n) < 0.93))


def _clip(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del place
    chosen = rng.random(run.n) < _grade(severity, 0.03, 0.35)
    if lasting.random() < 0.4:
        # The camera drops a line: a box as wide as the frame.
        line = lasting.uniform(60, 960)
        return replace(
            run,
            x=np.where(chosen, FRAME[0] / 2, run.x),
            y=np.where(chosen, line, run.y),
            width=np.where(chosen & (run.width > 0), FRAME[0], run.width),
        )
    if lasting.random() < 0.5:
        return replace(run, x=np.where(chosen, np.where(rng.random(run.n) < 0.7, 0, FRAME[0]), run.x))
    return replace(run, y=np.where(chosen, 0, run.y))


def _leak(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    rise = lasting.uniform(0.5, 5) * (place + 1) * (0.3 + severity)
    settings = run.settings
    return run.header(
        humidity=min(max(settings["humidity"], _WET_PCT) + rise + rng.normal(0, 0.2), 99.0),
        temperature=settings["temperature"] + 0.3,
    )


def _heat(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    warmth = run.settings["temperature"]
    return run.header(temperature=warmth + severity * (46 - warmth) + rng.normal(0, 0.2))


def _clock(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del lasting, place
    moment, back = rng.uniform(0.1, 0.9) * run.length_s, _grade(severity, 30, 86400)
    return replace(run, time=np.where(run.time > moment, run.time - back, run.time))


def _beads(rng: np.random.Generator, run: Run, severity: float, lasting: np.random.Generator, place: int) -> Run:
    del severity, lasting, place
    has_image = run.width > 0
    beads = replace(
        run,
        width=np.where(has_image, 60 * rng.lognormal(0, 0.05, run.n), 0),
        height=np.where(has_image, 36 * rng.lognormal(0, 0.05, run.n), 0),
    )
    return beads.header(kind="beads")


def _bloom(rng: np.random.Generator, water: Water, severity: float) -> Water:
    shift = float(rng.normal(0, 0.03))
    chains = min(water.chains * (1 + severity), 0.6)
    return replace(water, triggers=water.triggers * (1 + 5 * severity), chains=chains, size=water.size * (1 + shift))


def _detritus(rng: np.random.Generator, water: Water, severity: float) -> Water:
    blank = min(water.blank + 0.05 * severity + float(rng.uniform(0, 0.01)), 0.5)
    chains = min(water.chains + 0.35 * severity, 0.7)
    return replace(water, triggers=water.triggers * (1 + 1.5 * severity), chains=chains, blank=blank)


def _rinsed(rng: np.random.Generator, water: Water, severity: float) -> Water:
    more = float(np.exp(rng.normal(np.log(1.1 + severity), 0.25)))
    return replace(water, triggers=water.triggers * more, blank=min(water.blank + 0.03 + 0.2 * severity, 0.6))


CHANGES: dict[str, Change] = {
    "air": _air,
    "focus_loss": _focus_loss,
    "flow_speed_shift": _speed,
    "laser_misalignment": _laser,
    "camera_tilt": _tilt,
    "out_of_focus": _blur,
    "stuck_roi": _stain,
    "clog": _clog,
    "incomplete_run": _aborted,
    "empty_bin": _nothing,
    "volume_error": _syringe,
    "noise_trigger": _noise,
    "edge_clipping": _clip,
    "leak": _leak,
    "overheating": _heat,
    "clock_jump": _clock,
    "bead_run": _beads,
}

WATERS: dict[str, Callable[[np.random.Generator, Water, float], Water]] = {
    "bloom": _bloom,
    "detritus": _detritus,
    "post_clean": _rinsed,
}

FILE_FAULTS = ("corrupt_adc", "truncated_adc", "missing_hdr")

NAMES = (*(name for name in CHANGES if name != "bead_run"), *FILE_FAULTS)
"""All faults of this simulator."""

IN_HEADER_ONLY = frozenset({"leak", "overheating", "volume_error", "missing_hdr"})
"""Faults that nothing but the header shows."""

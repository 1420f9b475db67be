"""The page "Window": the camera window of an instrument week by week, where dirt shows that no single image does.

The instrument is the ``instrument`` of the address.
"""

from datetime import date, timedelta

import numpy as np
import streamlit as st

from app import address, data, images
from app.data import Scored, Stores
from app.pages import WINDOW, scored_bins
from app.words import count, plain
from ifcb_flow_pipeline.detection.images.window_map import WindowMap
from ifcb_flow_pipeline.window_maps import Week, picture, weeks_of

#: Weeks that are shown, and bins of each that are looked at.
_WEEKS, _BINS = 6, 6

#: From here on a spot is worth a look: of clean bins of one instrument few reach it.
_SUSPICIOUS = 8.0


def _page() -> None:
    st.header(WINDOW.title, anchor=False)
    stores, scored = scored_bins()
    latest = str(scored.rows["instrument"].iloc[-1])
    instrument = address.one("instrument", "Instrument", scored.instruments, latest, width=220) or latest
    found = _weeks(stores, scored, instrument)
    if not found:
        st.info(f"No bin of {plain(instrument)} in the last {_WEEKS} weeks of its data has images that can be read.")
        return
    newest_first = found[::-1]
    for pair in (newest_first[number : number + 2] for number in range(0, len(newest_first), 2)):
        for column, week in zip(st.columns(2), pair, strict=False):
            with column:
                _week(week)
    st.caption(
        "The background of the images, laid into the camera frame in cells of 8 px: dark where it is darker than "
        f"around. Each week is that of up to {_BINS} bins, compared with the weeks before it. The frame's own pattern "
        "is in all weeks; dirt comes, and goes with a cleaning."
    )


def _week(week: Week) -> None:
    st.image(picture(week.window), width="stretch",
             alt=f"Background of the images in the camera frame, week of {week.monday}")  # fmt: skip
    said = f"**Week of {week.monday}**: {count(week.n_bins, 'bin')}, {count(week.n_images, 'image')}"
    if week.score is None:
        st.markdown(f"{said}. The first week: nothing to compare it with.")
    elif week.score.z >= _SUSPICIOUS:
        kind = "dark spot" if week.score.kind == "opaque" else "faint spot"
        st.markdown(f"{said}. :orange-badge[{kind}] at x = {week.score.x_px}, y = {week.score.y_px} px "
                    f"({week.score.z:.1f} standard deviations)")  # fmt: skip
    else:
        st.markdown(f"{said}. No new spot (largest deviation {week.score.z:.1f}).")


def _weeks(stores: Stores, scored: Scored, instrument: str) -> list[Week]:
    """The last weeks of an instrument that have bins with images."""
    own = scored.of_instrument(instrument)
    if not len(own):
        return []
    pids = scored.rows["pid"].iloc[own].tolist()
    mondays = [_monday(pid) for pid in pids]
    first = mondays[-1] - timedelta(weeks=_WEEKS - 1)
    maps: list[tuple[date, WindowMap, int]] = []
    for monday in sorted({day for day in mondays if day >= first}):
        week = [pid for pid, day in zip(pids, mondays, strict=True) if day == monday]
        chosen = np.unique(np.linspace(0, len(week) - 1, min(_BINS, len(week))).round().astype(int))
        seen = [images.window_of(stores, week[place]) for place in chosen]
        maps += [(monday, *found) for found in seen if found is not None]
    return weeks_of(maps)


def _monday(pid: str) -> date:
    day = data.start_of(pid).date()
    return day - timedelta(days=day.weekday())


_page()

"""The report for the cruise log: complete, escaped, and without any need of a network."""

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import pandas as pd
import pytest

from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.review.report import Report, Worst
from ifcb_flow_pipeline.store.labels import Label

START = datetime(2026, 3, 1, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> & \"x\" 'y' [a](http://evil)"


def bins(n: int = 6) -> pd.DataFrame:
    return pd.DataFrame({
        "pid": [f"D20260301T{hour:02}0000_IFCB101" for hour in range(n)],
        "instrument": "IFCB101",
        "start_time": [pd.Timestamp(START + timedelta(hours=hour)) for hour in range(n)],
        "severity": [5.0, 60.0, 90.0, 40.0, 100.0, math.nan][:n],
        "verdict": ["ok", "bad", "bad", "watch", "unreadable", "not_judged"][:n],
        "cause": ["", "air", "air", "clog", "corrupt", ""][:n],
        "threshold": 50.0,
        "model_id": "flow-1",
        "affected_fraction": [0.0, 0.5, math.nan, 0.2, math.nan, math.nan][:n],
    })  # fmt: skip


@pytest.fixture
def report() -> Report:
    rows = bins()
    worst_pid = rows["pid"][2]
    label = Label(worst_pid, "bad", ("bubbles",), HOSTILE, f"Ada {HOSTILE}"[:80], START, "triage")
    episode = Episode("IFCB101", "air", rows["pid"][1], worst_pid, START + timedelta(hours=1),
                      START + timedelta(hours=2), 2, 2, 90.0, worst_pid, "ongoing")  # fmt: skip
    worst = Worst(worst_pid, 90.0, "bad", "air", HOSTILE, "compared with 299 healthy bins", b"\x89PNG picture")
    return Report(date(2026, 3, 1), date(2026, 3, 2), START, rows, [episode], [worst], {worst_pid: label},
                  {"air": "air bubbles"})  # fmt: skip


class Elements(HTMLParser):
    """The elements, attributes and text of a page; fails on one that is not closed as it was opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data} "


def test_text_of_unknown_origin_is_shown_as_it_is_and_makes_no_elements(report):
    page = Elements(report.html())
    assert "script" not in page.names
    assert page.text.count(HOSTILE) >= 2
    assert not {name for name, _ in page.attributes if name.startswith("on")}


def test_nothing_is_asked_of_a_network(report):
    page = Elements(report.html())
    addresses = [value or "" for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "default-src 'none'" in report.html()
    assert "@import" not in report.html()
    assert "url(" not in report.html()


def test_the_counts_the_episode_the_worst_bin_and_the_decision_are_there(report):
    text = Elements(report.html()).text
    for said in ("6 bins", "flow-1", "air bubbles", "2026-03-01 02:00 (ongoing)", "marked bad by Ada", "bubbles",
                 "compared with 299 healthy bins"):  # fmt: skip
        assert said in text, said
    assert (
        "instrument bins bad watch OK unreadable no verdict marked bad marked good IFCB101 6 2 1 1 1 1 1 0"
        in " ".join(text.split())
    )


@pytest.mark.parametrize(("state", "said"), [("over", "02:00"), ("unknown", "02:00 (no bins since)")])
def test_the_end_of_an_episode_is_told_as_far_as_it_is_known(report, state, said):
    whole = replace(report, episodes=[replace(report.episodes[0], state=state)])
    assert f">2026-03-01 {said}<" in whole.html()


def test_each_instrument_has_its_severities_over_time(report):
    two = bins().assign(instrument="IFCB102")
    whole = Report(report.first, report.last, START, pd.concat([report.rows, two]), [], [], {}, {})
    assert Elements(whole.html()).names.count("svg") == 2


def test_a_bin_on_the_last_second_of_the_period_is_drawn_inside(report):
    late = report.rows.assign(start_time=pd.Timestamp("2026-03-02T23:59:59Z"))
    html = Report(report.first, report.last, START, late, [], [], {}, {}).html()
    assert "M897,90" in html


def test_a_period_without_bins_says_so_everywhere(report):
    empty = Report(report.first, report.last, START, report.rows.iloc[:0], [], [], {}, {})
    page = Elements(empty.html())
    assert page.text.count("None.") == 6
    assert "0 bins" in page.text


def test_the_summary_says_the_hours_and_the_share_that_were_lost_by_cause(report):
    text = " ".join(Elements(report.html()).text.split())
    assert (
        "2026-03-01 to 2026-03-02, IFCB101: 6 bins (6.0 h); lost 2.5 h (41.7 %): air bubbles 1.5 h (2 bins, 1 "
        "episode), corrupt 1.0 h (1 bin)." in text
    )


def test_a_single_bad_bin_is_no_episode_but_counted(report):
    text = Elements(replace(report, episodes=[replace(report.episodes[0], n_bad=1)]).html()).text
    assert "Besides, 1 single bad bins." in text
    assert "(ongoing)" not in text

"""Bins as they accumulate: what is told of a running bin, and after how many triggers a fault was certain."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from ifcb_flow_pipeline.api import archive_features, train_on
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.live import LiveScore, Watch, prefix_scores, whole_features
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive

NOON = datetime(2024, 5, 1, tzinfo=UTC)
N = 150


@dataclass(frozen=True)
class Site:
    """An archive of one instrument and 150 healthy bins, and a model of them."""

    root: Path
    model: AnyModel

    @property
    def archive(self) -> Archive:
        return Archive(self.root, settle=timedelta(seconds=120))

    def add(self, number: int, fault: str | None = None, instrument: str = "IFCB134") -> str:
        pid = format_pid(instrument, NOON + timedelta(minutes=25 * number))
        write_bin(simulate_bin(pid, fault=fault, severity=1.0, mean_triggers=300, seed=1), self.root)
        return pid

    def cut(self, pid: str, lines: int) -> None:
        """Make a bin look as if its instrument had written so many lines of it so far, a moment ago."""
        (self.root / f"{pid}.hdr").unlink(missing_ok=True)
        adc = self.root / f"{pid}.adc"
        adc.write_bytes(b"".join(adc.read_bytes().splitlines(keepends=True)[:lines]))
        now = datetime.now(tz=UTC).timestamp()
        os.utime(adc, (now, now))

    def before(self, number: int) -> pa.Table:
        bins = self.archive.scan().bins[number - 20 : number]
        settings = self.model.card.feature_settings
        return pa.concat_tables([whole_features(self.archive, raw, settings) for raw in bins])


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Site:
    root = tmp_path_factory.mktemp("archive")
    for number in range(N):
        pid = format_pid("IFCB134", NOON + timedelta(minutes=25 * number))
        write_bin(simulate_bin(pid, mean_triggers=300, seed=1), root)
    settings = FeatureSettings()
    return Site(root, train_on(archive_features(Archive(root, settle=timedelta()), None, settings), settings))


@pytest.fixture
def site(healthy, tmp_path) -> Site:
    """A copy that may be added to."""
    shutil.copytree(healthy.root, tmp_path / "archive")
    return Site(tmp_path / "archive", healthy.model)


def told(found: list[LiveScore]) -> list[tuple[str, bool]]:
    return [(live.pid, live.ended) for live in found]


def test_at_first_the_latest_bin_of_each_instrument_is_told_and_then_only_what_changes(site):
    other = site.add(3, instrument="IFCB124")
    watch = Watch(site.archive, site.model)
    latest = format_pid("IFCB134", NOON + timedelta(minutes=25 * (N - 1)))
    assert told(watch.look()) == [(other, True), (latest, True)]
    assert watch.look() == []
    new = site.add(N)
    assert told(watch.look()) == [(new, True)]
    assert watch.look() == []


def test_the_first_look_goes_a_month_back_where_there_are_bins_so_new(site, monkeypatch):
    monkeypatch.setattr(Archive, "now", lambda _: NOON + timedelta(days=40))
    new = site.add(39 * 24 * 60 // 25, instrument="IFCB124")
    assert told(Watch(site.archive, site.model).look()) == [(new, True)]


def test_a_bin_that_grows_is_told_as_running_and_once_more_when_it_has_ended(site):
    pid = site.add(N)
    whole = (site.root / f"{pid}.adc").read_bytes()
    watch = Watch(site.archive, site.model)
    lengths = []
    for lines in (10, 150, 250):
        (site.root / f"{pid}.adc").write_bytes(whole)
        site.cut(pid, lines)
        (live,) = watch.look()
        assert told([live]) == [(pid, False)]
        assert ("waiting" in live.line()) == (lines == 10)
        lengths.append(live.score.n_triggers)
    assert lengths == sorted(set(lengths))
    assert watch.look() == []
    following = site.add(N + 1)
    assert told(watch.look()) == [(pid, True), (following, True)]


def test_a_fault_is_certain_long_before_the_end_of_the_run(site):
    pid = site.add(N, fault="air")
    *_, live = Watch(site.archive, site.model).look()
    assert (live.pid, live.ended, live.score.verdict) == (pid, True, "bad")
    assert live.certain_after is not None
    assert live.certain_after <= 0.5 * live.score.n_triggers
    assert f"(certain after {live.certain_after} triggers)" in live.line()


def test_the_first_parts_of_healthy_runs_are_not_called_bad_for_being_short(healthy):
    # The header of a whole run made every part of it look like a clog.
    bins, verdicts = healthy.archive.scan().bins, []
    for number in range(60, N, 15):
        found = prefix_scores(healthy.archive, bins[number], healthy.model, healthy.before(number))
        verdicts += [score.verdict for score in found]
    # Of 48 parts of 6 healthy bins that do not wait; chance makes parts of the same bin bad together.
    assert verdicts.count("bad") <= 4
    assert verdicts.count("ok") >= 40


def test_a_bin_of_an_instrument_without_history_has_no_verdict_and_says_why(site):
    site.add(N, instrument="IFCB999")
    live = next(live for live in Watch(site.archive, site.model).look() if "IFCB999" in live.pid)
    assert live.score.verdict == "not_judged"
    assert live.certain_after is None
    why = "the model has no history of IFCB999; train it again with at least 20 bins of it"
    assert f"severity   -  not judged  No verdict: {why}." in live.line()


def test_a_fault_is_no_history_of_the_bins_after_it(site, monkeypatch):
    faulty = [site.add(number, fault="air") for number in (N, N + 1)]
    watch = Watch(site.archive, site.model)
    watch.look()
    faulty.append(site.add(N + 2, fault="air"))
    watch.look()
    seen = []
    judge = type(site.model).judge

    def watched(model, features, history=None):
        seen.append(set() if history is None else set(history["pid"].to_pylist()))
        return judge(model, features, history)

    monkeypatch.setattr(type(site.model), "judge", watched)
    site.add(N + 3)
    watch.look()
    assert seen
    assert all(history and not history & set(faulty) for history in seen)


def test_a_bin_without_triggers_is_waited_for(site):
    pid = site.add(N)
    site.cut(pid, 0)
    (live,) = Watch(site.archive, site.model).look()
    assert (live.pid, live.score.verdict, live.score.n_triggers) == (pid, "waiting", 0)
    assert live.line().startswith(f"{pid} running      0 triggers  severity   -  waiting")

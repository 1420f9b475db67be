"""The steps of a day, from an archive in a folder to scores: no bin vanishes, and each says how it went."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.days import MissingInputError, TrainingWindow
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelError
from ifcb_flow_pipeline.detection.open_model import ForestChoice
from ifcb_flow_pipeline.detection.reference.model import Model
from ifcb_flow_pipeline.detection.verdict.severity import verdict_table
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.file_quality import SIGNALS
from ifcb_flow_pipeline.lasting import forget, gone_bins, past_verdicts
from ifcb_flow_pipeline.reading import cloud_of
from ifcb_flow_pipeline.store import archive as archive_module
from ifcb_flow_pipeline.store import file_batches
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.claim import move
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError, footer
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.sample_times import SampleTimes
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, STATUSES

#: The tables of positions; those of images are tested in test_image_days.
TABLES = (RAW_BINS, POINT_CLOUDS, BIN_FEATURES, BIN_SCORES)

DAY = date(2023, 8, 10)
NOW = datetime(2023, 9, 2, tzinfo=UTC)
CREATED = datetime(2023, 9, 2, 12, tzinfo=UTC)
SETTINGS = FeatureSettings()
SMALL = ForestSettings(0.1, n_estimators=5)
EVERYTHING = TrainingWindow()


def pid(hour: int, day: date = DAY, instrument: str = "IFCB134") -> str:
    return f"D{day:%Y%m%d}T{hour:02}0000_{instrument}"


def adc_bytes(seed: int, n: int = 60) -> bytes:
    """A v2 .adc file of n triggers, one in six of them without image."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(1, n + 1):
        x, y = rng.integers(0, 1300), int(rng.normal(500, 90))
        place = "0,0,0,0" if i % 6 == 0 else f"{x},{y},40,30"
        lines.append(f"{i},{i / 8},1,2,3,4,5,6,7,8,12.5,{i / 8},{i / 8},{place},{i * 1200},0,0,0,0,{i / 4},0.5\n")
    return "".join(lines).encode()


def _trained(
    tables: DailyTables, window: TrainingWindow, names: tuple[str, ...], settings: FeatureSettings = SETTINGS
) -> Model:
    """The forest of ifcb-flow-metric on these features of a window."""
    model = days.train_forests(tables, window, ForestChoice("forest", names, SMALL), settings, Decisions(), CREATED)
    assert isinstance(model, Model)
    return model


@dataclass(frozen=True)
class Site:
    """An archive of one instrument or more, and the tables made of it."""

    archive: Archive
    tables: DailyTables

    def put(self, name: str, content: bytes, folder: str = "", age: timedelta = timedelta(days=1)) -> Path:
        path = self.archive.root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written = (NOW - age).timestamp()
        os.utime(path, (written, written))
        return path

    def put_bin(
        self, name: str, adc: bytes | None = None, folder: str = "", age: timedelta = timedelta(days=1)
    ) -> None:
        self.put(f"{name}.adc", adc_bytes(int(name[10:12])) if adc is None else adc, folder, age)
        self.put(f"{name}.hdr", b"temperature: 21.5\n", folder, age)

    def make(self, day: date = DAY, model: Model | None = None) -> None:
        days.write_inventory(self.tables, self.archive, self.archive.scan(), day)
        days.write_clouds(self.tables, self.archive, day)
        days.write_features(self.tables, SETTINGS, day, archive=self.archive)
        if model:
            days.write_scores(self.tables, model, day)

    def rows(self, table, day: date = DAY) -> dict[str, dict]:
        read = self.tables.read(table, day)
        found = {row["pid"]: row for row in read.to_pylist()}
        assert len(found) == read.num_rows
        return found

    def train(self, window: TrainingWindow = EVERYTHING, settings: FeatureSettings = SETTINGS) -> Model:
        return _trained(self.tables, window, FEATURE_NAMES, settings)

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.tables.root.rglob("*.parquet")}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty archive on 2 September 2023."""
    monkeypatch.setattr(Archive, "now", lambda _: NOW)
    (tmp_path / "archive").mkdir()
    return Site(Archive(tmp_path / "archive"), DailyTables(tmp_path / "tables"))


@pytest.fixture
def full(site: Site) -> Site:
    """A day of fourteen good bins, made up to its features."""
    for hour in range(14):
        site.put_bin(pid(hour))
    site.make()
    return site


#: What a bin of each kind looks like in the archive, and what every table says of it.
KINDS: dict[str, tuple[Callable[[Site, str], object], str, str]] = {
    "good": (lambda site, name: site.put_bin(name), "ok", ""),
    "small": (lambda site, name: site.put_bin(name, adc_bytes(1, n=34)), "too_few_points", "29 images"),
    "few": (lambda site, name: site.put_bin(name, adc_bytes(1, n=12)), "too_few_points", "10 images, features need 30"),
    "empty": (lambda site, name: site.put_bin(name, b""), "empty", "the .adc file has no lines"),
    "garbage": (
        lambda site, name: site.put_bin(name, b"\x00garbage\n"),
        "unreadable",
        "1 of 1 ADC lines unusable: line 1",
    ),
    "cut": (lambda site, name: site.put_bin(name, adc_bytes(2) + b"61,7.6"), "ok", "line 61 is cut off after 2"),
    "no adc": (lambda site, name: site.put(f"{name}.hdr", b""), "no_adc", "the .adc file is missing"),
    "no hdr": (lambda site, name: site.put(f"{name}.adc", adc_bytes(3)), "ok", "the .hdr file is missing"),
    "fresh": (lambda site, name: site.put_bin(name, age=timedelta(seconds=10)), "unsettled", "less than 120 s ago"),
    "misplaced": (lambda site, name: site.put_bin(name, folder="D20230101"), "misplaced", "lies in D20230101"),
    "twice": (
        lambda site, name: (site.put_bin(name, folder="D20230810"), site.put_bin(name, folder="copy")),
        "ok",
        "2 copies, took D20230810",
    ),
    "older schema": (
        lambda site, _: site.put("IFCB5_2023_222_235959.adc", b"1,2,0,0,0,0,0,0,0,100,200,30,40,1,0\n" * 40),
        "ok",
        "the .hdr file is missing",
    ),
}


def put_all_kinds(site: Site) -> dict[str, tuple[str, str]]:
    """A bin of each kind. Returns status and reason by pid."""
    expected = {}
    for hour, (kind, (put, status, reason)) in enumerate(KINDS.items()):
        name = "IFCB5_2023_222_235959" if kind == "older schema" else pid(hour)
        put(site, name)
        expected[name] = (status, reason)
    return expected


# No bin vanishes


def test_every_bin_is_in_every_table_with_its_status_and_reason(site):
    expected = put_all_kinds(site)
    model = trained_elsewhere(site)
    site.make(DAY, model)
    entries = {entry.pid: asdict(entry) for entry in CloudTables(site.tables).entries(DAY)}
    for found in (site.rows(BIN_FEATURES), site.rows(BIN_SCORES)):
        assert {name: row["status"] for name, row in found.items()} == {n: s for n, (s, _) in expected.items()}
        for name, (_, reason) in expected.items():
            assert reason in found[name]["reason"], name
            assert bool(reason) == bool(found[name]["reason"])
    assert set(entries) == set(site.rows(RAW_BINS)) == set(expected)
    for name, entry in entries.items():
        # Too few points is what features say of a cloud that was read.
        status = expected[name][0]
        assert entry["status"] == ("ok" if status == "too_few_points" else status)
    used = {status for status, _ in expected.values()}
    assert used == set(STATUSES) - {"not_found", "gone", "misnamed", "no_bin", "outside"}


def test_the_inventory_says_what_listing_alone_can_say(site):
    expected = put_all_kinds(site)
    site.make()
    inventory = site.rows(RAW_BINS)
    seen_when_read = ("too_few_points", "empty", "unreadable")
    for name, (status, reason) in expected.items():
        if status in seen_when_read:
            assert (inventory[name]["status"], inventory[name]["reason"]) == ("ok", "")
        else:
            assert inventory[name]["status"] == status
            assert inventory[name]["reason"] in reason or reason in inventory[name]["reason"]


def test_the_inventory_knows_files_sizes_times_and_copies(site):
    site.put_bin(pid(0), b"", folder="D20230810")
    site.put_bin(pid(0), b"", folder="copy")
    site.put(f"{pid(1)}.roi", b"abc", age=timedelta(days=3))
    site.make()
    first, second = site.rows(RAW_BINS).values()
    assert (first["adc_path"], first["roi_path"]) == (f"D20230810/{pid(0)}.adc", None)
    assert (first["adc_bytes"], first["hdr_bytes"], first["roi_bytes"]) == (0, 18, None)
    assert (first["copies"], first["complete"], first["schema"]) == (1, True, "v2")
    assert first["start_time"] == datetime(2023, 8, 10, tzinfo=UTC)
    assert (second["roi_bytes"], second["complete"], second["copies"]) == (3, False, 0)
    assert second["modified"] == NOW - timedelta(days=3)


def test_only_bins_with_status_ok_have_features_and_scores(site):
    expected = put_all_kinds(site)
    site.make(DAY, trained_elsewhere(site))
    features, scores = site.rows(BIN_FEATURES), site.rows(BIN_SCORES)
    for name, (status, _) in expected.items():
        values = [features[name][feature] for feature in FEATURE_NAMES]
        assert all(np.isfinite(values)) if status == "ok" else all(np.isnan(values))
        assert np.isfinite(scores[name]["anomaly_score"]) == (status == "ok")
        assert np.isfinite(scores[name]["percentile"]) == (status == "ok")
        assert (scores[name]["verdict"] == "unreadable") == (status != "ok")
        assert status == "ok" or scores[name]["severity"] == 100.0


def test_the_counts_of_a_bin_are_told(site):
    site.put_bin(pid(0), adc_bytes(0, n=60) + b"cut\n")
    site.make()
    row = site.rows(BIN_FEATURES)[pid(0)]
    assert (row["n_rows"], row["n_images"], row["n_points"], row["bad_lines"]) == (60, 50, 50, 1)


def test_a_day_without_bins_has_empty_tables(site):
    site.put_bin(pid(0))
    other = date(2022, 1, 1)
    site.make(other, trained_elsewhere(site))
    for table in TABLES:
        assert site.tables.read(table, other).schema.equals(table.schema)
        assert site.tables.read(table, other).num_rows == 0
        assert site.tables.provenance(table, other).signature == ""


def test_bins_of_several_instruments_share_a_day(site):
    for instrument in ("IFCB134", "IFCB9", "IFCB10"):
        site.put_bin(pid(5, instrument=instrument))
    site.put_bin(pid(5, DAY + timedelta(days=1)))
    site.make()
    assert sorted(row["instrument"] for row in site.rows(BIN_FEATURES).values()) == ["IFCB10", "IFCB134", "IFCB9"]


def test_corrected_sample_times_stand_beside_those_of_the_identifiers_and_go_into_the_history(site):
    site.put_bin(pid(0))
    site.put_bin(pid(1))
    site.make()
    taken = datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC)
    rows = days.write_features(site.tables, SETTINGS, DAY, SampleTimes({pid(1): taken})).to_pylist()
    assert [row["sample_time"] for row in rows] == [None, taken]
    assert [row["start_time"].date() for row in rows] == [DAY, DAY]
    history = days.history_of(site.tables).before(DAY + timedelta(days=1))
    assert sorted(history["sample_time"].to_pylist(), key=str) == [taken, None]
    # Without the table they are as they were.
    assert days.write_features(site.tables, SETTINGS, DAY)["sample_time"].to_pylist() == [None, None]


def test_a_bin_that_vanishes_after_the_inventory_is_unreadable(site):
    site.put_bin(pid(0))
    site.put_bin(pid(1))
    days.write_inventory(site.tables, site.archive, site.archive.scan(), DAY)
    (site.archive.root / f"{pid(0)}.adc").unlink()
    days.write_clouds(site.tables, site.archive, DAY)
    rows = days.write_features(site.tables, SETTINGS, DAY).to_pylist()
    assert [row["status"] for row in rows] == ["unreadable", "ok"]
    assert rows[0]["reason"] == f"cannot read {pid(0)}.adc: No such file or directory"


def test_a_directory_whose_name_is_no_text_costs_its_bins_and_not_the_day(site):
    site.put_bin(pid(0))
    site.put_bin(pid(1), folder=os.fsdecode(b"caf\xe9"))
    site.make()
    rows = site.rows(BIN_FEATURES)
    assert {name: row["status"] for name, row in rows.items()} == {pid(0): "ok", pid(1): "unreadable"}
    assert rows[pid(1)]["reason"].startswith(f"cannot read caf\\xe9/{pid(1)}.adc: ")


# Again, and after changes


def test_making_a_day_twice_gives_the_same_files(site):
    put_all_kinds(site)
    model = trained_elsewhere(site)
    site.make(DAY, model)
    before = site.files()
    site.make(DAY, model)
    assert site.files() == before
    assert len(before) >= len(TABLES)


def grow(site: Site) -> None:
    site.put_bin(pid(0), adc_bytes(0, n=70))


CHANGES: dict[str, Callable[[Site], object]] = {
    "appears": lambda site: site.put_bin(pid(20)),
    "grows": grow,
    "disappears": lambda site: [path.unlink() for path in site.archive.root.glob(f"{pid(0)}.*")],
    "loses its header": lambda site: (site.archive.root / f"{pid(0)}.hdr").unlink(),
    "is written anew": lambda site: site.put_bin(pid(0), age=timedelta(hours=1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bin_that_changes_changes_the_signature_of_every_table(full, change):
    before = {table.name: full.tables.provenance(table, DAY).signature for table in TABLES[:3]}
    assert len(set(before.values())) == 1
    CHANGES[change](full)
    full.make()
    after = {table.name: full.tables.provenance(table, DAY).signature for table in TABLES[:3]}
    assert len(set(after.values())) == 1
    assert set(after.values()) != set(before.values())


def test_a_bin_that_appears_is_in_the_tables_after_the_day_was_made_again(full):
    CHANGES["appears"](full)
    full.make()
    assert set(full.rows(BIN_FEATURES)) == {*(pid(hour) for hour in range(14)), pid(20)}


def test_a_bin_that_grows_has_new_features_and_the_others_their_old_ones(full):
    before = full.rows(BIN_FEATURES)
    CHANGES["grows"](full)
    full.make()
    after = full.rows(BIN_FEATURES)
    assert (before[pid(0)]["n_rows"], after[pid(0)]["n_rows"]) == (60, 70)
    assert after[pid(0)]["mean_x"] != before[pid(0)]["mean_x"]
    # As text, in which what is no number equals itself.
    assert {name: str(row) for name, row in after.items() if name != pid(0)} == {
        name: str(row) for name, row in before.items() if name != pid(0)
    }


def said(site):
    """The features of each bin as text: NaN is equal to NaN."""
    return {name: str(row) for name, row in site.rows(BIN_FEATURES).items()}


def points_of(site, name):
    entry, columns = CloudTables(site.tables).read_one(DAY, name, days.CLOUD_COLUMNS)
    return entry.status, {key: values.tolist() for key, values in columns.items()}


def test_a_bin_that_disappears_keeps_its_rows_its_points_and_its_features(full):
    features, points = said(full), points_of(full, pid(0))
    CHANGES["disappears"](full)
    for _ in range(2):  # also when the day is made once more
        full.make()
        assert said(full) == features
        assert points_of(full, pid(0)) == points
        row = full.rows(RAW_BINS)[pid(0)]
        assert (row["status"], row["gone_since"], row["complete"]) == ("ok", NOW, False)
        assert row["reason"] == "files gone since 2023-09-02 00:00 UTC"


def test_a_bin_that_is_back_is_no_longer_gone(full):
    CHANGES["disappears"](full)
    full.make()
    full.put_bin(pid(0))
    full.make()
    row = full.rows(RAW_BINS)[pid(0)]
    assert (row["gone_since"], row["reason"], row["complete"]) == (None, "", True)


def test_a_bin_that_loses_its_header_keeps_what_the_header_said(full):
    before = said(full)
    for hour, extension in ((1, "hdr"), (2, "adc")):
        (full.archive.root / f"{pid(hour)}.{extension}").unlink()
    full.make()
    assert said(full) == before
    assert [full.rows(RAW_BINS)[pid(hour)]["gone_since"] for hour in (1, 2, 3)] == [NOW, NOW, None]


def test_all_bins_of_a_day_may_be_gone(full):
    before = said(full)
    for path in full.archive.root.iterdir():
        path.unlink()
    full.make()
    assert said(full) == before
    assert full.tables.provenance(BIN_FEATURES, DAY).signature == ""


def test_a_bin_that_was_never_read_leaves_no_row(site):
    site.put_bin(pid(0))
    site.put_bin(pid(1), age=timedelta(seconds=10))
    site.make()
    for path in site.archive.root.glob(f"{pid(1)}.*"):
        path.unlink()
    site.make()
    assert set(site.rows(RAW_BINS)) == {pid(0)}


def test_gone_bins_outlive_a_damaged_inventory(full):
    before = said(full)
    CHANGES["disappears"](full)
    full.tables.path(RAW_BINS, DAY).write_bytes(b"PAR1 torn")
    full.make()
    assert said(full) == before
    assert full.rows(RAW_BINS)[pid(0)]["gone_since"] == NOW


def test_an_inventory_of_the_version_before_is_taken_over(full, monkeypatch):
    columns = tuple(column for column in RAW_BINS.columns if column.name != "gone_since")
    older = replace(RAW_BINS, version=1, columns=columns)
    rows = full.tables.read(RAW_BINS, DAY).drop_columns(["gone_since"])
    full.tables.write(older, DAY, rows, full.tables.provenance(RAW_BINS, DAY))
    CHANGES["disappears"](full)
    full.make()
    row = full.rows(RAW_BINS)[pid(0)]
    assert (row["gone_since"], row["adc_path"]) == (NOW, f"{pid(0)}.adc")


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ESTALE, errno.EIO, errno.EACCES, errno.EMFILE, errno.ETIMEDOUT])
def test_what_cannot_be_read_now_costs_nothing_and_is_to_be_read_again(full, monkeypatch, code):
    before = said(full)
    full.put_bin(pid(20))
    with monkeypatch.context() as broken:
        broken.setattr("ifcb_flow_pipeline.store.archive.os.open", lambda *_: fail(code))
        full.make()
    assert full.tables.provenance(BIN_FEATURES, DAY).unread == 15
    assert full.rows(BIN_FEATURES).pop(pid(20))["status"] == "unreadable"
    assert {name: row for name, row in said(full).items() if name in before} == before
    full.make()
    assert full.tables.provenance(BIN_FEATURES, DAY).unread == 0
    assert full.rows(BIN_FEATURES)[pid(20)]["status"] == "ok"


def fail(code):
    raise OSError(code, os.strerror(code))


def test_what_can_never_be_read_is_not_read_again(site):
    site.put_bin(pid(0))
    (site.archive.root / f"{pid(0)}.adc").unlink()
    os.mkfifo(site.archive.root / f"{pid(0)}.adc")
    os.utime(site.archive.root / f"{pid(0)}.adc", ((NOW - timedelta(days=1)).timestamp(),) * 2)
    site.make()
    assert "no regular file" in site.rows(BIN_FEATURES)[pid(0)]["reason"]
    assert site.tables.provenance(BIN_FEATURES, DAY).unread == 0


def test_what_earlier_models_said_of_a_bin_can_still_be_read(full):
    first, second = full.train(), full.train()
    first = replace(first, card=replace(first.card, model_id="first"))
    second = replace(second, card=replace(second.card, model_id="second"))
    days.write_scores(full.tables, first, DAY)
    said = full.rows(BIN_SCORES)[pid(3)]
    assert past_verdicts(full.tables, pid(3)) == []
    for _ in range(2):
        days.write_scores(full.tables, second, DAY)
        [past] = past_verdicts(full.tables, pid(3))
        assert past.pop("until").tzinfo
        assert past == {name: said[name] for name in ("pid", "model_id", "severity", "verdict")}
    days.write_scores(full.tables, first, DAY)
    assert [past["model_id"] for past in past_verdicts(full.tables, pid(3))] == ["first", "second"]


def test_forgotten_are_only_bins_that_are_gone_and_only_when_it_is_said(full):
    model = full.train()
    days.write_scores(full.tables, model, DAY)
    CHANGES["disappears"](full)
    full.make(DAY, model)
    left = points_of(full, pid(5))
    [gone] = gone_bins(full.tables)
    assert (gone.pid, gone.day, gone.since) == (pid(0), DAY, NOW)
    assert gone_bins(full.tables, first=DAY + timedelta(days=1)) == []
    assert forget(full.tables, [gone]) == 1
    remaining = {pid(hour) for hour in range(1, 14)}
    assert set(full.rows(RAW_BINS)) == set(full.rows(BIN_FEATURES)) == set(full.rows(BIN_SCORES)) == remaining
    assert points_of(full, pid(5)) == left
    full.make(DAY, model)
    assert set(full.rows(BIN_SCORES)) == remaining


def test_another_archive_is_refused_unless_the_archive_was_moved(full, tmp_path):
    before = said(full)
    (tmp_path / "other").mkdir()
    other = Archive(tmp_path / "other")
    with pytest.raises(ArchiveError, match="archive-moved"):
        days.write_inventory(full.tables, other, other.scan(), DAY)
    assert said(full) == before
    move(full.tables, other)
    days.write_inventory(full.tables, other, other.scan(), DAY)
    with pytest.raises(ArchiveError, match="archive-moved"):
        full.make()


def test_a_bin_that_settles_is_read_then(site, monkeypatch):
    site.put_bin(pid(0))
    site.put_bin(pid(1), age=timedelta(seconds=10))
    site.make()
    before = site.tables.provenance(BIN_FEATURES, DAY).signature
    assert site.rows(BIN_FEATURES)[pid(1)]["status"] == "unsettled"
    monkeypatch.setattr(Archive, "now", lambda _: NOW + timedelta(hours=1))
    site.make()
    assert site.rows(BIN_FEATURES)[pid(1)]["status"] == "ok"
    assert site.tables.provenance(BIN_FEATURES, DAY).signature != before


def test_a_bin_that_is_still_being_written_does_not_change_the_signature(full):
    before = full.tables.provenance(RAW_BINS, DAY).signature
    full.put_bin(pid(20), age=timedelta(seconds=5))
    full.make()
    assert full.tables.provenance(RAW_BINS, DAY).signature == before
    assert full.rows(BIN_FEATURES)[pid(20)]["status"] == "unsettled"


def test_tables_say_what_their_values_depend_on(full):
    model = full.train()
    full.make(DAY, model)
    assert full.tables.provenance(POINT_CLOUDS, DAY).made_of == {"reader": "native"}
    assert full.tables.provenance(BIN_FEATURES, DAY).made_of == asdict(SETTINGS)
    assert full.tables.provenance(BIN_SCORES, DAY).made_of == {"model_id": model.card.model_id}


# Steps in order


def test_each_step_names_the_table_that_it_misses(site):
    site.put_bin(pid(0))
    steps: list[tuple[str, Callable[[], object]]] = [
        ("raw_bins", lambda: days.write_clouds(site.tables, site.archive, DAY)),
        ("raw_bins", lambda: days.write_features(site.tables, SETTINGS, DAY)),
        ("bin_features", lambda: days.write_scores(site.tables, trained_elsewhere(site), DAY)),
    ]
    for table, step in steps:
        with pytest.raises(MissingInputError, match=f"{table} of 2023-08-10 is missing: process that day"):
            step()
    days.write_inventory(site.tables, site.archive, site.archive.scan(), DAY)
    with pytest.raises(MissingInputError, match="the point clouds of 2023-08-10 are missing: process that day"):
        days.write_features(site.tables, SETTINGS, DAY)


def test_features_of_clouds_that_another_run_has_overtaken_are_not_up_to_date(full):
    before = full.tables.provenance(BIN_FEATURES, DAY).signature
    full.put_bin(pid(20))
    days.write_inventory(full.tables, full.archive, full.archive.scan(), DAY)
    days.write_features(full.tables, SETTINGS, DAY)
    assert full.tables.provenance(BIN_FEATURES, DAY).signature == before
    late = full.rows(BIN_FEATURES)[pid(20)]
    assert (late["status"], late["reason"]) == ("unsettled", "not read yet")
    full.make()
    assert full.rows(BIN_FEATURES)[pid(20)]["status"] == "ok"


def test_a_bin_that_was_listed_after_the_clouds_were_made_is_in_the_features_as_listed(full):
    full.put_bin(pid(20), age=timedelta(seconds=5))
    full.put_bin(pid(21), folder="D20230101")
    days.write_inventory(full.tables, full.archive, full.archive.scan(), DAY)
    days.write_features(full.tables, SETTINGS, DAY)
    rows = full.rows(BIN_FEATURES)
    assert (rows[pid(20)]["status"], rows[pid(21)]["status"]) == ("unsettled", "misplaced")
    assert len(rows) == 16


def test_tables_of_another_version_are_refused_with_the_remedy(full, monkeypatch):
    newer = replace(RAW_BINS, version=RAW_BINS.version + 1)
    monkeypatch.setattr(days, "RAW_BINS", newer)
    with pytest.raises(StoreError, match="process that day again"):
        days.write_clouds(full.tables, full.archive, DAY)


# Tables of another version, and points that were deleted, where the raw files are gone


@pytest.fixture
def scored(full: Site) -> tuple[Site, Model]:
    """A day that is scored, and whose raw files are gone since."""
    model = full.train()
    full.make(model=model)
    for path in full.archive.root.iterdir():
        path.unlink()
    return full, model


#: Columns that an earlier version did not have.
LATER_COLUMNS = {
    RAW_BINS: ("gone_since",), POINT_CLOUDS: ("time_of_flight_us",), BIN_FEATURES: ("has_roi", "dead_signals"),
    BIN_SCORES: ("affected_fraction",),
}  # fmt: skip


def make_older(site: Site, table) -> None:
    """Have the day's file as an earlier version would have written it."""
    columns = tuple(column for column in table.columns if column.name not in LATER_COLUMNS[table])
    version = min({table.version, *table.also_read}) - 1
    older, path = replace(table, version=version, columns=columns), site.tables.path(table, DAY)
    file = pq.ParquetFile(path)
    told = {**file.schema_arrow.metadata, **footer(older, site.tables.provenance(table, DAY))}
    if table is POINT_CLOUDS:
        entries = [
            {name: value for name, value in entry.to_dict().items() if name not in ("quality", "unread")} | {"old": 1}
            for entry in CloudTables(site.tables).entries(DAY) or []
        ]
        told[b"ifcb_flow_bins"] = json.dumps(entries).encode()
    told[b"ifcb_flow"] = json.dumps(json.loads(told[b"ifcb_flow"]) | {"sums": False}).encode()
    groups = [file.read_row_group(i).select([c.name for c in columns]) for i in range(file.num_row_groups)]
    groups = [with_earlier_columns(group) for group in groups] if table is POINT_CLOUDS else groups
    with pq.ParquetWriter(path, groups[0].schema.with_metadata(told)) as writer:
        for group in groups:
            writer.write_table(group)


def with_earlier_columns(points: pa.Table) -> pa.Table:
    """The points of bins of ``adc_bytes`` with what earlier versions kept of them besides."""
    for i, name in enumerate(name for name in SIGNALS if name not in points.column_names):
        value = 1 + SIGNALS.index(name)
        points = points.add_column(i + 1, name, pa.array(np.full(points.num_rows, value, np.float32)))
    if "start_byte" in points.column_names:
        starts = points["trigger"].to_numpy().astype(np.int64) * 1200
        points = points.set_column(points.column_names.index("start_byte"), "start_byte", pa.array(starts))
    return points


@pytest.mark.parametrize("older", [[table] for table in TABLES] + [list(TABLES)], ids=lambda o: o[-1].name)
def test_a_day_of_an_earlier_version_whose_raw_files_are_gone_is_carried_over(scored, older):
    site, model = scored
    rows = {table: site.rows(table) for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES)}
    points = points_of(site, pid(0))
    for table in older:
        make_older(site, table)
        assert site.tables.provenance(table, DAY) is None, "it is not of an earlier version"
    for _ in range(2):
        site.make(model=model)
        assert same(site, rows)
        status, columns = points_of(site, pid(0))
        assert (status, columns["x_px"], columns["t_s"]) == ("ok", points[1]["x_px"], points[1]["t_s"])


def same(site, rows) -> bool:
    """Whether the tables say of each bin what they said before, but for what says that its files are gone."""
    passing = {"gone_since", "complete", "reason"}
    for table, before in rows.items():
        for name, row in site.rows(table).items():
            kept = {key: value for key, value in row.items() if key not in passing}
            assert repr(kept) == repr({key: before[name][key] for key in kept}), table.name
    return all(set(site.rows(table)) == set(before) for table, before in rows.items())


def test_where_points_were_deleted_and_raw_files_are_gone_features_and_scores_stay(scored):
    site, model = scored
    rows = {table: site.rows(table) for table in (BIN_FEATURES, BIN_SCORES)}
    site.tables.path(POINT_CLOUDS, DAY).unlink()
    for _ in range(2):
        site.make(model=model)
        assert same(site, rows)
        assert {row["status"] for row in site.rows(RAW_BINS).values()} == {"ok"}
        assert site.rows(RAW_BINS)[pid(0)]["gone_since"] == NOW
        assert {entry.status for entry in CloudTables(site.tables).entries(DAY)} == {"gone"}


LONG_AFTER = NOW + timedelta(days=100)


def test_old_clouds_are_dropped_and_what_they_gave_is_made_of_the_files_again(full):
    full.put_bin(pid(14), adc_bytes(3) + b"61,7.6")
    full.make()
    before = full.rows(BIN_FEATURES)
    _, points = CloudTables(full.tables).read_one(DAY, pid(3), ("x_px", "start_byte"))
    assert days.drop_old_clouds(full.tables, DAY, None, LONG_AFTER) == 0
    assert days.drop_old_clouds(full.tables, DAY, 123, NOW) == 0
    assert days.drop_old_clouds(full.tables, DAY, 28, LONG_AFTER) == 15
    assert days.drop_old_clouds(full.tables, DAY, 28, LONG_AFTER) == 0
    assert CloudTables(full.tables).read_one(DAY, pid(3), ("x_px",))[1] is None
    entry, again = cloud_of(full.tables, full.archive, pid(3), ("x_px", "start_byte"))
    assert entry.dropped
    assert again is not None
    assert all(np.array_equal(again[name], points[name]) for name in points if name != "start_byte")
    days.write_features(full.tables, SETTINGS, DAY, archive=full.archive)
    assert repr(full.rows(BIN_FEATURES)) == repr(before)
    full.make()  # as after a bin that came late
    assert CloudTables(full.tables).read_one(DAY, pid(3), ("x_px",))[1] is not None
    assert repr(full.rows(BIN_FEATURES)) == repr(before)


def test_of_bins_that_are_gone_clouds_are_never_dropped_and_features_stay_where_they_were_dropped_before(full):
    before = full.rows(BIN_FEATURES)
    (full.archive.root / f"{pid(3)}.adc").unlink()
    (full.archive.root / f"{pid(3)}.hdr").unlink()
    full.make()
    assert days.drop_old_clouds(full.tables, DAY, 28, LONG_AFTER) == 13
    assert CloudTables(full.tables).read_one(DAY, pid(3), ("x_px",))[1] is not None
    for path in full.archive.root.iterdir():
        path.unlink()
    for _ in range(2):
        full.make()
        assert same(full, {BIN_FEATURES: before})
    assert cloud_of(full.tables, full.archive, pid(4), ("x_px",))[1] is None


def test_a_file_that_cannot_be_read_now_costs_a_bin_without_cloud_nothing_and_the_day_is_to_be_made_again(
    full, monkeypatch
):
    before = full.rows(BIN_FEATURES)
    assert days.drop_old_clouds(full.tables, DAY, 28, LONG_AFTER) == 14
    with monkeypatch.context() as patched:
        patched.setattr(archive_module, "_read", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no answer")))
        patched.setattr(file_batches, "_on_this_system", lambda: False)
        days.write_features(full.tables, SETTINGS, DAY, archive=full.archive)
    assert full.tables.provenance(BIN_FEATURES, DAY).unread == 14
    assert same(full, {BIN_FEATURES: before})
    assert days.drop_old_clouds(full.tables, DAY, 28, LONG_AFTER) == 0


def test_scores_stay_where_even_the_features_were_lost(scored):
    site, model = scored
    before = site.rows(BIN_SCORES)
    site.tables.path(POINT_CLOUDS, DAY).unlink()
    site.tables.path(BIN_FEATURES, DAY).write_bytes(b"PAR1 torn")
    for _ in range(2):
        site.make(model=model)
        assert same(site, {BIN_SCORES: before})
    assert past_verdicts(site.tables, pid(0)) == []


def test_features_of_other_settings_that_cannot_be_made_again_are_left_as_they_are(scored):
    site, _ = scored
    before = site.files()
    site.tables.path(POINT_CLOUDS, DAY).unlink()
    days.write_inventory(site.tables, site.archive, site.archive.scan(), DAY)
    days.write_clouds(site.tables, site.archive, DAY)
    with pytest.raises(StoreError, match="the day is left as it is"):
        days.write_features(site.tables, FeatureSettings("all"), DAY)
    path = str(site.tables.path(BIN_FEATURES, DAY))
    assert site.files()[path] == before[path]


@pytest.mark.filterwarnings("ignore:.*tasks have been successfully executed")
def test_points_that_cannot_be_points_of_this_version_are_left_as_they_are(scored, monkeypatch):
    site, _ = scored
    path = site.tables.path(POINT_CLOUDS, DAY)
    monkeypatch.setitem(LATER_COLUMNS, POINT_CLOUDS, ("start_byte",))
    make_older(site, POINT_CLOUDS)
    before = path.read_bytes()
    days.write_inventory(site.tables, site.archive, site.archive.scan(), DAY)
    with pytest.raises(StoreError, match="have no start_byte: the day is left as it is"):
        days.write_clouds(site.tables, site.archive, DAY)
    assert path.read_bytes() == before


# Scores


def trained_elsewhere(site: Site) -> Model:
    """A model trained on fourteen good bins of another folder."""
    home = site.archive.root.parent / "elsewhere"
    other = Site(Archive(home / "archive"), DailyTables(home / "tables"))
    for hour in range(14):
        other.put_bin(pid(hour))
    other.make()
    return other.train()


def test_scores_are_sorted_worst_first_then_by_score_and_pid(site):
    put_all_kinds(site)
    for hour in range(12, 22):
        site.put_bin(pid(hour))
    model = trained_elsewhere(site)
    site.make(DAY, model)
    rows = site.tables.read(BIN_SCORES, DAY).to_pylist()
    keys = [(-row["severity"], np.nan_to_num(row["anomaly_score"]), row["pid"]) for row in rows]
    assert keys == sorted(keys)
    assert {row["verdict"] for row in rows} == {"unreadable", "bad", "ok"}


def test_bins_of_the_same_score_are_sorted_by_pid(full):
    for hour in range(14, 20):
        full.put_bin(pid(hour, instrument="IFCB9"), adc_bytes(0))
    full.make(DAY, full.train())
    rows = full.tables.read(BIN_SCORES, DAY).to_pylist()
    same = [row["pid"] for row in rows if row["anomaly_score"] == full.rows(BIN_SCORES)[pid(0)]["anomaly_score"]]
    assert same == sorted(same)
    assert len(same) >= 7


def test_a_score_is_that_of_the_model_with_its_threshold_and_verdict(full):
    model = full.train()
    full.make(DAY, model)
    features, scores = full.rows(BIN_FEATURES), full.rows(BIN_SCORES)
    names = list(features)
    matrix = np.array([[features[name][feature] for feature in FEATURE_NAMES] for name in names])
    expected = model.score(matrix)
    for i, name in enumerate(names):
        row = scores[name]
        assert row["anomaly_score"] == expected.anomaly_score[i]
        assert row["percentile"] == expected.percentile[i]
        assert row["verdict"] == ("bad" if row["anomaly_score"] < model.card.threshold else "ok")
        assert (row["verdict"] == "bad") == (row["severity"] >= row["threshold"])
        assert (row["threshold"], row["model_id"]) == (25.0, model.card.model_id)
    assert {row["verdict"] for row in scores.values()} == {"ok", "bad"}


def test_a_model_of_some_features_in_another_order_takes_them_by_name(full):
    names = ("std_y", "mean_x")
    model = _trained(full.tables, EVERYTHING, names)
    full.make(DAY, model)
    rows = full.rows(BIN_FEATURES)
    score = model.score(np.array([[rows[pid(3)][name] for name in names]])).anomaly_score[0]
    assert full.rows(BIN_SCORES)[pid(3)]["anomaly_score"] == score


def test_features_made_with_other_settings_than_the_model_are_not_scored(full):
    model = full.train()
    days.write_features(full.tables, FeatureSettings("all"), DAY)
    with pytest.raises(ModelError, match=r"triggers=images.*triggers=all.*train a new model"):
        days.write_scores(full.tables, model, DAY)
    assert full.tables.read(BIN_SCORES, DAY) is None


def test_the_days_before_a_day_are_its_history_as_far_as_they_were_made(full):
    for offset in (1, 3, 17):
        full.put_bin(pid(0, DAY + timedelta(days=offset)))
        full.make(DAY + timedelta(days=offset))
    recent = days.RecentDays(full.tables, BIN_FEATURES)
    found = [recent.before(DAY + timedelta(days=offset)).num_rows for offset in (0, 1, 4, 16, 17, 40)]
    assert found == [0, 14, 16, 2, 1, 0]
    assert recent.before(DAY).schema.names == BIN_FEATURES.schema.names


def test_a_day_made_by_another_version_is_no_history(full, monkeypatch):
    next_day = DAY + timedelta(days=1)
    assert days.RecentDays(full.tables, BIN_FEATURES).before(next_day).num_rows == 14
    newer = replace(BIN_FEATURES, version=BIN_FEATURES.version + 1)
    assert days.RecentDays(full.tables, newer).before(next_day).num_rows == 0


def _scored_as(site: Site, day: date, verdicts: dict[str, str]) -> None:
    """Gives the bins of a day these verdicts; all others are ok."""
    features = site.tables.read(BIN_FEATURES, day)
    rows = [
        {column.name: None for column in BIN_SCORES.columns}
        | {"pid": name, "verdict": verdicts.get(name, "ok"), "severity": 1.0}
        for name in features["pid"].to_pylist()
    ]
    site.tables.write(BIN_SCORES, day, pa.Table.from_pylist(rows, schema=BIN_SCORES.schema), Provenance("signature"))


def test_all_bins_of_the_days_before_are_history_whatever_their_verdicts(full):
    next_day = DAY + timedelta(days=1)
    _scored_as(full, DAY, {pid(1): "bad", pid(2): "unreadable", pid(3): "not_judged", pid(4): "watch"})
    history = days.history_of(full.tables).before(next_day)
    assert set(history["pid"].to_pylist()) == {pid(hour) for hour in range(14)}
    assert tuple(history.column_names) == days.HISTORY_COLUMNS
    assert days.history_of(full.tables).before(DAY).num_rows == 0


def test_bins_that_were_not_judged_stand_last_in_the_scores(full):
    class Judge:
        def judge(self, features, _history=None):
            n = features.num_rows
            severity = np.where(np.arange(n) == 0, np.nan, np.arange(n, dtype=float))
            columns = {"severity": severity, "anomaly_score": -severity}
            return verdict_table(features, columns | {
                "verdict": ["not_judged", *["ok"] * (n - 1)], "percentile": severity, "threshold": np.full(n, 50.0),
                "model_id": ["a"] * n,
            })  # fmt: skip

    scores = days.score_table(full.tables.read(BIN_FEATURES, DAY), Judge())  # type: ignore[arg-type]
    assert scores["verdict"].to_pylist() == ["ok"] * 13 + ["not_judged"]
    assert np.all(np.diff(scores["severity"].to_numpy()[:-1]) < 0)
    assert scores.schema.equals(days.FLOW_SCORES)


# Training


def test_a_model_is_trained_on_the_good_bins_and_the_card_says_why_the_others_are_out(site):
    expected = put_all_kinds(site)
    for hour in range(12, 24):
        site.put_bin(pid(hour))
    site.make()
    card = site.train().card
    good = [name for name, (status, _) in expected.items() if status == "ok"]
    assert card.n_bins == len(good) + 12
    by_status: dict[str, list[str]] = {}
    for name, (status, _) in sorted(expected.items()):
        if status != "ok":
            by_status.setdefault(status, []).append(name)
    assert {status: sorted(names) for status, names in card.excluded.items()} == by_status
    assert card.n_bins_by_instrument == {"IFCB134": card.n_bins - 1, "IFCB5": 1}
    assert (card.first_day, card.last_day) == ("2023-08-10", "2023-08-10")
    assert card.feature_names == FEATURE_NAMES
    assert card.forest_settings == SMALL
    assert card.versions == days.library_versions()


def test_a_window_limits_days_and_instruments(full):
    for offset, instrument in ((1, "IFCB9"), (2, "IFCB134")):
        day = DAY + timedelta(days=offset)
        for hour in range(12):
            full.put_bin(pid(hour, day, instrument))
        full.make(day)
    assert full.train().card.n_bins == 38
    assert full.train(TrainingWindow(first=DAY + timedelta(days=1))).card.n_bins == 24
    assert full.train(TrainingWindow(last=DAY)).card.n_bins == 14
    both = TrainingWindow(DAY, DAY + timedelta(days=2), frozenset({"IFCB9"}))
    assert full.train(both).card.n_bins_by_instrument == {"IFCB9": 12}
    with pytest.raises(ModelError, match=r"only 0 bins.*10 needed.*widen"):
        full.train(TrainingWindow(first=DAY + timedelta(days=3)))
    with pytest.raises(ModelError, match=r"No bins of IFCB1: check the name"):
        full.train(TrainingWindow(instruments=frozenset({"IFCB1"})))


def test_a_window_of_pids_takes_these_and_tells_those_that_are_not_there(full):
    chosen = tuple(pid(hour) for hour in range(2, 13))
    card = full.train(TrainingWindow(pids=(*chosen, "nonesuch", pid(23), chosen[0]))).card
    assert card.n_bins == len(chosen)
    assert card.excluded == {"not_found": sorted(["nonesuch", pid(23)])}
    with pytest.raises(ModelError, match=r"^only 0 bins"):
        full.train(TrainingWindow(pids=()))


def test_training_rows_are_in_order_of_pid_whatever_the_order_of_days(full):
    features = full.tables.read(BIN_FEATURES, DAY)
    shuffled = features.take(pa.array(np.random.default_rng(1).permutation(features.num_rows)))
    one, other = (days.training_set(rows, EVERYTHING, FEATURE_NAMES, SETTINGS) for rows in (features, shuffled))
    assert one.pids == other.pids == sorted(one.pids)
    assert one.matrix.tobytes() == other.matrix.tobytes()
    assert one.matrix.shape == (14, len(FEATURE_NAMES))


def test_training_twice_gives_the_same_model(full):
    assert full.train().to_bytes() == full.train().to_bytes()


def test_days_made_with_other_settings_are_not_mixed_in(full):
    second = DAY + timedelta(days=1)
    full.put_bin(pid(0, second))
    full.make(second)
    days.write_features(full.tables, FeatureSettings("all"), second)
    with pytest.raises(
        ModelError, match=r"2023-08-11 were made with .*'all'.*'images'.*process the days of the window again"
    ):
        full.train()
    assert full.train(TrainingWindow(last=DAY)).card.n_bins == 14
    with pytest.raises(ModelError, match="2023-08-10 were made with"):
        full.train(TrainingWindow(last=DAY), FeatureSettings("images", 1.0))


def test_training_on_nothing_says_so(site):
    with pytest.raises(ModelError, match=r"^only 0 bins"):
        site.train()


# Small things


def test_a_row_of_features_joins_both_reasons():
    entry = CloudEntry("D20230810T113059_IFCB134", "ok", "2 copies", n_rows=2, row_group=0)
    columns = {name: np.full(2, 5) for name in days.CLOUD_COLUMNS}
    row = days.feature_row(entry, columns, SETTINGS)
    assert (row["status"], row["reason"]) == ("too_few_points", "2 images, features need 30; 2 copies")
    assert set(row) | {*days.IDENTITY, "sample_time"} == set(BIN_FEATURES.schema.names)


def test_statuses_are_counted_most_frequent_first():
    assert list(days.status_counts(["empty", "ok", "ok"]).items()) == [("ok", 2), ("empty", 1)]
    assert days.status_counts([]) == {}


def test_library_versions_name_what_numbers_depend_on(monkeypatch):
    found = days.library_versions()
    assert {"numpy", "scikit-learn", "ifcb-flow-pipeline"} <= set(found)
    assert found["numpy"] == np.__version__
    monkeypatch.setattr(days, "_LIBRARIES", ("no-such-library",))
    assert days.library_versions() == {"no-such-library": "not installed"}


def test_an_archive_inside_the_data_folder_moves_with_it(tmp_path):
    for home in (tmp_path / "one", tmp_path / "two"):
        if (tmp_path / "one").exists():
            (tmp_path / "one").rename(home)
        (home / "archive").mkdir(parents=True, exist_ok=True)
        archive = Archive(home / "archive")
        days.write_inventory(DailyTables(home / "tables"), archive, archive.scan(), DAY)


def test_a_disk_that_is_full_while_clouds_are_written_again_is_told_as_that(full, monkeypatch):
    def no_room(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ifcb_flow_pipeline.store.clouds.fill", no_room)
    before = said(full)
    with pytest.raises(OSError, match="No space left"):
        full.make()
    assert said(full) == before

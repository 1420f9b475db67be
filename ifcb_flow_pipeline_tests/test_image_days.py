"""A day's images, from the .roi files to verdicts, over a small archive with drawn images."""

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ifcb_flow_pipeline import days, image_days
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.bins.roi import RoiTable
from ifcb_flow_pipeline.detection.images.window_map import SHAPE, WindowMap
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.images.extract import sampled_rows
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store import image_tables
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.image_files import ready_model
from ifcb_flow_pipeline.store.tables import (
    BIN_FEATURES,
    BIN_IMAGE_SCORES,
    BIN_SCORES,
    IMAGE_FEATURES,
    IMAGE_SCORES,
    IMAGE_TABLES,
    WINDOW_MAPS,
)

DAY = date(2023, 8, 10)
PER_BIN = 25
PIDS = [format_pid("IFCB134", datetime(2023, 8, 10, hour, tzinfo=UTC)) for hour in range(4)]
WHOLE, CUT, WITHOUT, OTHER = PIDS


@dataclass(frozen=True)
class Site:
    """An archive and the tables of its images."""

    archive: Archive
    tables: DailyTables

    def path(self, pid: str, extension: str = "roi") -> Path:
        return self.archive.root / f"{pid}.{extension}"

    def make(self) -> None:
        """All of the day up to its image scores."""
        tables = self.tables
        days.write_inventory(tables, self.archive, self.archive.scan(), DAY)
        days.write_clouds(tables, self.archive, DAY)
        self.make_images()

    def make_images(self) -> None:
        tables, model = self.tables, ready_model()
        image_days.write_image_features(tables, self.archive, PER_BIN, DAY)
        image_days.write_window_maps(tables, self.archive, DAY, WINDOW_MAPS.schema.empty_table())
        image_days.write_image_scores(tables, model, DAY, image_days.ImageHistory.of(tables))
        image_days.write_bin_image_scores(tables, model, DAY, BIN_IMAGE_SCORES.schema.empty_table())

    def bin(self, pid: str) -> dict:
        row = image_tables.bin_row(self.tables, pid)
        assert row is not None
        return row

    def images(self, pid: str) -> list[dict]:
        rows = self.tables.read(IMAGE_FEATURES, DAY)
        assert rows is not None
        return rows.filter(pc.field("pid") == pid).to_pylist()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four bins with images."""
    root = tmp_path_factory.mktemp("drawn")
    for pid in PIDS:
        write_bin(simulate_bin(pid, mean_triggers=60), root, with_images=True)
    return root


@pytest.fixture
def site(drawn: Path, tmp_path: Path) -> Site:
    """Of the four bins one has no .roi file, and that of another was cut off; its images have been looked at."""
    root = tmp_path / "archive"
    root.mkdir()
    for path in drawn.iterdir():
        os.link(path, root / path.name)
    found = Site(Archive(root, settle=timedelta()), DailyTables(tmp_path / "tables"))
    found.path(WITHOUT).unlink()
    content = found.path(CUT).read_bytes()
    found.path(CUT).unlink()
    found.path(CUT).write_bytes(content[: len(content) // 2])
    found.make()
    return found


def test_every_bin_has_its_state_and_every_sampled_image_a_row(site: Site) -> None:
    assert [site.bin(pid)["status"] for pid in PIDS] == ["ok", "ok", "no_roi", "ok"]
    assert [site.bin(pid)["roi_complete"] for pid in PIDS] == [True, False, None, True]
    assert len(site.images(WHOLE)) == PER_BIN
    assert {row["status"] for row in site.images(WHOLE)} == {"ok"}
    assert {"ok", "cut_off"} == {row["status"] for row in site.images(CUT)}
    [without] = site.images(WITHOUT)
    assert (without["row"], without["status"]) == (None, "no_roi")
    scores = site.tables.read(IMAGE_SCORES, DAY)
    assert scores is not None
    ok = [(pid, row["row"]) for pid in PIDS for row in site.images(pid) if row["status"] == "ok"]
    assert list(zip(scores["pid"].to_pylist(), scores["row"].to_pylist(), strict=True)) == ok
    assert site.bin(WHOLE)["verdict"] == "not_judged"  # there is no history
    assert site.bin(CUT)["n_images"] == sum(row["status"] == "ok" for row in site.images(CUT))


def test_the_sample_is_spread_over_the_run_and_the_same_every_time(site: Site) -> None:
    before = {table.name: site.tables.path(table, DAY).read_bytes() for table in IMAGE_TABLES}
    site.make()
    assert {table.name: site.tables.path(table, DAY).read_bytes() for table in IMAGE_TABLES} == before
    rows = [row["row"] for row in site.images(WHOLE)]
    assert len(set(rows)) == PER_BIN
    read = site.archive.read_bin(WHOLE, f"{WHOLE}.adc", None)
    with_image = np.flatnonzero(read.adc.columns["width_px"] > 0)
    places = np.searchsorted(with_image, rows)
    assert np.abs(places - np.linspace(0, len(with_image), PER_BIN + 1)[:-1]).max() <= len(with_image) / PER_BIN + 1


def test_no_image_is_sampled_twice_however_many_there_are() -> None:
    for n in range(200, 420):
        table = RoiTable(np.zeros(n, np.int64), np.ones(n, np.int64), np.ones(n, np.int64), 0)
        assert len(set(sampled_rows(table, 200, f"bin {n}").tolist())) == 200


def test_a_roi_that_comes_late_makes_its_image_tables_and_leaves_the_others_alone(site: Site, drawn: Path) -> None:
    clouds, whole = site.tables.path(days.POINT_CLOUDS, DAY).read_bytes(), site.images(WHOLE)
    signed = site.tables.provenance(days.RAW_BINS, DAY)
    os.link(drawn / f"{WITHOUT}.roi", site.path(WITHOUT))
    days.write_inventory(site.tables, site.archive, site.archive.scan(), DAY)
    site.make_images()
    assert site.bin(WITHOUT)["status"] == "ok"
    assert len(site.images(WITHOUT)) == PER_BIN
    assert site.images(WHOLE) == whole
    assert site.tables.path(days.POINT_CLOUDS, DAY).read_bytes() == clouds
    now = site.tables.provenance(days.RAW_BINS, DAY)
    assert signed is not None
    assert now is not None
    assert now.signature == signed.signature
    assert now.images != signed.images
    made_of = site.tables.provenance(BIN_IMAGE_SCORES, DAY)
    assert made_of is not None
    assert made_of.signature == now.images


def test_rows_of_images_outlive_their_files(site: Site) -> None:
    images, row, maps = site.images(WHOLE), site.bin(WHOLE), site.tables.read(WINDOW_MAPS, DAY)
    for pid in (WHOLE, OTHER):
        site.path(pid).unlink()
    site.make()
    assert site.images(WHOLE) == images
    assert repr(site.bin(WHOLE)) == repr(row)  # which has NaN in it
    assert repr(site.tables.read(WINDOW_MAPS, DAY)) == repr(maps)


def test_a_roi_that_cannot_be_read_now_keeps_its_rows_and_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = site.images(WHOLE)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Archive, "image_blocks", fail)
    site.make_images()
    assert site.images(WHOLE) == images
    made_of = site.tables.provenance(BIN_IMAGE_SCORES, DAY)
    assert made_of is not None
    assert made_of.unread == 3


def test_a_roi_that_may_still_grow_is_waited_for(site: Site) -> None:
    slow = Site(Archive(site.archive.root, settle=timedelta(hours=1)), site.tables)
    os.utime(site.path(WHOLE))
    days.write_inventory(slow.tables, slow.archive, slow.archive.scan(), DAY)
    slow.make_images()
    assert slow.bin(WHOLE)["status"] == "roi_unsettled"
    assert slow.bin(OTHER)["status"] == "ok"


def test_what_is_stored_is_read_back_image_by_image(site: Site) -> None:
    found = image_tables.images_of(site.tables, CUT)
    assert found is not None
    rows = found.rows.to_pylist()
    assert [row["row"] for row in rows] == [row["row"] for row in site.images(CUT)]
    assert all((row["fault_probability"] is None) == (row["status"] != "ok") for row in rows)
    assert found.model_id == ready_model().card.model_id
    without = image_tables.images_of(site.tables, WITHOUT)
    assert without is not None
    assert without.rows.num_rows == 0
    assert image_tables.images_of(site.tables, "D20200101T000000_IFCB134") is None
    maps = image_tables.window_maps(site.tables, "IFCB134", DAY, DAY).to_pylist()
    assert [row["pids"] for row in maps] == [[WHOLE, CUT, OTHER]]
    assert image_tables.map_of(maps[0]).cells[4].max() > 0


def test_the_scores_of_a_day_join_what_its_images_tell(site: Site) -> None:
    bad = site.tables.read(BIN_IMAGE_SCORES, DAY)
    assert bad is not None
    rows = bad.to_pylist()
    rows[0] |= {"verdict": "bad", "severity": 80.0, "cause": "noise", "reasons": "Noisy.", "findings": "[]"}
    made_of = site.tables.provenance(BIN_IMAGE_SCORES, DAY)
    assert made_of is not None
    site.tables.write(BIN_IMAGE_SCORES, DAY, pa.Table.from_pylist(rows, schema=bad.schema), made_of)
    features = days.write_features(site.tables, FeatureSettings(), DAY)

    class Model:
        """Finds everything in order."""

        card = ready_model().card

        def check_usable(self, _: FeatureSettings) -> None:
            pass

        def judge(self, rows: pa.Table, _: pa.Table | None) -> pa.Table:
            from ifcb_flow_pipeline.detection.verdict.severity import verdict_table

            told = {row["pid"]: (row["has_roi"], row["roi_complete"]) for row in rows.to_pylist()}
            assert told[WITHOUT] == (False, None)
            assert told[CUT] == (True, False)
            n = rows.num_rows
            return verdict_table(rows, {
                "severity": np.full(n, 5.0), "verdict": ["ok"] * n, "anomaly_score": np.zeros(n),
                "percentile": np.zeros(n), "threshold": np.full(n, 50.0), "model_id": ["m"] * n,
            })  # fmt: skip

    scores = days.write_scores(site.tables, Model(), DAY).to_pylist()  # type: ignore[arg-type]
    assert features.num_rows == len(scores) == 4
    assert (scores[0]["pid"], scores[0]["verdict"], scores[0]["source"]) == (WHOLE, "bad", "images")
    assert {row["source"] for row in scores[1:]} == {"flow"}
    written, of_features = (site.tables.provenance(table, DAY) for table in (BIN_SCORES, BIN_FEATURES))
    assert written is not None
    assert of_features is not None
    assert written.signature == f"{of_features.signature} {made_of.signature}"


@pytest.mark.parametrize("with_bins", [True, False], ids=["bins without images", "no bins"])
def test_a_day_without_images_has_tables_too(tmp_path: Path, with_bins: bool) -> None:
    root = tmp_path / "archive"
    root.mkdir()
    if with_bins:
        write_bin(simulate_bin(WHOLE, mean_triggers=60), root)
    site = Site(Archive(root, settle=timedelta()), DailyTables(tmp_path / "tables"))
    site.make()
    rows = [site.tables.read(table, DAY) for table in IMAGE_TABLES]
    assert [part.num_rows for part in rows if part is not None] == [int(with_bins), 0, 0, int(with_bins)]
    if with_bins:
        assert site.bin(WHOLE)["status"] == "no_roi"


def window(rng: np.random.Generator, dark: bool = False) -> WindowMap:
    """What the images of a bin show of a clean window, or of one with a dark place."""
    found = WindowMap.empty()
    shape = (40, 10)
    n = np.full(shape, 6.0)
    values = rng.normal(-6.0 if dark else 0.0, 0.5, shape)
    quiet = rng.normal(0.0, 0.5, shape)
    values[5:] = quiet[5:]
    found.cells[0, :40, :10], found.cells[1, :40, :10] = n * values, n * values**2
    found.cells[2, :40, :10], found.cells[4, :40, :10] = n, n
    return found


def test_a_window_is_compared_with_the_bins_before_and_begins_anew_after_a_long_gap() -> None:
    rng, found = np.random.default_rng(0), image_days._Window()
    pids = [format_pid("IFCB134", datetime(2023, 8, 10, hour, tzinfo=UTC)) for hour in range(20)]
    for pid in pids[:19]:
        found.add(pid, window(rng))
    found.add(pids[19], window(rng, dark=True))
    later = format_pid("IFCB134", datetime(2023, 8, 11, 12, tzinfo=UTC))
    found.add(later, window(rng, dark=True))
    rows = list(found.rows("IFCB134"))
    z = {pid: value for row in rows for pid, value in zip(row["pids"], row["z"], strict=True)}
    assert np.isnan([z[pids[0]], z[later]]).all()
    assert z[pids[19]] > 2 * max(value for pid, value in z.items() if pid in pids[12:19])
    assert len({row["deployment_start"] for row in rows}) == 2
    assert sum(len(row["pids"]) for row in rows) == 21
    whole = sum((image_tables.map_of(row).cells[4].sum() for row in rows), 0.0)
    assert whole == 21 * 6 * 400
    assert SHAPE[0] * SHAPE[1] > max(row["cell"][-1] for row in rows)

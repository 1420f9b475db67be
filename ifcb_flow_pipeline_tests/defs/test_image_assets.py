"""The assets of images through Dagster: a bin without .roi, a late one, and what the UI shows."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.image_tables import bin_row
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, IMAGE_TABLES, POINT_CLOUDS
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, IMAGE_STEPS, Pipeline, settle
from ifcb_flow_pipeline_tests.defs.test_sensor import carry_out, days_asked_for, tick

DAY = DAYS[0]


def add_images(pipeline: Pipeline, hour: int) -> str:
    """Put a bin with images into the archive; its .roi file, too, where the bin is there already."""
    pid = format_pid("IFCB134", datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=UTC))
    directory = pipeline.archive / f"D{DAY:%Y}" / f"D{DAY:%Y%m%d}"
    directory.mkdir(parents=True, exist_ok=True)
    known = {path: path.stat().st_mtime for path in pipeline.files(pid)}
    for path in write_bin(simulate_bin(pid, mean_triggers=50), directory, with_images=True):
        if path not in known:
            settle(path)
    for path, changed in known.items():
        settle(path)
        assert path.stat().st_mtime != changed or path.suffix != ".roi"
    return pid


@pytest.fixture
def pictured(empty: Pipeline) -> Pipeline:
    """Two bins of a day, one with images, one whose .roi file has not come yet; and a bin of the next day."""
    add_images(empty, 3)
    late = add_images(empty, 5)
    [roi] = empty.archive.rglob(f"{late}.roi")
    roi.rename(empty.archive.parent / "late.roi")
    empty.add_bin(DAYS[1], 3)
    carry_out(empty, tick(empty))
    return empty


def test_a_roi_that_comes_late_makes_the_image_tables_of_its_day_and_nothing_else(pictured: Pipeline) -> None:
    tables = pictured.deployment.tables
    early, late = (format_pid("IFCB134", datetime(2023, 8, 10, hour, tzinfo=UTC)) for hour in (3, 5))
    for pid, status in ((early, "ok"), (late, "no_roi")):
        row = bin_row(tables, pid)
        assert row is not None
        assert row["status"] == status
    untouched = [tables.path(table, day) for table in (POINT_CLOUDS, BIN_FEATURES) for day in DAYS[:2]]
    untouched += [tables.path(table, DAYS[1]) for table in IMAGE_TABLES]
    before = [path.stat().st_mtime_ns for path in untouched]
    [adc] = pictured.archive.rglob(f"{late}.adc")
    (pictured.archive.parent / "late.roi").rename(adc.with_suffix(".roi"))
    asked = tick(pictured)
    [request] = asked.run_requests or []
    assert days_asked_for(asked) == [DAY]
    assert [key.to_user_string() for key in request.asset_selection or []] == ["raw_bins", *IMAGE_STEPS]
    carry_out(pictured, asked)
    row = bin_row(tables, late)
    assert row is not None
    assert row["status"] == "ok"
    assert [path.stat().st_mtime_ns for path in untouched] == before
    assert not tick(pictured).run_requests


def test_the_ui_shows_states_pictures_and_worst_places(pictured: Pipeline) -> None:
    told = pictured.metadata("image_features", DAY)
    assert "no_roi" in str(told["bins_by_status"].value)
    assert told["images"].value > 30
    assert "<svg" not in str(told)
    for asset, name in (("window_maps", "window_of_IFCB134"), ("image_scores", "fault_probabilities")):
        value = pictured.metadata(asset, DAY)[name]
        assert isinstance(value, dg.MarkdownMetadataValue)
        assert str(value.value).startswith("![")
        assert len(str(value.value)) < 1000
    assert pictured.metadata("bin_image_scores", DAY)["not_judged_bins"].value == 2

"""A small simulated archive of two instruments and three days, and the pipeline over it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.definitions import defs
from ifcb_flow_pipeline.defs.partitions import range_tags
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.claim import move
from ifcb_flow_pipeline.store.tables import IMAGE_TABLES

FIRST_DAY = date(2023, 8, 10)
DAYS = [FIRST_DAY + timedelta(days=i) for i in range(3)]
#: Of three days, as many bins as it takes to judge an instrument.
HOURS = (0, 6, 7, 8, 12, 13, 14, 18)
INSTRUMENTS = ("IFCB134", "IFCB124")
#: The assets of images, in their order.
IMAGE_STEPS = tuple(table.name for table in IMAGE_TABLES)
N_A_DAY = len(HOURS) * len(INSTRUMENTS)


@dataclass(frozen=True)
class Pipeline:
    """The pipeline over an archive in a temporary folder."""

    deployment: Deployment
    instance: dg.DagsterInstance

    @property
    def archive(self) -> Path:
        return self.deployment.settings.archive.root

    def add_bin(self, day: date, hour: int, instrument: str = "IFCB134", **wanted: object) -> str:
        """Put a simulated bin into the archive, as if it had been there for a while. Returns its pid."""
        pid = format_pid(instrument, datetime(day.year, day.month, day.day, hour, tzinfo=UTC))
        directory = self.archive / f"D{day:%Y}" / f"D{day:%Y%m%d}"
        directory.mkdir(parents=True, exist_ok=True)
        for path in write_bin(simulate_bin(pid, mean_triggers=80, **wanted), directory):  # type: ignore[arg-type]
            settle(path)
        return pid

    def files(self, pid: str) -> list[Path]:
        return sorted(self.archive.rglob(f"{pid}.*"))

    def run(
        self,
        job: str,
        first: date | None = None,
        last: date | None = None,
        *assets: str,
        retry_of: str | None = None,
        **config: object,
    ):
        """Run a job in this process, as the demo does; ``retry_of`` is the id of a run that was killed."""
        tags = range_tags(first, last or first) if first else {}
        if retry_of:
            tags |= {"dagster/retry_number": "1", "dagster/root_run_id": retry_of}
        selection = [dg.AssetKey(name) for name in assets] or None
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            asset_selection=selection,
            run_config={"ops": config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def make_everything(self) -> None:
        """Features, a model, and scores, of all days."""
        assert self.run(
            "daily_flow", DAYS[0], DAYS[-1], "raw_bins", "point_clouds", "bin_features", *IMAGE_STEPS
        ).success
        assert self.run("retrain").success
        assert self.run("daily_flow", DAYS[0], DAYS[-1], "bin_scores").success

    def metadata(self, asset: str, day: date | None = None) -> dict[str, dg.MetadataValue]:
        """What the UI shows of the asset's latest materialization."""
        key = dg.AssetKey(asset)
        if day is None:
            event = self.instance.get_latest_materialization_event(key)
            assert event and event.asset_materialization
            return dict(event.asset_materialization.metadata)
        records = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day.isoformat()]), limit=1
        ).records
        materialization = records[0].asset_materialization
        assert materialization
        return dict(materialization.metadata)


def settle(path: Path) -> None:
    """Make a file look as if it had been written an hour ago."""
    an_hour_ago = datetime.now(tz=UTC).timestamp() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline over an archive without bins."""
    yield from _pipeline_in(tmp_path, monkeypatch)


@pytest.fixture
def pipeline(empty: Pipeline) -> Pipeline:
    """The pipeline over three days of two instruments, 48 bins; nothing has been run."""
    _add_bins(empty)
    return empty


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pipeline in which everything has been made once, to be copied."""
    folder = tmp_path_factory.mktemp("everything")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for made in _pipeline_in(folder, monkeypatch):
            _add_bins(made)
            made.make_everything()
    return folder


@pytest.fixture
def made(everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline over the bins of ``pipeline``, everything made; its runs are not among those of the instance."""
    for name in ("archive", "home"):
        shutil.copytree(everything / name, tmp_path / name)
    for pipeline in _pipeline_in(tmp_path, monkeypatch):
        move(pipeline.deployment.tables, pipeline.deployment.settings.archive)
        yield pipeline


def _pipeline_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    (folder / "archive").mkdir(exist_ok=True)
    monkeypatch.setenv("IFCB_DATA_DIR", str(folder / "archive"))
    monkeypatch.setenv("IFCB_FLOW_HOME", str(folder / "home"))
    with dg.DagsterInstance.ephemeral(tempdir=str(folder)) as instance:
        yield Pipeline(Deployment(), instance)


def _add_bins(pipeline: Pipeline) -> None:
    for day in DAYS:
        for hour in HOURS:
            for instrument in INSTRUMENTS:
                pipeline.add_bin(day, hour, instrument)

"""An archive, what is made of it, and what the sensor sees."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from ifcb_flow_pipeline import days, image_days
from ifcb_flow_pipeline.defs.planning import LOOKED_AT, day_states, plan
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import demo_plan, write_archive
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.image_files import ready_model
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, POINT_CLOUDS, RAW_BINS

LAST_DAY = date(2026, 11, 28)
TABLES = (RAW_BINS, POINT_CLOUDS, BIN_FEATURES)
IMAGES_PER_BIN = 10


@dataclass(frozen=True, slots=True)
class Site:
    """An archive and what is made of it."""

    archive: Archive
    home: Path

    @property
    def tables(self) -> DailyTables:
        """Its tables."""
        return DailyTables(self.home / "tables")

    @classmethod
    def written(cls, folder: Path, n_days: int) -> "Site":
        """A simulated archive in a folder, and all that is made of it."""
        site = cls(Archive(folder / "archive", settle=timedelta()), folder / "home")
        simulated, first = demo_plan(LAST_DAY, mean_triggers=100.0), LAST_DAY - timedelta(days=n_days - 1)
        write_archive(replace(simulated, n_days=n_days, first_day=first, bins_per_day=6), site.archive.root)
        site.make()
        return site

    def make(self) -> None:
        """All steps but the scores, of all days that the archive or the tables have."""
        listing = self.archive.scan()
        judge = image_days.DayJudge.of(self.tables, self.archive, ready_model())
        for day in sorted({*listing.days, *self.tables.days(RAW_BINS)}):
            with self.tables.alone(day):
                days.write_inventory(self.tables, self.archive, listing, day)
                days.write_clouds(self.tables, self.archive, day)
                days.write_features(self.tables, FeatureSettings(), day)
                image_days.write_image_features(self.tables, self.archive, IMAGES_PER_BIN, day)
                judge.write(day)

    def look(self) -> Survey:
        """What the sensor sees."""
        return Surveyor(self.archive, self.tables, self.home / "ledger.sqlite").survey(LOOKED_AT, Budget())

    def up_to_date(self) -> bool:
        """Whether the sensor would ask for nothing."""
        return not plan(day_states(self.look()), with_scores=False).requests

    def features(self) -> dict[str, str]:
        """The features of each bin, as text: NaN is equal to NaN."""
        found = [self.tables.read(BIN_FEATURES, day) for day in self.tables.days(BIN_FEATURES)]
        return {row["pid"]: str(row) for rows in found if rows is not None for row in rows.to_pylist()}

"""What assets, sensors and checks are given: the settings of the deployment and its stores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ifcb_flow_pipeline.defs.liveness import alive
from ifcb_flow_pipeline.defs.records import held_open
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.image_models import ImageModelStore
from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline.store.left_out import LeftOutTable
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings


class Deployment(dg.ConfigurableResource):
    """The archive that is read and the folder that is written to, from the IFCB_* environment variables."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Deployment"]:
        """The deployment; a run that uses it counts as alive meanwhile, and its records are written quickly."""
        if context.run is None:
            yield self
            return
        with alive(self.settings.home, context.run.run_id), held_open():
            yield self

    @property
    def settings(self) -> Settings:
        """The settings in force. Raises SettingsError for a variable that makes no sense."""
        return Settings.from_environment(os.environ)

    @property
    def tables(self) -> DailyTables:
        """The daily tables."""
        return DailyTables(self.settings.home / "tables")

    @property
    def clouds(self) -> CloudTables:
        """The point clouds among the daily tables."""
        return CloudTables(self.tables)

    @property
    def models(self) -> ModelStore:
        """The trained models."""
        return ModelStore(self.settings.home / "models")

    @property
    def image_models(self) -> ImageModelStore:
        """The trained image models, and the ready one."""
        return ImageModelStore(self.settings.home / "image_models")

    @property
    def left_out(self) -> LeftOutTable:
        """What the archive has that is in no day's tables."""
        return LeftOutTable(self.settings.home)

    @property
    def labels(self) -> LabelStore:
        """What people decided about bins."""
        return LabelStore(self.settings.home / "labels.sqlite")

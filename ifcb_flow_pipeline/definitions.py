"""The one place where Dagster finds everything."""

import dagster as dg

from ifcb_flow_pipeline.defs import assets, checks, image_assets, lineage
from ifcb_flow_pipeline.defs.alerts import alerts
from ifcb_flow_pipeline.defs.elsewhere import days_made_elsewhere
from ifcb_flow_pipeline.defs.jobs import (
    daily_flow,
    forget_gone_bins,
    promote_model,
    retrain,
    retrain_images,
    rollback_model,
)
from ifcb_flow_pipeline.defs.mirror import copy_archive, mirror_due, mirrored_archive
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.schedules import daily_scoring, weekly_retraining
from ifcb_flow_pipeline.defs.sensors import dead_runs, new_bins

defs = dg.Definitions(
    assets=[lineage.archive, lineage.decisions, mirrored_archive, *dg.load_assets_from_modules([assets, image_assets])],
    asset_checks=dg.load_asset_checks_from_modules([checks]),
    jobs=[daily_flow, retrain, retrain_images, promote_model, rollback_model, forget_gone_bins, copy_archive],
    schedules=[daily_scoring, weekly_retraining],
    sensors=[new_bins, dead_runs, alerts, mirror_due, days_made_elsewhere],
    resources={"deployment": Deployment()},
    # A process per step costs seconds to start and nothing is gained: steps run one after the other.
    executor=dg.in_process_executor,
)

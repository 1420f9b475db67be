"""The jobs: what the sensor, the schedules and people start."""

import dagster as dg

from ifcb_flow_pipeline.defs.assets import anomaly_model, bin_features, bin_scores, point_clouds, raw_bins

#: The assets of a day up to its features, and with its scores.
FEATURE_STEPS = (raw_bins, point_clouds, bin_features)
SCORE_STEPS = (*FEATURE_STEPS, bin_scores)

daily_flow = dg.define_asset_job(
    "daily_flow",
    selection=dg.AssetSelection.assets(*SCORE_STEPS),
    description="From the archive to the scores, for one day or a range of days.",
)

retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(anomaly_model),
    description="Train a new model on the stored features and put it to use.",
)

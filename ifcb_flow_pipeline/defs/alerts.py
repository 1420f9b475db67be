"""The sensor that alerts people; what is due is decided in ``review.alerting``, and remembered beside the decisions."""

from datetime import UTC, datetime

import dagster as dg

from ifcb_flow_pipeline.alert_settings import read_alert_settings
from ifcb_flow_pipeline.alerts import look, sender
from ifcb_flow_pipeline.defs.resources import Deployment


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Alerts people of faults, silence, a stuck pipeline and a full disk, as IFCB_ALERTS_FILE says.",
)
def alerts(deployment: Deployment) -> dg.SkipReason:
    """Look at what is so, and send what is due. Without a file of addresses nothing is sent."""
    path = deployment.settings.alerts_file
    if path is None:
        return dg.SkipReason("IFCB_ALERTS_FILE is not set: nobody is alerted")
    found = look(deployment.settings, read_alert_settings(path), sender(), datetime.now(tz=UTC))
    return dg.SkipReason(str(found))

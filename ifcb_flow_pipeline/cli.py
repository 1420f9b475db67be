"""The command line: parses, calls, prints. What it calls is loaded only when a command runs."""

import click

from ifcb_flow_pipeline.commands import (
    alerts,
    autoencoder,
    bins,
    classify,
    copies,
    dashboard,
    deployment,
    images,
    labels,
    models,
    review,
)
from ifcb_flow_pipeline.commands.program import Program


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="ifcb-flow-pipeline")
def main() -> None:
    """Find the Imaging FlowCytobot bins to distrust."""


for _command in (
    bins.train, bins.score, bins.features, bins.watch, bins.compare, bins.convert_model,
    images.images, images.train_images, images.odd,
    classify.classify, classify.taxa, autoencoder.autoencoder,
    models.models, models.promote, models.rollback,
    labels.labels,
    dashboard.handover, review.review,
    alerts.alerts, copies.mirror,
    deployment.demo, deployment.serve, deployment.api, deployment.warm, deployment.left_out, deployment.verdicts,
    deployment.gone, deployment.archive_moved, deployment.backup, deployment.restore,
):  # fmt: skip
    main.add_command(_command)


if __name__ == "__main__":
    main()

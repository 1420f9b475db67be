"""Commands about the models of a deployment."""

import os
from pathlib import Path

import click

from ifcb_flow_pipeline.commands.common import model_store, note, user_name, who
from ifcb_flow_pipeline.commands.program import Command


@click.command(cls=Command)
def models() -> None:
    """List the models of the deployment, and which one is active."""
    from ifcb_flow_pipeline.promotion import label_summary

    store = model_store()
    if not store.ids():
        click.echo(f"no models in {store.root}: start the job retrain, or set IFCB_FLOW_HOME")
    current, previous = store.current_id(), store.previous_id()
    for model_id in store.ids():
        card = store.card(model_id)
        use = {current: "active", previous: "before"}.get(model_id, "")
        click.echo(f"{model_id:41} {use:7} {card.feature_set:10} {card.n_bins:7} bins, "
                   f"{card.first_day} to {card.last_day}  {label_summary(card)}".rstrip())  # fmt: skip
    for change in store.history():
        why = f": {change.note}" if change.note else ""
        click.echo(f"{change.at:%Y-%m-%d %H:%M} {change.action} {change.model_id} by {change.who}{why}")


@click.command(cls=Command)
@click.argument("model")
@who
@note
@click.option("--even-if-worse", is_flag=True, help="Activate it even if it is worse than the active model.")
def promote(model: str, who: str | None, note: str, even_if_worse: bool) -> None:
    """Activate MODEL in the deployment, unless it is worse than the active one: the id of a model, or a file.

    A file, such as train and convert-model write, is saved under its id first.
    """
    from ifcb_flow_pipeline import promotion
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.settings import Settings

    settings, store = Settings.from_environment(os.environ), model_store()
    model_id = store.add(Path(model)) if Path(model).is_file() else model
    trial = promotion.promote(
        store,
        DailyTables(settings.home / "tables"),
        LabelStore(settings.home / "labels.sqlite").decisions(),
        settings.features,
        model_id,
        who=who or user_name(),
        note=note,
        even_if_worse=even_if_worse,
    )
    click.echo(f"{model_id} is active: {trial.text}")


@click.command(cls=Command)
@who
@note
def rollback(who: str | None, note: str) -> None:
    """Return to the model that was active before."""
    click.echo(f"{model_store().rollback(who or user_name(), note)} is active again")

"""The command of alerts: what is due, what is open, and that somebody takes care of it."""

import os
from typing import TYPE_CHECKING

import click

from ifcb_flow_pipeline.commands.common import user_name
from ifcb_flow_pipeline.commands.program import Group, errors_in_a_line

if TYPE_CHECKING:
    from ifcb_flow_pipeline.alert_settings import AlertSettings
    from ifcb_flow_pipeline.store.settings import Settings


@click.group(cls=Group, invoke_without_command=True)
@click.option("--once", is_flag=True, help="Look once and send what is due, as the Dagster sensor does every minute.")
@click.pass_context
def alerts(ctx: click.Context, once: bool) -> None:
    """List what people were alerted of and what lasts, or send what is due."""
    if ctx.invoked_subcommand is None:
        with errors_in_a_line():
            _send() if once else _list()


@alerts.command()
@click.argument("numbers", nargs=-1, type=int)
@click.option("--who", help="Who takes care of it.  [default: the user's name]")
def acknowledge(numbers: tuple[int, ...], who: str | None) -> None:
    """Say that somebody takes care of the alerts NUMBERS, or of all that last: no reminders, no escalation."""
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.alerts import alert_store, open_alerts

    store = alert_store(_settings())
    lasting = [thread.opened.id for thread in open_alerts(store)]
    if unknown := [number for number in numbers if number not in lasting]:
        raise click.UsageError(f"no alert that lasts has the number {unknown[0]}; `ifcb-flow alerts` lists them")
    chosen = list(numbers or lasting)
    if chosen:
        store.acknowledge(chosen, who or user_name(), datetime.now(tz=UTC))
    click.echo(f"{len(chosen)} acknowledged")


@alerts.command()
def test() -> None:
    """Send a message to every address, to see whether it arrives."""
    from ifcb_flow_pipeline.alerts import sender

    send, failed = sender(), []
    for channel in _alert_settings(_settings()).channels:
        arrived = send(channel, "ifcb-flow: a test", "Alerts of ifcb-flow arrive here.")
        click.echo(f"{channel.name}: {'sent' if arrived else 'not taken'}")
        failed += [] if arrived else [channel.name]
    if failed:
        raise click.ClickException("not all addresses took the message")


def _send() -> None:
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.alerts import look, sender

    settings = _settings()
    found = look(settings, _alert_settings(settings), sender(), datetime.now(tz=UTC))
    click.echo(str(found))
    if found.failed:
        raise click.ClickException("not all messages were delivered; the next look tries again")


def _list() -> None:
    from ifcb_flow_pipeline.alerts import alert_store, open_alerts

    threads = open_alerts(alert_store(_settings()))
    for thread in threads:
        first = thread.opened.message
        state = "acknowledged" if thread.acknowledged else "not acknowledged"
        click.echo(f"{thread.opened.id:4}  {first.title}, since {first.since:%Y-%m-%d %H:%M} UTC, {state}")
    if not threads:
        click.echo("nothing that people were alerted of lasts")


def _settings() -> "Settings":
    from ifcb_flow_pipeline.store.settings import Settings

    return Settings.from_environment(os.environ)


def _alert_settings(settings: "Settings") -> "AlertSettings":
    from ifcb_flow_pipeline.alert_settings import AlertSettingsError, read_alert_settings

    if settings.alerts_file is None:
        raise AlertSettingsError("set IFCB_ALERTS_FILE to a file with the addresses that are alerted (docs/alerts.md)")
    return read_alert_settings(settings.alerts_file)

"""Commands that speak with the IFCB dashboard."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifcb_flow_pipeline.commands.common import IN_FILE, daily_tables, label_store, read_text
from ifcb_flow_pipeline.commands.program import Command

if TYPE_CHECKING:
    from ifcb_flow_pipeline.dashboard import Outcome


@click.command(cls=Command)
@click.option("--dashboard", "url", help="Address of the IFCB dashboard.  [default: IFCB_DASHBOARD_URL]")
@click.option("--user", help="User of the dashboard who may upload metadata; not needed for a dry run.")
@click.option(
    "--password-file",
    type=IN_FILE,
    envvar="IFCB_DASHBOARD_PASSWORD_FILE",
    help="File with the password (also IFCB_DASHBOARD_PASSWORD_FILE); without it, it is asked for.",
)
@click.option("--suspected/--no-suspected", default=False,
              help="Also tag bad bins with the cause that the model suspects, which nobody has confirmed: "
              "qc_flow_CAUSE.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what the dashboard would be told.")
def handover(url: str | None, user: str | None, password_file: Path | None, suspected: bool, dry_run: bool) -> None:
    """Hand people's decisions to the IFCB dashboard and read them back; exit code 1 where one does not read back.

    Bad bins are skipped there. A skip is lifted only where it is ours.
    """
    from ifcb_flow_pipeline.dashboard import Dashboard, decided_bins, hand_over, look
    from ifcb_flow_pipeline.store.sent import SENT_FILE, SentStore
    from ifcb_flow_pipeline.store.settings import Settings, dashboard_address

    settings = Settings.from_environment(os.environ)
    address = dashboard_address(url) if url else settings.dashboard_url
    if not address:
        raise click.UsageError("name the dashboard with --dashboard, or set IFCB_DASHBOARD_URL")
    dashboard, store = Dashboard(address), SentStore(settings.home / SENT_FILE)
    recorded = {one.row.pid for one in store.rows(address)}
    decided = decided_bins(daily_tables(), label_store().decisions(), recorded, with_suspicion=suspected)
    plan, found = look(dashboard, decided, store)
    if dry_run:
        for row in plan.send:
            click.echo(f"{row.pid}  {', '.join(filter(None, (row.skip, *row.tags, row.comment)))}")
        click.echo(f"{len(plan.send)} to be sent, {len(plan.unchanged)} unchanged, {len(plan.not_found)} not found, "
                   f"{len(plan.left)} left as they are")  # fmt: skip
        return
    if plan.send:
        if not user:
            raise click.UsageError("name the user of the dashboard with --user")
        dashboard.login(user, _password(password_file, user))
    _say_outcome(hand_over(dashboard, plan, found, store))


def _password(file: Path | None, user: str) -> str:
    if file is not None:
        return read_text(file).rstrip("\r\n")
    return click.prompt(f"Password of {user}", hide_input=True, err=True)


def _say_outcome(outcome: "Outcome") -> None:
    plan = outcome.plan
    for what, rows in (("not found", outcome.not_found), ("not yours", outcome.not_yours)):
        for row in rows:
            click.echo(f"{row.pid}  {what}", err=True)
    for row, why in outcome.failed:
        click.echo(f"{row.pid}  {why}", err=True)
    click.echo(f"{len(plan.send)} sent, {len(outcome.changed)} changed, {len(plan.unchanged)} unchanged, "
               f"{len(outcome.not_found)} not found, {len(outcome.not_yours)} not yours, {len(outcome.failed)} failed; "
               f"{len(plan.left)} left as they are")  # fmt: skip
    if outcome.n_withdrawn:
        click.echo(f"{outcome.n_withdrawn} of them are withdrawn: tagged so, with a comment; the tags of their causes "
                   "stay until a superuser of the dashboard removes them")  # fmt: skip
    if not outcome.complete:
        raise click.ClickException(outcome.problem or "not all decisions are on the dashboard")

"""Commands that start a deployment, look into its data folder and keep it in order."""

import os
from pathlib import Path
from typing import Any

import click

from ifcb_flow_pipeline.commands.common import DIRECTORY, IN_FILE, daily_tables
from ifcb_flow_pipeline.commands.program import Command


@click.command(cls=Command)
@click.option("--serve/--no-serve", default=True, help="Start the Dagster UI and the review app at the end.")
@click.option("--dagster-port", type=int, default=3000, help="Port of the Dagster UI; the next free one is taken.")
@click.option("--app-port", type=int, default=8501, help="Port of the review app; the next free one is taken.")
def demo(serve: bool, dagster_port: int, app_port: int) -> None:
    """Run the whole pipeline on a simulated archive, or on yours (IFCB_DATA_DIR), and show the results."""
    from ifcb_flow_pipeline import demo as demonstration

    if serve:
        from ifcb_flow_pipeline.serving import check_before_serving

        check_before_serving(dagster_port, app_port)
    settings = demonstration.prepare(os.environ, click.echo)
    demonstration.run(settings, click.echo)
    if serve:
        _serve(settings, dagster_port, app_port)


@click.command(cls=Command)
@click.option("--dagster-port", type=int, default=3000, help="Port of the Dagster UI; the next free one is taken.")
@click.option("--app-port", type=int, default=8501, help="Port of the review app; the next free one is taken.")
@click.option(
    "--api-port", type=int, help="Start the HTTP interface, too (see ifcb-flow api), on this port or the next."
)
def serve(dagster_port: int, app_port: int, api_port: int | None) -> None:
    """Start the Dagster UI, its daemon and the review app, until stopped."""
    from ifcb_flow_pipeline.store.settings import Settings

    _serve(Settings.from_environment(os.environ), dagster_port, app_port, api_port)


@click.command(cls=Command)
@click.option("--host", default="127.0.0.1", help="Address to listen on; any but this machine's own needs a token.")
@click.option("--port", type=click.IntRange(1, 65535), default=8001, help="Port to listen on.")
@click.option("--token-file", type=IN_FILE, help="File with the token that every request must carry.")
def api(host: str, port: int, token_file: Path | None) -> None:
    """Answer other programs over HTTP, read-only, until stopped: scores, faults, and metrics for Prometheus."""
    from ifcb_flow_pipeline.store.settings import Settings, allowed_hosts
    from ifcb_flow_pipeline.web.server import server

    started = server(Settings.from_environment(os.environ), host, port, token_file, allowed_hosts(os.environ))
    click.echo(f"Listening on {host}, port {port}; /openapi.json describes the routes")
    started.run()


@click.command(cls=Command)
def warm() -> None:
    """Compile ahead of time what else is compiled when it is first used, so that later commands start at once.

    With IFCB_KERNEL_CACHE set, into that folder, which may be made on one machine and used on others like it.
    """
    from ifcb_flow_pipeline.warm import place
    from ifcb_flow_pipeline.warm import warm as compile_all

    click.echo(f"{compile_all()} kernels are compiled and kept {place()}")


@click.command(cls=Command)
def left_out() -> None:
    """List what the deployment's archive has that is in no day's tables, and why.

    These are bins in a directory of another date, bins whose time is before the first day or in the future, and files
    that are not named as a bin.
    """
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.store.left_out import LeftOutTable, examples, summary
    from ifcb_flow_pipeline.store.settings import Settings
    from ifcb_flow_pipeline.store.survey import Budget

    settings = Settings.from_environment(os.environ)
    table = LeftOutTable(settings.home)
    while not table.renew(settings, datetime.now(tz=UTC).date(), Budget()):
        pass  # directories appeared meanwhile
    rows = table.read()
    if rows is None or not rows.num_rows:
        click.echo(f"nothing in {settings.archive.root} is left out")
        return
    for line in examples(rows, rows.num_rows):
        click.echo(line)
    click.echo(f"{summary(rows)}; also in {table.path}")


@click.command(cls=Command)
@click.argument("pid")
def verdicts(pid: str) -> None:
    """Show what models have said of the bin PID, oldest first, with the verdict that stands at the end."""
    import pyarrow.compute as pc

    from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
    from ifcb_flow_pipeline.lasting import past_verdicts
    from ifcb_flow_pipeline.store.tables import BIN_SCORES

    try:
        day = parse_pid(pid).day
    except InvalidPidError as error:
        raise click.BadParameter(str(error)) from error
    tables = daily_tables()
    for row in past_verdicts(tables, pid):
        click.echo(
            f"{row['model_id']:34} {row['severity']:5.1f}  {row['verdict']:10} until {row['until']:%Y-%m-%d %H:%M}"
        )
    rows = tables.read(BIN_SCORES, day, ["pid", "model_id", "severity", "verdict"])
    if rows is None or not (now := rows.filter(pc.field("pid") == pid).to_pylist()):
        raise click.ClickException(f"{pid} has no score")
    click.echo(f"{now[0]['model_id']:34} {now[0]['severity']:5.1f}  {now[0]['verdict']}")


@click.command(cls=Command)
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), help="First day to look at.  [default: all]")
@click.option("--last-day", type=click.DateTime(["%Y-%m-%d"]), help="Last day to look at.  [default: all]")
@click.option("--instrument", "instruments", multiple=True, help="Only of this instrument; may be repeated.")
@click.option("--remove", is_flag=True, help="Remove their results, for good, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def gone(first_day: Any, last_day: Any, instruments: tuple[str, ...], remove: bool, yes: bool) -> None:
    """List the bins whose files are gone from the archive. Their results are kept until they are removed here."""
    from datetime import date

    from ifcb_flow_pipeline.lasting import forget, gone_bins

    tables = daily_tables()
    days = (first_day.date() if first_day else date.min, last_day.date() if last_day else date.max)
    found = [each for each in gone_bins(tables, *days) if not instruments or each.instrument in instruments]
    for each in found:
        click.echo(f"{each.pid}  files gone since {each.since:%Y-%m-%d %H:%M} UTC")
    click.echo(f"{len(found)} bins whose files are gone")
    if remove and found:
        if not yes:
            click.confirm(f"Remove all results of these {len(found)} bins, for good?", abort=True)
        click.echo(f"{forget(tables, found)} bins removed")


@click.command(cls=Command)
def archive_moved() -> None:
    """Say that the archive of this data folder is now where IFCB_DATA_DIR says."""
    from ifcb_flow_pipeline.store.claim import move
    from ifcb_flow_pipeline.store.settings import Settings

    settings = Settings.from_environment(os.environ)
    settings.archive.check_mounted()
    move(daily_tables(), settings.archive)
    click.echo(f"The results in {settings.home} are of the archive {settings.archive.root}")


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Copy people's decisions, studies and the models into the new folder FOLDER, also while everything runs."""
    from ifcb_flow_pipeline.store.backup import back_up
    from ifcb_flow_pipeline.store.settings import Settings

    copied = back_up(Settings.from_environment(os.environ).home, folder)
    click.echo(f"{', '.join(copied) or 'nothing to be copied'}: {folder}")


@click.command(cls=Command)
@click.argument("folder", type=DIRECTORY)
def restore(folder: Path) -> None:
    """Put the backup in FOLDER into a data folder that has no decisions, studies or models."""
    from ifcb_flow_pipeline.store.backup import restore as put_back
    from ifcb_flow_pipeline.store.settings import Settings

    home = Settings.from_environment(os.environ).home
    click.echo(f"{', '.join(put_back(home, folder))}: {home}")


def _serve(settings: Any, dagster_port: int, app_port: int, api_port: int | None = None) -> None:
    from ifcb_flow_pipeline.serving import serve_until_stopped

    serve_until_stopped(settings, dagster_port, app_port, click.echo, api_port)

"""Commands about people's decisions."""

from pathlib import Path

import click

from ifcb_flow_pipeline.commands.common import IN_FILE, label_store, say_unmatched, user_name, who
from ifcb_flow_pipeline.commands.program import Group


@click.group(cls=Group)
def labels() -> None:
    """Import, list and withdraw people's decisions about bins, days and longer ranges."""


@labels.command("import")
@click.argument("csv_file", type=IN_FILE)
@who
def import_labels(csv_file: Path, who: str | None) -> None:
    """Import the decisions in CSV_FILE: about single bins, or about all bins of an instrument in a range of time.

    Columns: pid, or instrument with day, or instrument with start and end (both included, UTC); decision (good, bad or
    unsure); reason (free text) and context (yes: no fault of the instrument; nothing is learned from it), if wanted.
    Bins that arrive later are included.
    """
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import known_pids
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.label_files import read_label_file

    store = label_store()
    found = read_label_file(csv_file, who or user_name(), datetime.now(tz=UTC))
    store.add(found.labels, found.ranges)
    known = known_pids(DailyTables(store.path.parent / "tables"), found.decisions)
    in_ranges = sum(found.decisions.range_of(pid) is not None for pid in known)
    click.echo(f"{len(found.labels)} decisions about single bins, {len(found.ranges)} about ranges with {in_ranges} "
               f"bins so far: {store.path}")  # fmt: skip
    say_unmatched([*found.no_bins, *found.decisions.unmatched(known)], "of the bins in the tables so far")


@labels.command("list")
def list_labels() -> None:
    """List the decisions about ranges, and how many there are about single bins."""
    store = label_store()
    for one in store.ranges():
        tags = f" ({', '.join(one.tags)})" if one.tags else ""
        note = f": {one.note}" if one.note else ""
        click.echo(f"{one.id:6} {one.name}  {one.decision}{tags} by {one.reviewer}, {one.at:%Y-%m-%d}{note}")
    click.echo(f"{len(store.current())} single bins: {store.path}")


@labels.command("withdraw")
@click.argument("number", type=int)
@who
def withdraw_label(number: int, who: str | None) -> None:
    """Withdraw the decision about a range, by its NUMBER in the list."""
    from datetime import UTC, datetime

    label_store().withdraw_range(number, who or user_name(), datetime.now(tz=UTC))
    click.echo(f"range {number} is withdrawn")

"""The command that opens a file of scores in the review app."""

import os
from pathlib import Path

import click

from ifcb_flow_pipeline.commands.common import DIRECTORY, IN_FILE
from ifcb_flow_pipeline.commands.program import Command


@click.command(cls=Command)
@click.argument("scores", type=IN_FILE)
@click.option("--data", "data_dir", type=DIRECTORY, help="Where the bins are.  [default: IFCB_DATA_DIR]")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the app's tables and for people's decisions.  [default: SCORES-review]")  # fmt: skip
@click.option("--app-port", type=int, default=8501, help="Port of the review app; the next free one is taken.")
@click.option("--open/--no-open", "serve", default=True, help="Start the review app at the end.")
def review(scores: Path, data_dir: Path | None, home: Path | None, app_port: int, serve: bool) -> None:
    """Open SCORES, a CSV file of ours or of ifcb-flow-metric, in the review app, with the clouds of its bins."""
    from ifcb_flow_pipeline.scores_review import make_tables, read_scores
    from ifcb_flow_pipeline.store.settings import Settings

    folder = (home or Path(f"{scores.stem}-review")).absolute()
    environment = os.environ | {"IFCB_FLOW_HOME": str(folder)}
    if data_dir is not None:
        environment["IFCB_DATA_DIR"] = str(data_dir.absolute())
    settings = Settings.from_environment(environment)
    found = read_scores(scores)
    n_found = make_tables(found, settings.archive, settings)
    click.echo(f"{len(found.rows)} bins of {scores}, {n_found} of them in {settings.archive.root}; tables in {folder}")
    if serve:
        from ifcb_flow_pipeline.serving import review_app

        review_app(environment, app_port, click.echo)

"""Commands that read bins and judge them by their point clouds."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifcb_flow_pipeline.commands.common import (
    DIRECTORY,
    IN_FILE,
    OUT_FILE,
    open_archive,
    progress,
    read_ids,
    read_text,
    say_unmatched,
    write_table,
    writing,
)
from ifcb_flow_pipeline.commands.program import Command, LeanCommand, one_line

if TYPE_CHECKING:
    import pyarrow as pa

    from ifcb_flow_pipeline.features.catalogue import FeatureSet
    from ifcb_flow_pipeline.features.extract import FeatureSettings


class _AspectRatio(click.ParamType):
    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        ratio = click.FLOAT.convert(value, param, ctx)
        if not 0 < ratio < float("inf"):
            self.fail(f"{value} is not a positive number.", param, ctx)
        return ratio


class _Amount(click.ParamType):
    name = "count|share|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelError, parse_amount

        try:
            return ForestSettings(max_samples=parse_amount(str(value))).max_samples
        except ModelError as error:
            self.fail(one_line(error), param, ctx)


class _Frames(click.ParamType):
    name = "INSTRUMENT=WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ifcb_flow_pipeline.bins.frame import parse_frames

        try:
            parse_frames(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return str(value)


def _options(*options: Any) -> Any:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_reading = _options(
    click.argument("data_dir", type=DIRECTORY),
    click.option("--id-file", type=IN_FILE, help="Text file with one bin identifier a line; without it, all bins."),
    click.option("--n-jobs", type=int, default=-1, help="Threads that read and compute; -1: one per core."),
    click.option("--chunk-size", type=click.IntRange(min=1), default=100, help="At most this many bins per task."),
    click.option("--exclude", multiple=True, help="Directory that holds no samples, at any depth; may be repeated. "
                 "Replaces beads, skip, bad, temp, data_temp; an empty name excludes none."),
    click.option("--reader", type=click.Choice(["native", "pyifcb"]), default="native",
                 help="What reads ADC files: native, or pyifcb, WHOI's library, if it is installed."),
)  # fmt: skip


_selection = _options(
    click.option("--config", help="Feature selection as YAML text: family: {feature: true or false}."),
    click.option("--config-file", type=IN_FILE, help="The same, from a YAML file."),
)


_triggers = click.Choice(["images", "all"])


_frames = click.option("--frames", type=_Frames(), multiple=True,
                       help="Camera frame in px of an instrument whose frame differs from its family's; "
                            "may be repeated.")  # fmt: skip


_feature_set = click.Choice(["full", "reference"])


_detector = click.Choice(["flow", "forest", "mcif", "mcif-calibrated", "latent"])


#: The columns of a score file that people look at first.
_FIRST = ["pid", "anomaly_score", "severity", "verdict", "cause", "reasons"]


@click.command(cls=LeanCommand)
@_reading
@click.option("--detector", type=_detector,
              help="flow: each instrument against its own history, with causes and reasons; forest: that of "
                   "ifcb-flow-metric; mcif, mcif-calibrated: an isolation forest for each instrument, its scores as "
                   "they are or on one scale; latent: these in the latent space of a classifier.  [default: flow; "
                   "forest for --feature-set reference]")  # fmt: skip
@click.option("--feature-set", type=_feature_set,
              help="full: all features, not for forest; reference: those of ifcb-flow-metric, not for flow.  "
                   "[default: reference for --detector forest, else full]")  # fmt: skip
@click.option("--labels", type=IN_FILE,
              help="People's decisions: the labels.sqlite of the review app, or a CSV file as labels import takes "
                   "it.")  # fmt: skip
@_selection
@click.option("--contamination", type=click.FloatRange(0, 0.5, min_open=True), default=0.02,
              help="Forests only: share of the training bins that are called bad; moves no score.")  # fmt: skip
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="What x is divided by.")
@click.option("--triggers", type=_triggers, default="images", help="Which triggers count as points of the cloud.")
@_frames
@click.option("--max-samples", type=_Amount(), default="auto",
              help="Forests only: bins per tree, a count, a share such as 0.5, or auto.")  # fmt: skip
@click.option("--max-features", type=click.FloatRange(0, 1, min_open=True), default=1.0,
              help="Forests only: share of the features per tree.")  # fmt: skip
@click.option("--model", type=OUT_FILE, default="model.npz", help="File to write the model to.")
@click.pass_context
def train(
    ctx: click.Context,
    detector: str | None,
    feature_set: str | None,
    labels: Path | None,
    config: str | None,
    config_file: Path | None,
    contamination: float,
    aspect_ratio: float,
    triggers: str,
    frames: tuple[str, ...],
    max_samples: Any,
    max_features: float,
    model: Path,
    **reading: Any,
) -> None:
    """Train a model on the bins in DATA_DIR."""
    from ifcb_flow_pipeline.api import train_on
    from ifcb_flow_pipeline.detection.model_card import ForestSettings
    from ifcb_flow_pipeline.detection.open_model import ForestChoice, detector_and_features
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.features.selection import select_features
    from ifcb_flow_pipeline.promotion import label_summary
    from ifcb_flow_pipeline.store.label_files import read_decisions
    from ifcb_flow_pipeline.store.labels import Decisions
    from ifcb_flow_pipeline.store.models import write_model

    chosen, chosen_set = detector_and_features(detector or "", feature_set or "")
    names = select_features(_selected(config, config_file), chosen_set)
    forest = ForestSettings(contamination, max_samples=max_samples, max_features=max_features)
    settings = FeatureSettings("all" if triggers == "all" else "images", aspect_ratio, " ".join(frames))
    decisions, no_bins = (Decisions(), ()) if labels is None else read_decisions(labels)
    if chosen == "flow":
        _say_ignored(ctx, "config", "config_file", "contamination", "max_samples", "max_features")
    features = _extract(settings, chosen_set, **reading)
    say_unmatched([*no_bins, *decisions.unmatched(features["pid"].to_pylist())], "of these bins")
    choice = None if chosen == "flow" else ForestChoice(chosen, names, forest)
    trained = train_on(features, settings, decisions, choice)
    with writing(model):
        write_model(model, trained)
    card = trained.card
    click.echo(f"{card.model_id}: {card.n_bins} bins, {len(card.feature_names)} features, "
               f"threshold {card.threshold:.4f}, written to {model}")  # fmt: skip
    if measured := label_summary(card):
        click.echo(measured)
    if card.note:
        click.echo(f"Warning: {card.note}", err=True)


@click.command(cls=LeanCommand)
@_reading
@_selection
@click.option("--aspect-ratio", type=_AspectRatio(), help="Must be the model's.  [default: the model's]")
@click.option("--triggers", type=_triggers, help="Must be the model's.  [default: the model's]")
@click.option("--feature-set", type=_feature_set, help="Must be the model's.  [default: the model's]")
@click.option("--model", type=IN_FILE, default="model.npz", help="File of the model.")
@click.option("--output", type=OUT_FILE, default="scores.csv",
              help="File to write, worst bin first: .csv, or .parquet.")  # fmt: skip
def score(
    config: str | None,
    config_file: Path | None,
    aspect_ratio: float | None,
    triggers: str | None,
    feature_set: str | None,
    model: Path,
    output: Path,
    **reading: Any,
) -> None:
    """Score the bins in DATA_DIR with a model: a verdict for each, with its reasons.

    With --id-file, the bins of the 15 days before those asked for are read too: they show what is normal at the time.
    """
    from dataclasses import replace

    from ifcb_flow_pipeline.days import score_table
    from ifcb_flow_pipeline.detection.model_card import ModelError
    from ifcb_flow_pipeline.features.selection import select_features
    from ifcb_flow_pipeline.store.models import read_model

    loaded = read_model(model)
    theirs = loaded.card.feature_settings
    asked = triggers if triggers == "all" or triggers == "images" else theirs.triggers
    settings = replace(theirs, triggers=asked, aspect_ratio=aspect_ratio or theirs.aspect_ratio)
    loaded.check_usable(settings)
    if feature_set not in (None, loaded.card.feature_set):
        raise ModelError(f"{model} was trained on the feature set {loaded.card.feature_set}, not {feature_set}; "
                         f"train one with --feature-set {feature_set}")  # fmt: skip
    selection = _selected(config, config_file)
    if selection is not None and select_features(selection) != loaded.card.feature_names:
        raise ModelError(f"{model} was trained on other features than selected; leave the selection out to use its own")
    features = _extract(settings, "reference" if loaded.card.feature_set == "reference" else "full", **reading)
    history = _days_before(settings, **reading) if loaded.card.kind == "flow" else None
    scores = score_table(features, loaded, history)
    write_table(scores.select(_FIRST + [name for name in scores.column_names if name not in _FIRST]), output)
    say_verdicts(scores)
    click.echo(f"{scores.num_rows} bins: {output}")


@click.command(cls=LeanCommand)
@_reading
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="What x is divided by.")
@click.option("--triggers", type=_triggers, default="images", help="Which triggers count as points of the cloud.")
@_frames
@click.option("--feature-set", type=_feature_set, default="full",
              help="full: all features; reference: those of ifcb-flow-metric, in half of the time.")  # fmt: skip
@click.option("--output", type=OUT_FILE, required=True, help="File to write: .parquet or .csv.")
def features(
    aspect_ratio: float,
    triggers: str,
    frames: tuple[str, ...],
    feature_set: "FeatureSet",
    output: Path,
    **reading: Any,
) -> None:
    """Compute the features of the bins in DATA_DIR."""
    from ifcb_flow_pipeline.features.extract import FeatureSettings

    if output.suffix not in (".parquet", ".csv"):
        raise click.BadParameter(f"{output} must end in .parquet or .csv", param_hint="--output")
    settings = FeatureSettings("all" if triggers == "all" else "images", aspect_ratio, " ".join(frames))
    table = _extract(settings, feature_set, **reading)
    write_table(table, output)
    click.echo(f"{table.num_rows} bins: {output}")


@click.command(cls=LeanCommand)
@click.argument("data_dir", type=DIRECTORY)
@click.option("--model", type=IN_FILE, default="model.npz", help="File of the model.")
@click.option("--interval", type=click.FloatRange(min=0, min_open=True), default=10.0, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once, then stop.")
def watch(data_dir: Path, model: Path, interval: float, once: bool) -> None:
    """Follow the bins being recorded in DATA_DIR: a line each time one has grown, until stopped with Ctrl-C."""
    import time

    from ifcb_flow_pipeline.live import Watch
    from ifcb_flow_pipeline.store.archive import DEFAULT_SETTLE, Archive
    from ifcb_flow_pipeline.store.models import read_model

    watched = Watch(Archive(data_dir, settle=DEFAULT_SETTLE), read_model(model))
    try:
        while True:
            for live in watched.look():
                click.echo(live.line())
            if once:
                return
            time.sleep(interval)
    except KeyboardInterrupt:
        # How people end it: nothing was left half done.
        return


@click.command(cls=Command)
@click.argument("csv1", type=IN_FILE)
@click.argument("csv2", type=IN_FILE)
@click.option("--output", type=OUT_FILE, required=True, help="Picture to write (.png).")
@click.option("--title", default="Anomaly scores", help="Title of the picture.")
@click.option("--name1", help="Name of the first set.  [default: its file name]")
@click.option("--name2", help="Name of the second set.  [default: its file name]")
def compare(csv1: Path, csv2: Path, output: Path, title: str, name1: str | None, name2: str | None) -> None:
    """Show the scores in two score files side by side."""
    from ifcb_flow_pipeline.comparison import compare_scores
    from ifcb_flow_pipeline.store.daily import replacing

    names = (name1 or csv1.stem, name2 or csv2.stem)
    summary, picture = compare_scores((csv1, csv2), names, title)
    with writing(output), replacing(output) as temporary:
        temporary.write_bytes(picture)
    click.echo(summary)


@click.command(cls=Command)
@click.argument("pickle_file", type=IN_FILE)
@click.argument("model", type=OUT_FILE)
@click.option("--triggers", type=_triggers, required=True,
              help="Which triggers were points: all before ifcb-flow-metric 1.1.0, images since.")  # fmt: skip
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="The ratio that it was trained with.")
def convert_model(pickle_file: Path, model: Path, triggers: str, aspect_ratio: float) -> None:
    """Convert a classifier.pkl of ifcb-flow-metric, once. Nothing in the file is executed."""
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.store.models import write_model
    from ifcb_flow_pipeline.store.old_models import convert_apart

    settings = FeatureSettings("all" if triggers == "all" else "images", aspect_ratio)
    converted = convert_apart(pickle_file, settings, datetime.now(tz=UTC), library_versions())
    with writing(model):
        write_model(model, converted)
    click.echo(f"{converted.card.model_id}: {len(converted.card.feature_names)} features, written to {model}")


def _say_ignored(ctx: click.Context, *names: str) -> None:
    given = [name for name in names if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        click.echo(f"{options}: without effect with the detector flow", err=True)


def say_verdicts(scores: "pa.Table") -> None:
    """Say how many bins have which verdict, who is not judged, and which faults are still going on."""
    from collections import Counter
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import status_counts
    from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of

    counts = status_counts(scores.column("verdict").to_pylist())
    click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "no bins")
    rows = zip(scores.column("instrument").to_pylist(), scores.column("verdict").to_pylist(), strict=True)
    not_judged = Counter(name for name, verdict in rows if verdict == "not_judged")
    for name, count in sorted(not_judged.items()):
        click.echo(f"{name}: {count} bins without a verdict: the model and these bins hold too little history of it")
    for episode in episodes_of(scores, datetime.now(tz=UTC)):
        if episode.ongoing:
            click.echo(episode.line())


def _extract(
    settings: "FeatureSettings",
    feature_set: "FeatureSet",
    data_dir: Path,
    id_file: Path | None,
    n_jobs: int,
    chunk_size: int,
    exclude: tuple[str, ...],
    reader: str,
) -> "pa.Table":
    from ifcb_flow_pipeline.api import archive_features

    if n_jobs == 0:
        raise click.BadParameter("must not be 0; -1 takes one thread per core", param_hint="--n-jobs")
    pids = None if id_file is None else read_ids(id_file)
    with progress(n_jobs, chunk_size, len(pids) if pids is not None else None) as work:
        table = archive_features(open_archive(data_dir, exclude, reader), pids, settings, work, feature_set)
    _report(table)
    return table


def _days_before(settings: "FeatureSettings", id_file: Path | None, **reading: Any) -> "pa.Table | None":
    """The features of the bins before those asked for; None where all bins are."""
    from ifcb_flow_pipeline.api import Work, archive_features, bins_before

    if id_file is None:
        return None
    archive = open_archive(reading["data_dir"], reading["exclude"], reading["reader"])
    work = Work(reading["n_jobs"], reading["chunk_size"])
    return archive_features(archive, bins_before(archive, read_ids(id_file)), settings, work)


def _report(table: "pa.Table") -> None:
    import pyarrow.compute as pc

    from ifcb_flow_pipeline.days import status_counts
    from ifcb_flow_pipeline.store.tables import status_name

    counts: Mapping[str, int] = status_counts(table.column("status").to_pylist())
    without = {status: count for status, count in counts.items() if status != "ok"}
    if without:
        listed = ", ".join(f"{count} {status_name(status)}" for status, count in without.items())
        click.echo(f"{sum(without.values())} of {table.num_rows} bins have no features: {listed}", err=True)
        _name_each(table.filter(pc.field("status") != "ok"))


def _name_each(rows: "pa.Table") -> None:
    """Say why bins are not used, each on a line."""
    from ifcb_flow_pipeline.store.left_out import examples

    for line in examples(rows):
        click.echo(f"  {line}", err=True)


def _selected(config: str | None, config_file: Path | None) -> str | None:
    if config is not None and config_file is not None:
        raise click.UsageError("give --config or --config-file, not both")
    return read_text(config_file) if config_file else config

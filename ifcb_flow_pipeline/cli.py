"""The command line: parses, calls, prints. What it calls is loaded only when a command runs."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from ifcb_flow_pipeline.api import Work
    from ifcb_flow_pipeline.dashboard import Outcome
    from ifcb_flow_pipeline.features.catalogue import FeatureSet
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.store.archive import Archive
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.models import ModelStore

_IN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT_FILE = click.Path(dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


class _Command(click.Command):
    """A command whose foreseeable errors are one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        from ifcb_flow_pipeline.errors import FlowError

        try:
            return super().invoke(ctx)
        except FlowError as error:
            raise click.ClickException(_one_line(error)) from error
        except OSError as error:
            raise click.ClickException(
                f"{error.filename}: {error.strerror}" if error.filename else str(error)
            ) from error


class _LeanCommand(_Command):
    """A command that has no use for pandas. pyarrow would load it, for a quarter of a second, to see whether what it is
    given is one of its objects: as long as the command runs, it does not find it.
    """

    def invoke(self, ctx: click.Context) -> Any:
        if "pandas" in sys.modules or ctx.params.get("reader") == "pyifcb":
            return super().invoke(ctx)
        sys.meta_path.insert(0, _NoPandas)
        try:
            return super().invoke(ctx)
        finally:
            sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Where Python looks for modules: here, pandas is not to be found."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG004 - Python's signature
        if name == "pandas":
            raise ModuleNotFoundError(name)


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
            self.fail(_one_line(error), param, ctx)


class _Group(click.Group):
    command_class = _Command
    group_class = type  # groups within are of this class, too


#: Objects are looked through for cycles after so many new ones: while hundreds of modules are loaded, Python's own
#: number makes it look again and again, for a fifth of a second in all.
_OBJECTS_BEFORE_COLLECTION = 50_000


class _Program(_Group):
    """All commands; called, it is the program ``ifcb-flow``, started and ended without work that nobody sees."""

    group_class = _Group

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("standalone_mode", True):
            return super().__call__(*args, **kwargs)
        import gc

        gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *gc.get_threshold()[1:])
        try:
            super().__call__(*args, **kwargs)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise
        return _leave()


def _leave() -> NoReturn:
    """End this process as it would end by itself, but without taking its memory apart object by object, which takes
    a third of a second once numba is loaded: the system takes it back at once.
    """
    import atexit
    import threading

    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue] - waits for threads, as Python does first
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Python says what could not be written, and to where, and ends with a code that is not zero.
        sys.exit(0)
    os._exit(0)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="ifcb-flow-pipeline")
def main() -> None:
    """Find the Imaging FlowCytobot bins to distrust."""


def _options(*options: Any) -> Any:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_reading = _options(
    click.argument("data_dir", type=_DIRECTORY),
    click.option("--id-file", type=_IN_FILE, help="Text file with one bin identifier a line; without it, all bins."),
    click.option("--n-jobs", type=int, default=-1, help="Threads that read and compute; -1: one per core."),
    click.option("--chunk-size", type=click.IntRange(min=1), default=100, help="Bins per task, at most."),
    click.option("--exclude", multiple=True, help="Directory without samples, at any depth; may be repeated. "
                 "Replaces beads, skip, bad, temp, data_temp; an empty name excludes none."),
    click.option("--reader", type=click.Choice(["native", "pyifcb"]), default="native", help="Who reads ADC files."),
)  # fmt: skip
_selection = _options(
    click.option("--config", help="Feature selection as YAML text: family: {feature: true or false}."),
    click.option("--config-file", type=_IN_FILE, help="The same, from a YAML file."),
)


class _Frames(click.ParamType):
    name = "INSTRUMENT=WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ifcb_flow_pipeline.bins.frame import parse_frames

        try:
            parse_frames(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return str(value)


_triggers = click.Choice(["images", "all"])
_frames = click.option("--frames", type=_Frames(), multiple=True,
                       help="Camera frame in px of an instrument that has another than its family; "
                            "may be repeated.")  # fmt: skip
_feature_set = click.Choice(["full", "reference"])
_detector = click.Choice(["flow", "forest", "mcif", "mcif-calibrated", "latent"])
_who = click.option("--who", help="Who wants it; kept in the history.  [default: the user's name]")
_note = click.option("--note", default="", help="Why; kept in the history.")

#: The columns of a score file that people look at first.
_FIRST = ["pid", "anomaly_score", "severity", "verdict", "cause", "reasons"]


@main.command(cls=_LeanCommand)
@_reading
@click.option("--detector", type=_detector,
              help="flow: each instrument against its own history, with causes and reasons; forest: that of "
                   "ifcb-flow-metric; mcif, mcif-calibrated: an isolation forest for each instrument, its scores as "
                   "they are or on one scale; latent: these in the latent space of a classifier.  [default: flow; "
                   "forest for --feature-set reference]")  # fmt: skip
@click.option("--feature-set", type=_feature_set,
              help="full: all features, not for forest; reference: those of ifcb-flow-metric, not for flow.  "
                   "[default: reference for --detector forest, else full]")  # fmt: skip
@click.option("--labels", type=_IN_FILE,
              help="People's decisions: the labels.sqlite of the review app, or a CSV file as labels import takes "
                   "it.")  # fmt: skip
@_selection
@click.option("--contamination", type=click.FloatRange(0, 0.5, min_open=True), default=0.02,
              help="Forests only: share of the training bins that are called bad; moves no score.")  # fmt: skip
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="Width over height of x.")
@click.option("--triggers", type=_triggers, default="images", help="Which triggers are points of the cloud.")
@_frames
@click.option("--max-samples", type=_Amount(), default="auto",
              help="Forests only: bins per tree, a count, a share such as 0.5, or auto.")  # fmt: skip
@click.option("--max-features", type=click.FloatRange(0, 1, min_open=True), default=1.0,
              help="Forests only: share of the features per tree.")  # fmt: skip
@click.option("--model", type=_OUT_FILE, default="model.npz", help="File to write the model to.")
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
    _say_unmatched([*no_bins, *decisions.unmatched(features["pid"].to_pylist())], "of these bins")
    choice = None if chosen == "flow" else ForestChoice(chosen, names, forest)
    trained = train_on(features, settings, decisions, choice)
    with _writing(model):
        write_model(model, trained)
    card = trained.card
    click.echo(f"{card.model_id}: {card.n_bins} bins, {len(card.feature_names)} features, "
               f"threshold {card.threshold:.4f}, written to {model}")  # fmt: skip
    if measured := label_summary(card):
        click.echo(measured)
    if card.note:
        click.echo(f"Warning: {card.note}", err=True)


@main.command(cls=_LeanCommand)
@_reading
@_selection
@click.option("--aspect-ratio", type=_AspectRatio(), help="Must be the model's.  [default: the model's]")
@click.option("--triggers", type=_triggers, help="Must be the model's.  [default: the model's]")
@click.option("--feature-set", type=_feature_set, help="Must be the model's.  [default: the model's]")
@click.option("--model", type=_IN_FILE, default="model.npz", help="File of the model.")
@click.option("--output", type=_OUT_FILE, default="scores.csv",
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

    With --id-file, the bins of the 15 days before those asked for are read too: they tell what is usual at the time.
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
    _write(scores.select(_FIRST + [name for name in scores.column_names if name not in _FIRST]), output)
    _say_verdicts(scores)
    click.echo(f"{scores.num_rows} bins: {output}")


@main.command(cls=_LeanCommand)
@_reading
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="Width over height of x.")
@click.option("--triggers", type=_triggers, default="images", help="Which triggers are points of the cloud.")
@_frames
@click.option("--feature-set", type=_feature_set, default="full",
              help="full: all features; reference: those of ifcb-flow-metric, in half of the time.")  # fmt: skip
@click.option("--output", type=_OUT_FILE, required=True, help="File to write: .parquet or .csv.")
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
    _write(table, output)
    click.echo(f"{table.num_rows} bins: {output}")


_image_model = click.option("--model", type=_IN_FILE, help="File of the image model.  [default: the ready one]")
_per_bin = click.option("--per-bin", type=click.IntRange(min=0), default=200,
                        help="Images of each bin that are looked at, spread over its run; 0: all.")  # fmt: skip
_exclude = click.option("--exclude", multiple=True, help="Directory without samples, at any depth; may be repeated.")


@main.command()
@click.argument("data_dir", type=_DIRECTORY)
@click.option("--id-file", type=_IN_FILE, help="Text file with one bin identifier a line; without it, all bins.")
@click.option("--n-jobs", type=int, default=-1, help="Threads that read and compute; -1: one per core.")
@_exclude
@_per_bin
@_image_model
@click.option("--output", type=_OUT_FILE, default="images.csv",
              help="File to write, likeliest faults first: .csv, or .parquet.")  # fmt: skip
def images(
    data_dir: Path,
    id_file: Path | None,
    n_jobs: int,
    exclude: tuple[str, ...],
    per_bin: int,
    model: Path | None,
    output: Path,
) -> None:
    """Judge the images of the bins in DATA_DIR: a row for each, with its fault, oddness, reasons and features."""
    from collections import Counter

    from ifcb_flow_pipeline.archive_images import image_table, read_archive_images
    from ifcb_flow_pipeline.store.image_files import read_image_model

    if n_jobs == 0:
        raise click.BadParameter("must not be 0; -1 takes one thread per core", param_hint="--n-jobs")
    loaded = read_image_model(model)
    pids = None if id_file is None else _ids(id_file)
    archive = _archive(data_dir, exclude, "native")
    with _progress(n_jobs, 1, None if pids is None else len(pids)) as work:
        bins = read_archive_images(archive, pids, per_bin, n_jobs, work.progress)
    without = [each for each in bins if each.status != "ok"]
    if without:
        listed = ", ".join(f"{count} {status}" for status, count in Counter(each.status for each in without).items())
        click.echo(f"{len(without)} of {len(bins)} bins have no images: {listed}", err=True)
        for each in without[:5]:
            click.echo(f"  {each.pid}: {each.status}: {each.reason}", err=True)
    table = image_table(bins, loaded)
    _write(table, output)
    if table.num_rows:
        counts = Counter(filter(None, table.column("fault").to_pylist()))
        click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.most_common()))
    click.echo(f"{table.num_rows} images of {len(bins)} bins: {output}")


@main.command()
@click.argument("folders", type=_DIRECTORY, nargs=-1, required=True)
@_per_bin
@click.option("--without", multiple=True, metavar="PID", help="Bin to leave out, for it has a fault; may be repeated.")
@click.option("--source", default="", help="For the model's card: what the images are, and under which licence.")
@click.option("--model", type=_OUT_FILE, default="images.npz", help="File to write the model to.")
def train_images(folders: tuple[Path, ...], per_bin: int, without: tuple[str, ...], source: str, model: Path) -> None:
    """Train an image model on the clean images in FOLDERS: folders of classes with pictures, or archives with .roi.

    Faults are planted into the images, so that none need be labelled; images that are faulty already make it blind.
    """
    from datetime import UTC, datetime

    from tqdm import tqdm

    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.detection.images.training import planted_features, train_image_model
    from ifcb_flow_pipeline.store.image_files import training_images, write_image_model

    images = (each for folder in folders for each in training_images(folder, per_bin) if each.pid not in without)
    with tqdm(unit="image", desc="Planting faults", disable=None) as bar:
        planted = planted_features(images, progress=bar.update)
    created = datetime.now(tz=UTC)
    trained = train_image_model(planted, source or ", ".join(map(str, folders)), created, library_versions(), n_jobs=-1)
    with _writing(model):
        write_image_model(model, trained)
    metrics = trained.card.metrics
    click.echo(f"{trained.card.model_id}: {sum(trained.card.n_images.values())} images of "
               f"{len(trained.card.classes)} classes, written to {model}")  # fmt: skip
    click.echo(f"Of the planted faults it finds {metrics['planted_recall']:.0%} with 1 % false alarms, "
               f"and names {metrics['planted_named']:.0%} of those rightly")  # fmt: skip


@main.command()
@click.argument("pid")
@click.option("--data-dir", type=_DIRECTORY, help="Where the bin is.  [default: IFCB_DATA_DIR]")
@_image_model
@_per_bin
@click.option("--number", type=click.IntRange(1, 200), default=24, help="Images to show.")
@click.option("--output", type=_OUT_FILE, help="Picture to write.  [default: PID-odd.png]")
def odd(pid: str, data_dir: Path | None, model: Path | None, per_bin: int, number: int, output: Path | None) -> None:
    """Show the oddest images of the bin PID on one page, oddest first, with the fault of each."""
    from ifcb_flow_pipeline.image_page import odd_page
    from ifcb_flow_pipeline.store.daily import replacing
    from ifcb_flow_pipeline.store.image_files import read_image_model
    from ifcb_flow_pipeline.store.settings import Settings

    archive = _archive(data_dir, (), "native") if data_dir else Settings.from_environment(os.environ).archive
    page = odd_page(archive, pid, read_image_model(model), per_bin, number)
    path = output or Path(f"{page.pid}-odd.png")
    with _writing(path), replacing(path) as temporary:
        temporary.write_bytes(page.picture)
    for line in page.lines:
        click.echo(line)
    click.echo(f"{len(page.lines)} of {page.n_images} images: {path}")


@main.command()
def warm() -> None:
    """Compile ahead of time what else is compiled when it is first used, so that later commands start at once.

    With IFCB_KERNEL_CACHE set, into that folder, which may be made on one machine and used on others like it.
    """
    from ifcb_flow_pipeline.warm import place
    from ifcb_flow_pipeline.warm import warm as compile_all

    click.echo(f"{compile_all()} kernels are compiled and kept {place()}")


@main.command()
@click.argument("csv1", type=_IN_FILE)
@click.argument("csv2", type=_IN_FILE)
@click.option("--output", type=_OUT_FILE, required=True, help="Picture to write (.png).")
@click.option("--title", default="Anomaly scores", help="Title of the picture.")
@click.option("--name1", help="Name of the first set.  [default: its file name]")
@click.option("--name2", help="Name of the second set.  [default: its file name]")
def compare(csv1: Path, csv2: Path, output: Path, title: str, name1: str | None, name2: str | None) -> None:
    """Show the scores in two score files side by side."""
    from ifcb_flow_pipeline.comparison import compare_scores
    from ifcb_flow_pipeline.store.daily import replacing

    names = (name1 or csv1.stem, name2 or csv2.stem)
    summary, picture = compare_scores((csv1, csv2), names, title)
    with _writing(output), replacing(output) as temporary:
        temporary.write_bytes(picture)
    click.echo(summary)


@main.command()
@click.argument("pickle_file", type=_IN_FILE)
@click.argument("model", type=_OUT_FILE)
@click.option("--triggers", type=_triggers, required=True,
              help="Which triggers were points: all before ifcb-flow-metric 1.1.0, images since.")  # fmt: skip
@click.option("--aspect-ratio", type=_AspectRatio(), default=1.36, help="As it was trained with.")
def convert_model(pickle_file: Path, model: Path, triggers: str, aspect_ratio: float) -> None:
    """Convert a classifier.pkl of ifcb-flow-metric, once. Nothing that the file says is run."""
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.store.models import write_model
    from ifcb_flow_pipeline.store.old_models import convert_apart

    settings = FeatureSettings("all" if triggers == "all" else "images", aspect_ratio)
    converted = convert_apart(pickle_file, settings, datetime.now(tz=UTC), library_versions())
    with _writing(model):
        write_model(model, converted)
    click.echo(f"{converted.card.model_id}: {len(converted.card.feature_names)} features, written to {model}")


@main.command(cls=_LeanCommand)
@click.argument("data_dir", type=_DIRECTORY)
@click.option("--model", type=_IN_FILE, default="model.npz", help="File of the model.")
@click.option("--interval", type=click.FloatRange(min=0, min_open=True), default=10.0, help="Seconds between looks.")
@click.option("--once", is_flag=True, help="Look once, and end.")
def watch(data_dir: Path, model: Path, interval: float, once: bool) -> None:
    """Follow the bins that grow in DATA_DIR: a line for each look at one, until stopped with Ctrl-C."""
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


@main.command()
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


@main.command()
def models() -> None:
    """List the kept models of the deployment, and which one is in use."""
    from ifcb_flow_pipeline.promotion import label_summary

    store = _model_store()
    if not store.ids():
        click.echo(f"no models in {store.root}: materialize anomaly_model, or set IFCB_FLOW_HOME")
    current, previous = store.current_id(), store.previous_id()
    for model_id in store.ids():
        card = store.card(model_id)
        use = {current: "in use", previous: "before"}.get(model_id, "")
        click.echo(f"{model_id:41} {use:7} {card.feature_set:10} {card.n_bins:7} bins, "
                   f"{card.first_day} to {card.last_day}  {label_summary(card)}".rstrip())  # fmt: skip
    for change in store.history():
        why = f": {change.note}" if change.note else ""
        click.echo(f"{change.at:%Y-%m-%d %H:%M} {change.action} {change.model_id} by {change.who}{why}")


@main.command()
@click.argument("model")
@_who
@_note
@click.option("--even-if-worse", is_flag=True, help="Take it even where it is worse than the model in use.")
def promote(model: str, who: str | None, note: str, even_if_worse: bool) -> None:
    """Put MODEL to use in the deployment, unless it is worse than the one in use: the id of a kept model, or a file.

    A file, such as train and convert-model write, is kept under its id first.
    """
    from ifcb_flow_pipeline import promotion
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.settings import Settings

    settings, store = Settings.from_environment(os.environ), _model_store()
    model_id = store.add(Path(model)) if Path(model).is_file() else model
    trial = promotion.promote(
        store,
        DailyTables(settings.home / "tables"),
        LabelStore(settings.home / "labels.sqlite").decisions(),
        settings.features,
        model_id,
        who=who or _user(),
        note=note,
        even_if_worse=even_if_worse,
    )
    click.echo(f"{model_id} is in use: {trial.text}")


@main.command()
@_who
@_note
def rollback(who: str | None, note: str) -> None:
    """Return to the model that was in use before."""
    click.echo(f"{_model_store().rollback(who or _user(), note)} is in use again")


@main.group()
def labels() -> None:
    """Keep people's decisions about bins, days and longer ranges in the deployment."""


@labels.command("import")
@click.argument("csv_file", type=_IN_FILE)
@_who
def import_labels(csv_file: Path, who: str | None) -> None:
    """Keep the decisions in CSV_FILE: about single bins, or about all bins of an instrument in a range of time.

    Columns: pid, or instrument with day, or instrument with start and end (both included, UTC); decision (good, bad or
    unsure); reason (free text) and context (yes: no fault of the instrument; nothing is learnt from it), if wanted.
    Bins that arrive later count, too.
    """
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import known_pids
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.label_files import read_label_file

    store = _label_store()
    found = read_label_file(csv_file, who or _user(), datetime.now(tz=UTC))
    store.add(found.labels, found.ranges)
    known = known_pids(DailyTables(store.path.parent / "tables"), found.decisions)
    in_ranges = sum(found.decisions.range_of(pid) is not None for pid in known)
    click.echo(f"{len(found.labels)} decisions about single bins, {len(found.ranges)} about ranges with {in_ranges} "
               f"bins so far: {store.path}")  # fmt: skip
    _say_unmatched([*found.no_bins, *found.decisions.unmatched(known)], "of the bins in the tables so far")


@labels.command("list")
def list_labels() -> None:
    """List the decisions about ranges, and how many there are about single bins."""
    store = _label_store()
    for one in store.ranges():
        tags = f" ({', '.join(one.tags)})" if one.tags else ""
        note = f": {one.note}" if one.note else ""
        click.echo(f"{one.id:6} {one.name}  {one.decision}{tags} by {one.reviewer}, {one.at:%Y-%m-%d}{note}")
    click.echo(f"{len(store.current())} single bins: {store.path}")


@labels.command("withdraw")
@click.argument("number", type=int)
@_who
def withdraw_label(number: int, who: str | None) -> None:
    """Take the decision about a range back, by its NUMBER in the list."""
    from datetime import UTC, datetime

    _label_store().withdraw_range(number, who or _user(), datetime.now(tz=UTC))
    click.echo(f"range {number} is withdrawn")


@main.command()
@click.option("--dashboard", "url", help="Address of the IFCB dashboard.  [default: IFCB_DASHBOARD_URL]")
@click.option("--user", help="User of the dashboard who may upload metadata; not needed for a dry run.")
@click.option(
    "--password-file",
    type=_IN_FILE,
    envvar="IFCB_DASHBOARD_PASSWORD_FILE",
    help="File with the password (also IFCB_DASHBOARD_PASSWORD_FILE); without it, it is asked for.",
)
@click.option("--suspected/--no-suspected", default=True,
              help="Tag bad bins with the cause that the model suspects: qc_flow_CAUSE.")  # fmt: skip
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
    decided = decided_bins(_tables(), _label_store().decisions(), recorded, with_suspicion=suspected)
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


@main.command()
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


@main.command()
@click.option("--dagster-port", type=int, default=3000, help="Port of the Dagster UI; the next free one is taken.")
@click.option("--app-port", type=int, default=8501, help="Port of the review app; the next free one is taken.")
def serve(dagster_port: int, app_port: int) -> None:
    """Start the Dagster UI, its daemon and the review app, until stopped."""
    from ifcb_flow_pipeline.store.settings import Settings

    _serve(Settings.from_environment(os.environ), dagster_port, app_port)


@main.command()
@click.option("--host", default="127.0.0.1", help="Address to listen on; any but this machine's own needs a token.")
@click.option("--port", type=click.IntRange(1, 65535), default=8001, help="Port to listen on.")
@click.option("--token-file", type=_IN_FILE, help="File with the token that every request must carry.")
def api(host: str, port: int, token_file: Path | None) -> None:
    """Answer other programs over HTTP, read-only, until stopped: scores, faults, and metrics for Prometheus."""
    from ifcb_flow_pipeline.store.settings import Settings, allowed_hosts
    from ifcb_flow_pipeline.web.server import server

    started = server(Settings.from_environment(os.environ), host, port, token_file, allowed_hosts(os.environ))
    click.echo(f"Listening on {host}, port {port}; /openapi.json describes the routes")
    started.run()


@main.command()
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), help="First day to look at.  [default: all]")
@click.option("--last-day", type=click.DateTime(["%Y-%m-%d"]), help="Last day to look at.  [default: all]")
@click.option("--instrument", "instruments", multiple=True, help="Only of this instrument; may be repeated.")
@click.option("--remove", is_flag=True, help="Remove their results, for good, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def gone(first_day: Any, last_day: Any, instruments: tuple[str, ...], remove: bool, yes: bool) -> None:
    """List the bins whose files are gone from the archive. Their results are kept until they are removed here."""
    from datetime import date

    from ifcb_flow_pipeline.lasting import forget, gone_bins

    tables = _tables()
    days = (first_day.date() if first_day else date.min, last_day.date() if last_day else date.max)
    found = [each for each in gone_bins(tables, *days) if not instruments or each.instrument in instruments]
    for each in found:
        click.echo(f"{each.pid}  files gone since {each.since:%Y-%m-%d %H:%M} UTC")
    click.echo(f"{len(found)} bins whose files are gone")
    if remove and found:
        if not yes:
            click.confirm(f"Remove all results of these {len(found)} bins, for good?", abort=True)
        click.echo(f"{forget(tables, found)} bins removed")


@main.command()
def archive_moved() -> None:
    """Say that the archive of this data folder is now where IFCB_DATA_DIR says."""
    from ifcb_flow_pipeline.store.claim import move
    from ifcb_flow_pipeline.store.settings import Settings

    settings = Settings.from_environment(os.environ)
    settings.archive.check_mounted()
    move(_tables(), settings.archive)
    click.echo(f"The results in {settings.home} are of the archive {settings.archive.root}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Copy people's decisions, studies and the models into the new folder FOLDER, also while everything runs."""
    from ifcb_flow_pipeline.store.backup import back_up
    from ifcb_flow_pipeline.store.settings import Settings

    copied = back_up(Settings.from_environment(os.environ).home, folder)
    click.echo(f"{', '.join(copied) or 'nothing to be copied'}: {folder}")


@main.command()
@click.argument("folder", type=_DIRECTORY)
def restore(folder: Path) -> None:
    """Put the backup in FOLDER into a data folder that has no decisions, studies or models."""
    from ifcb_flow_pipeline.store.backup import restore as put_back
    from ifcb_flow_pipeline.store.settings import Settings

    home = Settings.from_environment(os.environ).home
    click.echo(f"{', '.join(put_back(home, folder))}: {home}")


@main.command()
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
    tables = _tables()
    for row in past_verdicts(tables, pid):
        click.echo(
            f"{row['model_id']:34} {row['severity']:5.1f}  {row['verdict']:10} until {row['until']:%Y-%m-%d %H:%M}"
        )
    rows = tables.read(BIN_SCORES, day, ["pid", "model_id", "severity", "verdict"])
    if rows is None or not (now := rows.filter(pc.field("pid") == pid).to_pylist()):
        raise click.ClickException(f"{pid} has no score")
    click.echo(f"{now[0]['model_id']:34} {now[0]['severity']:5.1f}  {now[0]['verdict']}")


def _password(file: Path | None, user: str) -> str:
    if file is not None:
        return _text(file).rstrip("\r\n")
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


def _tables() -> "DailyTables":
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.settings import Settings

    return DailyTables(Settings.from_environment(os.environ).home / "tables")


def _serve(settings: Any, dagster_port: int, app_port: int) -> None:
    from ifcb_flow_pipeline.serving import serve_until_stopped

    serve_until_stopped(settings, dagster_port, app_port, click.echo)


def _model_store() -> "ModelStore":
    from ifcb_flow_pipeline.store.models import ModelStore
    from ifcb_flow_pipeline.store.settings import Settings

    return ModelStore(Settings.from_environment(os.environ).home / "models")


def _label_store() -> "LabelStore":
    from ifcb_flow_pipeline.store.labels import LabelStore
    from ifcb_flow_pipeline.store.settings import Settings

    return LabelStore(Settings.from_environment(os.environ).home / "labels.sqlite")


def _say_unmatched(names: list[str], where: str) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        click.echo(f"{len(names)} decisions match none {where}: {', '.join(names[:5])}{more}", err=True)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"user {os.getuid()}"


def _say_ignored(ctx: click.Context, *names: str) -> None:
    given = [name for name in names if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        click.echo(f"{options}: without effect with the detector flow", err=True)


def _say_verdicts(scores: "pa.Table") -> None:
    from collections import Counter
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.days import status_counts
    from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of

    counts = status_counts(scores.column("verdict").to_pylist())
    click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) or "no bins")
    rows = zip(scores.column("instrument").to_pylist(), scores.column("verdict").to_pylist(), strict=True)
    not_judged = Counter(name for name, verdict in rows if verdict == "not_judged")
    for name, count in sorted(not_judged.items()):
        click.echo(f"{name}: {count} bins not judged, for the model and these bins hold too little history of it")
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
    pids = None if id_file is None else _ids(id_file)
    with _progress(n_jobs, chunk_size, len(pids) if pids is not None else None) as work:
        table = archive_features(_archive(data_dir, exclude, reader), pids, settings, work, feature_set)
    _report(table)
    return table


def _days_before(settings: "FeatureSettings", id_file: Path | None, **reading: Any) -> "pa.Table | None":
    """The features of the bins before those asked for; None where all bins are."""
    from ifcb_flow_pipeline.api import Work, archive_features, bins_before

    if id_file is None:
        return None
    archive = _archive(reading["data_dir"], reading["exclude"], reading["reader"])
    work = Work(reading["n_jobs"], reading["chunk_size"])
    return archive_features(archive, bins_before(archive, _ids(id_file)), settings, work)


def _ids(id_file: Path) -> list[str]:
    # A bin is one row, however often it is listed.
    return list(dict.fromkeys(line.strip() for line in _text(id_file).splitlines() if line.strip()))


def _text(path: Path) -> str:
    try:
        # Windows programs begin a file with a mark of its encoding, which is no part of the text.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def _archive(data_dir: Path, exclude: tuple[str, ...], reader: str) -> "Archive":
    from datetime import timedelta

    from ifcb_flow_pipeline.bins.archive import DEFAULT_EXCLUDED
    from ifcb_flow_pipeline.store.archive import Archive

    names = frozenset(filter(None, exclude)) if exclude else DEFAULT_EXCLUDED
    # Who names a directory on the command line wants what is there now: nothing is waited for.
    return Archive(data_dir, names, timedelta(), "pyifcb" if reader == "pyifcb" else "native")


@contextmanager
def _progress(n_jobs: int, chunk_size: int, total: int | None) -> Iterator["Work"]:
    from ifcb_flow_pipeline.api import Work

    if not sys.stderr.isatty():
        yield Work(n_jobs, chunk_size)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="bin", desc="Reading bins") as bar:
        yield Work(n_jobs, chunk_size, bar.update)


def _report(table: "pa.Table") -> None:
    import pyarrow.compute as pc

    from ifcb_flow_pipeline.days import status_counts

    counts: Mapping[str, int] = status_counts(table.column("status").to_pylist())
    without = {status: count for status, count in counts.items() if status != "ok"}
    if without:
        listed = ", ".join(f"{count} {status}" for status, count in without.items())
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
    return _text(config_file) if config_file else config


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    # What fails may be a directory or a temporary file: people know the file that they named.
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror or error}") from error


def _one_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines())


def _write(table: "pa.Table", output: Path) -> None:
    from ifcb_flow_pipeline.store.daily import replacing

    with _writing(output), replacing(output) as temporary:
        if output.suffix == ".parquet":
            import pyarrow.parquet as pq

            pq.write_table(table, temporary)
        else:
            from ifcb_flow_pipeline.store.csv_files import write_csv

            write_csv(table, temporary)


if __name__ == "__main__":
    main()

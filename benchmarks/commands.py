"""Whole commands, their start and end included, beside what the replaced tool does in the same run."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks import archives
from benchmarks.table import Row
from benchmarks.timing import Times, timed_command
from benchmarks.workloads import Size
from ifcb_flow_pipeline.bins.pid import format_pid

_OURS = ("-m", "ifcb_flow_pipeline.cli")
_THEIRS = ("-m", "benchmarks.stand_in")
_REFERENCE = ("--feature-set", "reference")


def measure(folder: Path, size: Size) -> list[Row]:
    """Scoring one bin, one bin out of many, and a whole folder with the reference features."""
    flat, many, alone = folder / "flat", folder / "many", folder / "alone"
    archives.flat_archive(flat, size.scored_bins, size.mean_triggers)
    one = _many(flat, many, size.of_bins)
    archives.flat_archive(alone, 1, size.mean_triggers)
    model, forest, pickled = folder / "model.npz", folder / "forest.npz", folder / "forest.pkl"
    ids, output = folder / "ids.txt", folder / "scores.csv"
    ids.write_text(f"{one}\n")
    timed_command([*_OURS, "train", str(flat), "--model", str(model)], 1)
    ours = partial(_score, model, output)
    train = _both(
        [*_OURS, "train", str(flat), *_REFERENCE, "--model", str(forest)],
        [*_THEIRS, "train", str(flat), str(pickled)],
        size.commands,
    )
    score = _both(
        _score(forest, output, flat), [*_THEIRS, "score", str(flat), str(pickled), str(output)], size.commands
    )
    single = _both(ours(alone), [*_THEIRS, "score", str(alone), str(pickled), str(output)], size.commands)
    wanted = _both(
        [*ours(many), "--id-file", str(ids)],
        [*_THEIRS, "score", str(many), str(pickled), str(output), one],
        size.commands,
    )
    return [
        _row(
            f"train + score, reference set, {size.scored_bins} bins", _sum(train[0], score[0]), _sum(train[1], score[1])
        ),
        _row("score one bin, all features", *single),
        _row(f"score one bin out of {size.of_bins}, with those before it", *wanted),
    ]


def _score(model: Path, output: Path, folder: Path) -> list[str]:
    return [*_OURS, "score", str(folder), "--model", str(model), "--output", str(output)]


def _many(flat: Path, many: Path, n_bins: int) -> str:
    """An archive of so many bins, 70 a day in a directory each; the pid of one in the middle."""
    originals = sorted(flat.glob("*.adc"))[:40]
    start, pids = datetime(2015, 1, 1, tzinfo=UTC), []
    for i in range(n_bins):
        pid = format_pid("IFCB134", start + timedelta(days=i // 70, minutes=20 * (i % 70)))
        place = many / f"D{pid[1:5]}" / pid.partition("T")[0]
        place.mkdir(parents=True, exist_ok=True)
        archives.link(originals[i % len(originals)], place / f"{pid}.adc")
        pids.append(pid)
    return pids[len(pids) // 2]


def _both(ours: list[str], theirs: list[str], repeats: int) -> tuple[Times, Times]:
    if repeats > 1:
        timed_command(ours, 1)  # the files are in the page cache, and kernels compiled, for all that follow
    return timed_command(ours, repeats), timed_command(theirs, repeats)


def _sum(one: Times, other: Times) -> Times:
    return Times(one.wall_s + other.wall_s, one.cpu_s + other.cpu_s)


def _row(what: str, ours: Times, theirs: Times) -> Row:
    return Row(
        what, ours.wall_s, theirs.wall_s, note="whole commands", ours_cpu_s=ours.cpu_s, baseline_cpu_s=theirs.cpu_s
    )

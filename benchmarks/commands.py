"""Whole commands, their start and end included, beside what the replaced tool does in the same run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import archives
from benchmarks.table import Row
from benchmarks.timing import Times, timed_command
from ifcb_flow_pipeline.bins.pid import format_pid

_REPEATS = 5
_OURS = ("-m", "ifcb_flow_pipeline.cli")
_THEIRS = ("-m", "benchmarks.stand_in")
_REFERENCE = ("--feature-set", "reference")


def measure(folder: Path, n_bins: int, n_listed: int, mean_triggers: int) -> list[Row]:
    """Scoring one bin, one bin out of many, and a whole folder with the reference features."""
    flat, many = folder / "flat", folder / "many"
    archives.flat_archive(flat, n_bins, mean_triggers)
    one = _many(flat, many, n_listed)
    alone = folder / "alone"
    archives.flat_archive(alone, 1, mean_triggers)
    model, forest, pickled = folder / "model.npz", folder / "forest.npz", folder / "forest.pkl"
    ids, output = folder / "ids.txt", folder / "scores.csv"
    ids.write_text(f"{one}\n")
    timed_command([*_OURS, "train", str(flat), "--model", str(model)], 1)
    train = _both(
        [*_OURS, "train", str(flat), *_REFERENCE, "--model", str(forest)], [*_THEIRS, "train", str(flat), str(pickled)]
    )
    score = _both(
        [*_OURS, "score", str(flat), "--model", str(forest), "--output", str(output)],
        [*_THEIRS, "score", str(flat), str(pickled), str(output)],
    )
    single = _both(
        [*_OURS, "score", str(alone), "--model", str(model), "--output", str(output)],
        [*_THEIRS, "score", str(alone), str(pickled), str(output)],
    )
    wanted = _both(
        [*_OURS, "score", str(many), "--id-file", str(ids), "--model", str(model), "--output", str(output)],
        [*_THEIRS, "score", str(many), str(pickled), str(output), one],
    )
    return [
        _row(f"train + score, reference set, {n_bins} bins", _sum(train[0], score[0]), _sum(train[1], score[1])),
        _row("score one bin, all features", *single),
        _row(f"score one bin out of {n_listed}, with those before it", *wanted),
    ]


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


def _both(ours: list[str], theirs: list[str]) -> tuple[Times, Times]:
    timed_command(ours, 1)  # the files are in the page cache, and kernels compiled, for all that follow
    return timed_command(ours, _REPEATS), timed_command(theirs, _REPEATS)


def _sum(one: Times, other: Times) -> Times:
    return Times(one.wall_s + other.wall_s, one.cpu_s + other.cpu_s)


def _row(what: str, ours: Times, theirs: Times) -> Row:
    return Row(
        what, ours.wall_s, theirs.wall_s, note="whole commands", ours_cpu_s=ours.cpu_s, baseline_cpu_s=theirs.cpu_s
    )

"""What ``benchmarks.detection`` measured, as Markdown: one page of each source, and one of all."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from benchmarks.metrics import BANDS, Estimate

Content: TypeAlias = Mapping[str, Any]
"""A report of ``benchmarks.detection``."""

_RANKING = {"auroc": "AUROC", "average_precision": "average precision", "recall_1": "recall at 1 %",
            "recall_01": "recall at 0.1 %"}  # fmt: skip
_VERDICTS = (
    "bloom or detritus called bad", "near-empty and incomplete: right cause first", "right cause among two",
    "onset within 2 bins, of all episodes",
)  # fmt: skip
_OURS, _OLD = "flow", "reference forest, 27"


def of_all(contents: Mapping[str, Content]) -> str:
    """What all sources show: the default in each regime, all detectors beside each other, and fault by fault."""
    archives = [archive for content in contents.values() for archive in content["archives"]]
    bins, faults = (sum(archive[name] for archive in archives) for name in ("bins", "faults"))
    parts = [
        f"{len(archives)} archives, {bins} bins, {faults} of them faulty.",
        "The default:",
        _table(("bins", "trained on", *_RANKING.values(), *_VERDICTS), _default_rows(contents)),
        "Average precision / recall at 1 % false alarms, trained on the archive itself:",
        _table(("detector", *contents), _detector_rows(contents)),
        "Found at 1 % false alarms over all sources, trained on the archive itself:",
        _table(("fault", "all", *(band[0] for band in BANDS), "replaced tool", "right cause"), _fault_rows(contents)),
    ]
    return "\n\n".join(parts) + "\n"


def _default_rows(contents: Mapping[str, Content]) -> Iterable[list[str]]:
    for source, content in contents.items():
        for entry in content["detectors"]:
            if entry["detector"] == _OURS:
                ranking = [str(Estimate(**entry["ranking"][name])) for name in _RANKING]
                yield [source, entry["regime"], *ranking, *(_short(entry["verdicts"].get(name)) for name in _VERDICTS)]


def _detector_rows(contents: Mapping[str, Content]) -> Iterable[list[str]]:
    cells: dict[str, dict[str, str]] = {}
    for source, content in contents.items():
        for entry in _same(content):
            values = (entry["ranking"][name]["value"] for name in ("average_precision", "recall_1"))
            cells.setdefault(entry["detector"], {})[source] = " / ".join(f"{value:.2f}" for value in values)
    for detector, of_source in cells.items():
        yield [detector, *(of_source.get(source, "-") for source in contents)]


def _fault_rows(contents: Mapping[str, Content]) -> Iterable[list[str]]:
    entries = {entry["detector"]: [] for content in contents.values() for entry in _same(content)}
    for content in contents.values():
        for entry in _same(content):
            entries[entry["detector"]].append(entry)
    ours, old = entries.get(_OURS, []), entries.get(_OLD, [])
    for fault in [*sorted({fault for entry in ours for fault in entry["by_fault"]} - {"all"}), "all"]:
        bands = [_together(entry["by_fault"].get(fault, {}).get(band) for entry in ours) for band in ("all", *_bands())]
        before = _together(entry["by_fault"].get(fault, {}).get("all") for entry in old)
        cause = _together(entry["causes"].get(fault) for entry in ours)
        yield [fault, *bands, before, cause]


def _bands() -> list[str]:
    return [name for name, _, _ in BANDS]


def _same(content: Content) -> list[dict[str, Any]]:
    return [entry for entry in content["detectors"] if entry["regime"] == "same"]


def _together(shares: Iterable[dict[str, Any] | None]) -> str:
    known = [share for share in shares if share and share["n"]]
    n = sum(share["n"] for share in known)
    return f"{sum(share['value'] * share['n'] for share in known) / n:.2f} of {n}" if n else "-"


def of_source(content: Content) -> str:
    """All that was measured on a source, with the bins that went wrong."""
    columns = ("detector", "trained on", *_RANKING.values(), "at 1 % of plain bins", "ms a bin")
    parts = [
        f"{content['machine']}; features {1000 * content['features_seconds_per_bin']:.1f} ms a bin.",
        _table(("archive", "bins", "faulty"), ([str(v) for v in archive.values()] for archive in content["archives"])),
        _table(columns, (_ranking_row(entry) for entry in content["detectors"])),
    ]
    for entry in content["detectors"]:
        if entry["detector"] in (_OURS, _OLD):
            parts += _entry_parts(entry)
    return "\n\n".join(parts) + "\n"


def _ranking_row(entry: Content) -> list[str]:
    values = [str(Estimate(**value)) for value in entry["ranking"].values()]
    return [entry["detector"], entry["regime"], *values, f"{1000 * entry['seconds_per_bin']:.2f}"]


def _entry_parts(entry: Content) -> list[str]:
    causes = entry.get("causes", {})
    rows = ([name, *map(_short, bands.values()), _short(causes.get(name))] for name, bands in entry["by_fault"].items())
    parts = [
        f"### {entry['detector']}, trained on: {entry['regime']}",
        _table(("found at 1 % false alarms", "all", *_bands(), "right cause"), rows),
    ]
    if "verdicts" in entry:
        said = ([name, f"{Estimate(**value)} of {value['n']}"] for name, value in entry["verdicts"].items())
        parts.append(_table(("verdicts", "share"), said))
    for title, bins in entry.get("cases", {}).items():
        parts += [f"{title}:", "\n".join(f"- {line}" for line in bins) or "- none"]
    return parts


def _table(columns: Iterable[str], rows: Iterable[list[str]]) -> str:
    names = list(columns)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(value: Mapping[str, Any] | None) -> str:
    return "-" if value is None or not value["n"] else f"{value['value']:.2f} of {value['n']}"

"""One verdict a bin, of what positions and what images tell: the worse of the two, with the reasons of both."""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.detection.verdict.severity import VERDICTS

#: Causes that positions and images tell of the same thing; of such a pair the one that the images tell is said.
_SEEN_IN_IMAGES: Final[Mapping[str, str]] = {"focus": "defocus", "air": "bubbles", "stain": "dirty_window"}

#: Findings that are kept of a bin.
_MOST_FINDINGS: Final = 8

#: What a verdict of both has besides that of positions alone.
JOINED_COLUMNS: Final = ("source", "flow_severity", "flow_verdict", "image_severity", "image_verdict")

#: The verdicts of which something is said, and how bad each is.
_RANK: Final = {verdict: rank for rank, verdict in enumerate(reversed(VERDICTS))}
_ODD: Final = ("watch", "bad")


def join_verdicts(flow: pa.Table, images: pa.Table | None = None) -> pa.Table:
    """Verdicts by positions (VERDICT_COLUMNS) with those by images joined in, row by row of ``flow``.

    ``images``: rows of ``bin_image_scores``, of some of the bins; None where there are none. The verdict of the two
    that is worse gives severity and cause; images that look as usual make no bin ok that its positions do not. A bin
    that could not be read stays so. Adds JOINED_COLUMNS.
    """
    n = flow.num_rows
    by_pid = {} if images is None else {row["pid"]: row for row in images.to_pylist()}
    joined = flow.append_column("source", pa.repeat(pa.scalar("flow"), n))
    joined = joined.append_column("flow_severity", flow["severity"]).append_column("flow_verdict", flow["verdict"])
    own = [by_pid.get(pid, _NOTHING) for pid in flow["pid"].to_pylist()]
    severity = np.array([row["severity"] for row in own], dtype=np.float64)
    joined = joined.append_column("image_severity", pa.array(severity, pa.float64()))
    joined = joined.append_column("image_verdict", pa.array([row["verdict"] for row in own], pa.string()))
    told = [at for at, row in enumerate(own) if row["verdict"] != "not_judged"]
    if not told:
        return joined
    changed = {at: _joined(row, own[at]) for at, row in zip(told, joined.take(told).to_pylist(), strict=True)}
    names = {name for row in changed.values() for name in row}
    for name in sorted(names):
        column = joined[name].to_pylist()
        for at, row in changed.items():
            column[at] = row.get(name, column[at])
        place = joined.column_names.index(name)
        joined = joined.set_column(place, name, pa.array(column, joined[name].type))
    return joined


_NOTHING: Final[Mapping[str, Any]] = {"severity": float("nan"), "verdict": "not_judged"}


def _joined(flow: Mapping[str, Any], images: Mapping[str, Any]) -> dict[str, Any]:
    """What changes of a verdict by positions where the images were judged."""
    if flow["verdict"] == "unreadable":
        return {}
    if images["verdict"] not in _ODD:
        return {"source": "both"} if flow["verdict"] == "ok" else {}
    if flow["verdict"] not in _ODD:
        return _by_images(flow, images)
    first, second = sorted((images, flow), key=lambda row: (-_RANK[row["verdict"]], -row["severity"]))
    cause, other = _causes(first, second)
    findings = [*json.loads(first["findings"]), *json.loads(second["findings"])][:_MOST_FINDINGS]
    return {
        "source": "both",
        "severity": first["severity"],
        "verdict": first["verdict"],
        "cause": cause,
        "second_cause": other,
        "reasons": " ".join(filter(None, (first["reasons"], second["reasons"]))),
        "findings": json.dumps(findings, ensure_ascii=False),
        "affected_fraction": float(np.fmax(flow["affected_fraction"], images["fault_probability"])),
    }


def _by_images(flow: Mapping[str, Any], images: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of images on a bin whose positions are as usual, or were not judged."""
    copied = ("severity", "verdict", "cause", "second_cause", "findings")
    return {name: images[name] for name in copied} | {
        "source": "images",
        "reasons": " ".join(filter(None, (images["reasons"], flow["reasons"]))),
        # So many of its images are expected to be of no use.
        "affected_fraction": images["fault_probability"],
    }


def _causes(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, str]:
    """The cause of a bin that both speak of, and the next likely one."""
    causes = [row[name] for name in ("cause", "second_cause") for row in (first, second)]
    seen = [_SEEN_IN_IMAGES.get(cause, cause) for cause in causes]
    # Where images do not show it, positions keep their own word for it.
    said = [
        image if seen.count(image) > 1 and image in causes else own for own, image in zip(causes, seen, strict=True)
    ]
    named = [cause for cause in dict.fromkeys(said) if cause not in ("", "unknown")]
    return [*named, "unknown"][0], [*named, "", ""][1]

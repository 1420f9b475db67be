"""The scales of a bin on one figure, for the glossary: ``python -m benchmarks.scales_figure FILE``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM, WATCH_FROM, rarities_of, severities

#: The figure in px: its size, where the axis begins and ends, and the distance of the lines.
_WIDTH, _HEIGHT, _FROM, _TO, _LINE = 760, 250, 190, 740, 30

#: Powers of ten that are drawn.
_DECADES = (0, 1, 2, 3, 4)

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.n{text-anchor:middle}.q{fill:#57606a}"
    "line{stroke:#8c8c8c;stroke-width:1}rect{opacity:.3}"
)

#: From which rarity on a bin has which verdict, with the colour of the app.
_VERDICTS = (
    ("ok", 0.0, "#0072B2"),
    ("watch", float(rarities_of(np.array([WATCH_FROM]))[0]), "#E69F00"),
    ("bad", float(rarities_of(np.array([BAD_FROM]))[0]), "#D55E00"),
)


def figure() -> str:
    """The figure as SVG."""
    rarity = np.array(_DECADES, dtype=float)
    lines: list[tuple[str, Sequence[str]]] = [
        ("one healthy bin in", [f"{10**n:,}" for n in _DECADES]),
        ("rarity", [f"{n}" for n in _DECADES]),
        ("severity", [f"{one:.3g}" for one in severities(rarity)]),
        ("percentile", [f"{100 * (1 - 10.0**-n):.6g}" for n in _DECADES]),
        ("anomaly_score", [f"{-n}" for n in _DECADES]),
    ]
    parts = [f"<style>{_STYLE}</style>", *_bands()]
    for number, (name, values) in enumerate(lines):
        y = 70 + _LINE * number
        parts.append(f'<text x="10" y="{y}">{name}</text>')
        parts += [f'<text class="n" x="{_x(n):.0f}" y="{y}">{v}</text>' for n, v in zip(_DECADES, values, strict=True)]
        parts.append(f'<line x1="10" x2="{_TO}" y1="{y + 9}" y2="{y + 9}"/>')
    caption = "verdicts where the threshold is 50; people's decisions may move it"
    parts.append(f'<text class="q" x="10" y="{_HEIGHT - 12}">{caption}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="How rarity, severity, percentile and anomaly score go together">\n'
        f'<rect x="0" y="0" width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff" style="opacity:1"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bands() -> list[str]:
    ends = [begin for _, begin, _ in _VERDICTS[1:]] + [_DECADES[-1] + 0.18]
    found = []
    for (name, begin, colour), end in zip(_VERDICTS, ends, strict=True):
        left, right = _x(begin) - (25 if begin == 0 else 0), _x(end)
        found.append(
            f'<rect x="{left:.1f}" y="12" width="{right - left:.1f}" height="26" fill="{colour}"/>'
            f'<text class="n" x="{(left + right) / 2:.0f}" y="30">{name}</text>'
        )
    return ['<text x="10" y="30">verdict</text>', *found]


def _x(rarity: float) -> float:
    return _FROM + (_TO - 25 - _FROM) * rarity / _DECADES[-1]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(figure(), encoding="utf-8")

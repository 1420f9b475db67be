"""How things look and are called: the colour, the shape and the words of each verdict and cause.

Colours are Okabe and Ito's, which people with any colour vision tell apart; each verdict has a shape of its own
as well. All of them are readable on white and on the dark page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.store.tables import VERDICTS

BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
SKY, PURPLE, GREY, DARK_GREY = "#56B4E9", "#CC79A7", "#8C8C8C", "#6E6E6E"

BadgeColour = Literal["blue", "orange", "red", "gray", "green", "violet"]


@dataclass(frozen=True, slots=True)
class VerdictLook:
    """How a verdict is drawn and called: mark colour and shape, icon and colour of its badge, and its meaning."""

    name: str
    colour: str
    shape: str
    icon: str
    badge: BadgeColour
    meaning: str


def _looks() -> Mapping[str, VerdictLook]:
    drawn: Mapping[str, tuple[str, str, str, BadgeColour]] = {
        "ok": (BLUE, "circle", ":material/check_circle:", "blue"),
        "watch": (ORANGE, "triangle-up", ":material/visibility:", "orange"),
        "bad": (VERMILION, "diamond", ":material/warning:", "red"),
        "unreadable": (GREY, "cross", ":material/help:", "gray"),
        "not_judged": (DARK_GREY, "square", ":material/pending:", "gray"),
    }
    return {code: VerdictLook(code.replace("_", " "), *drawn[code], meaning) for code, meaning in VERDICTS.items()}


#: Every verdict by its code, mildest first, then those that say nothing about the data.
LOOKS: Mapping[str, VerdictLook] = _looks()

#: The colours of groups that are drawn beside each other, such as instruments.
GROUP_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)


def verdict_name(code: str) -> str:
    """What a verdict is called; a code that is not known stands for itself."""
    return LOOKS[code].name if code in LOOKS else code


def cause_name(code: str) -> str:
    """The one name of a cause; a code that is not known stands for itself, none gives no text."""
    return CAUSE_NAMES.get(code, code.replace("_", " "))

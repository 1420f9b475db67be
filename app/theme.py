"""How things look and are called: the colour, the shape and the words of each verdict and cause.

Colours are Okabe and Ito's, which people with any colour vision tell apart, the blue a little lighter; each verdict has
a shape of its own as well. All of them are readable on white and on the dark page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES, CAUSES
from ifcb_flow_pipeline.store.tables import VERDICTS

BLUE, ORANGE, VERMILION, GREEN = "#1C86C7", "#E69F00", "#D55E00", "#009E73"
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
    drawn: Mapping[str, tuple[str, str, str, str, BadgeColour]] = {
        "ok": ("OK", BLUE, "circle", ":material/check_circle:", "blue"),
        "watch": ("Watch", ORANGE, "triangle-up", ":material/visibility:", "orange"),
        "bad": ("Bad", VERMILION, "diamond", ":material/warning:", "red"),
        "unreadable": ("Unreadable", GREY, "cross", ":material/help:", "gray"),
        "not_judged": ("No verdict", DARK_GREY, "square", ":material/pending:", "gray"),
    }
    return {code: VerdictLook(*drawn[code], meaning) for code, meaning in VERDICTS.items()}


#: Every verdict by its code, mildest first, then those that say nothing about the data.
LOOKS: Mapping[str, VerdictLook] = _looks()

#: The colours of groups that are drawn beside each other, such as instruments.
GROUP_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)


def verdict_name(code: str) -> str:
    """What a verdict is called; a code that is not known stands for itself."""
    return LOOKS[code].name if code in LOOKS else code


def is_fault(code: str) -> bool:
    """Whether a cause asks for somebody to act; those that do not are the water's, or made on purpose."""
    return code not in CAUSES or CAUSES[code].is_fault


def cause_name(code: str) -> str:
    """The one name of a cause; a code that is not known stands for itself, none gives no text."""
    return CAUSE_NAMES.get(code, code.replace("_", " "))


#: How far a bin came, by its status.
STATUS_NAMES: Mapping[str, str] = {
    "ok": "read",
    "too_few_points": "too few images to judge",
    "empty": "no triggers recorded",
    "unreadable": ".adc file unreadable",
    "no_adc": ".adc file missing",
    "unsettled": "still being written",
    "misplaced": "in the folder of another date",
    "gone": "files gone from the archive",
    "misnamed": "not named as a bin",
    "no_bin": "corrected .adc file without the raw one",
    "outside": "outside the days of the pipeline",
    "not_found": "not in the archive",
    "too_few_images": "too few images can be measured",
    "no_images": "no images recorded",
    "no_roi": "no .roi file yet",
    "roi_unsettled": ".roi file still being written",
    "roi_unreadable": ".roi file unreadable",
}

#: Faults of single images: what each is called, and how it looks. The first nine have a key of their own.
IMAGE_FAULTS: Mapping[str, tuple[str, str]] = {
    "defocus": ("out of focus", "all edges are soft"),
    "motion_blur": ("motion blur", "smeared along the flow"),
    "bubble": ("bubble", "a dark ring with a bright core"),
    "cut": ("cut off", "the box ends before the particle does"),
    "empty": ("empty", "no particle"),
    "dim": ("too dark", "the whole image is darker than the instrument's others"),
    "bright": ("too bright", "the whole image is brighter than the instrument's others"),
    "noise": ("noisy", "grainy all over"),
    "dust": ("dirt on the window", "a dark spot that does not belong to the particle"),
    "low_contrast": ("low contrast", "hardly darker than the background"),
    "saturation": ("saturated", "white where there should be detail"),
    "lines": ("line pattern", "every second row differs: the camera's link"),
    "compression": ("compressed", "blocks of 8 pixels, detail lost"),
    "vignette": ("uneven light", "brighter on one side"),
    "occluded": ("covered", "a dark object in front"),
    "ghost": ("double exposure", "everything is there twice"),
    "scratch": ("scratch", "a dark line across the image"),
}

#: What is said of an image without a fault.
NO_FAULT = "no fault"


def image_fault_name(code: str) -> str:
    """What a fault of an image is called, or that it has none; a code that is not known stands for itself."""
    if code == CLEAN:
        return NO_FAULT
    return IMAGE_FAULTS[code][0] if code in IMAGE_FAULTS else code.replace("_", " ")


_DECISION_NAMES: Mapping[str, str] = {"good": "Good", "bad": "Bad", "unsure": "Unsure", "undecided": "Not reviewed"}


def status_name(code: str) -> str:
    """What a status is called."""
    return STATUS_NAMES.get(code, code)


def decision_name(code: str) -> str:
    """What a decision is called, or that there is none."""
    return _DECISION_NAMES.get(code, code)


def tag_name(code: str) -> str:
    """What a tag of the logbook is called; tags of other deployments stand for themselves."""
    return TAG_NAMES.get(code, code.replace("_", " "))


#: The tags of the logbook, whose codes the IFCB dashboard knows.
TAG_NAMES: Mapping[str, str] = {
    "bubbles": "air bubbles",
    "clog": "clog",
    "incomplete": "run cut short",
    "stuck_roi": "debris on the flow cell",
    "bad_alignment": "misaligned",
    "bad_focus": "out of focus",
    "sheath_flow": "sheath flow problem",
    "noise": "noise triggers",
    "contaminated": "contaminated",
    "soap": "detergent",
    "flush": "flush or cleaning",
    "beads": "bead run",
    "no_sample": "no sample",
    "custom": "custom settings",
    "time_offset": "clock wrong",
    "corrupted": "damaged files",
    "bloom": "dense sample (bloom)",
    "questionable": "questionable",
    "context": "context (test or maintenance)",
}

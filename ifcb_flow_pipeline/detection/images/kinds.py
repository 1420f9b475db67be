"""The faults of images that are told apart, by name, and which cause each is a sign of.

How each is planted is in ``fault_injection``, what is said of causes in ``verdict.causes``.
"""

from collections.abc import Mapping
from typing import Final

KINDS: Final = (
    "defocus", "motion_blur", "dim", "bright", "low_contrast", "saturation", "bubble", "noise", "lines", "compression",
    "vignette", "cut", "empty", "occluded", "ghost", "scratch", "dust",
)  # fmt: skip

CAUSE_OF: Final[Mapping[str, str]] = {
    "defocus": "defocus", "motion_blur": "motion_blur", "dim": "dim_flash", "bright": "bright_flash",
    # What is out of focus by far is pale more than soft.
    "low_contrast": "defocus",
    "saturation": "bright_flash", "bubble": "bubbles", "noise": "noise", "lines": "camera_link",
    "compression": "camera_link", "vignette": "uneven_light", "cut": "cut_boxes", "empty": "empty_boxes",
    "occluded": "dirty_window", "ghost": "motion_blur", "scratch": "dirty_window", "dust": "dirty_window",
}  # fmt: skip

#: What is said of images with each fault: "<these words>: 12 % of the images".
WORDS: Final[Mapping[str, str]] = {
    "defocus": "Images out of focus", "motion_blur": "Images blurred along the flow", "dim": "Images too dark",
    "bright": "Images too bright", "low_contrast": "Pale images", "saturation": "Overexposed images",
    "bubble": "Bubbles", "noise": "Noisy images", "lines": "Images with lines", "compression": "Blocky images",
    "vignette": "Unevenly lit images", "cut": "Particles cut off", "empty": "Images without a particle",
    "occluded": "Images partly covered", "ghost": "Double images", "scratch": "Images with a scratch",
    "dust": "Images with dust",
}  # fmt: skip

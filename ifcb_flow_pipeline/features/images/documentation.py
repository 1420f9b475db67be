"""The catalogue of image features as a page for people: what ``docs/image-features.md`` holds."""

from itertools import groupby

from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE, ImageFeature
from ifcb_flow_pipeline.features.images.definitions import BACKGROUND_LEVEL, MIN_SIDE_PX

_FAMILIES = {
    "size": "The box around the particle.",
    "intensity": "How grey values are distributed over the image.",
    "background": "The ring of 2 px along the border, which hardly any particle touches.",
    "focus": "How steep edges are, at several resolutions.",
    "motion": "How the gradient repeats itself some pixels further: wide edges, smears and double images.",
    "noise": "Noise of the camera, and patterns that its link or a compression leaves.",
    "shape": "Object pixels, joined to blobs (8-connected); the shape of the largest one.",
    "texture": "Neighbouring pixels.",
}


def as_markdown() -> str:
    """The page, of all features of the catalogue."""
    parts = [_INTRODUCTION]
    for family, features in groupby(CATALOGUE, key=lambda feature: feature.family):
        parts += [f"## `{family}`\n\n{_FAMILIES[family]}", "\n".join(_table(list(features)))]
    return "\n\n".join(parts) + "\n"


def _table(features: list[ImageFeature]) -> list[str]:
    lines = [("feature", "unit", "meaning", "what it finds", "source", "instrument"), ("---",) * 6]
    for one in features:
        of_instrument = "yes" if one.instrument else ""
        # A bar would end the cell.
        meaning = one.meaning.replace("|", "\\|")
        lines.append((f"`{one.name}`", one.unit, meaning, one.failure_mode, one.source, of_instrument))
    return [f"| {' | '.join(line)} |" for line in lines]


_INTRODUCTION = f"""# Image features

<!-- Written by `make docs` from the catalogue. Do not edit. -->

{len(CATALOGUE)} numbers of one image, computed in one compiled pass over the bytes of the `.roi` file. Each image is
brought to one background first: its grey values are multiplied by {BACKGROUND_LEVEL} over the median of its border, but
for `background`, `f_black` and `f_white`. "Grey" below is the grey value after this step. Features marked *instrument*
say more about the instrument than about what it sees; models take them only beside the instrument's usual value. Images
with a side shorter than {MIN_SIDE_PX} px have no features."""

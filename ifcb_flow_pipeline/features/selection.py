"""Which features a model uses: the YAML of ifcb-flow-metric, families of ``name: true`` or ``false``."""

from collections.abc import Mapping
from typing import Any

import yaml

from ifcb_flow_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES


class SelectionError(ValueError):
    """A feature selection that cannot be used; the message says what is wrong and what is known."""


def select_features(selection: str | Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of the selected features, in the order of the catalogue.

    ``selection`` is YAML text or a mapping: family -> feature -> true or false. What it does not mention
    is selected, as in ifcb-flow-metric; None or empty text selects all. Raises SelectionError for an
    unknown family or feature, a feature in a wrong family, a value that is neither true nor false, or
    when nothing is left.
    """
    if selection is None:
        return FEATURE_NAMES
    if isinstance(selection, str):
        selection = _parse(selection)
    known = {feature.name: feature.family for feature in CATALOGUE}
    families = sorted(set(known.values()))
    chosen = dict.fromkeys(FEATURE_NAMES, True)
    for family, entries in selection.items():
        if family not in families:
            raise SelectionError(f"unknown feature family {family!r}; known: {', '.join(families)}")
        if not isinstance(entries, Mapping):
            raise SelectionError(f"family {family!r} must hold lines of 'feature: true' or 'feature: false'")
        for name, wanted in entries.items():
            if known.get(name) != family:
                members = ", ".join(feature for feature, of in known.items() if of == family)
                raise SelectionError(f"unknown feature {name!r} in family {family!r}; known: {members}")
            if not isinstance(wanted, bool):
                raise SelectionError(f"{family}.{name} must be true or false, not {wanted!r}")
            chosen[name] = wanted
    if not any(chosen.values()):
        raise SelectionError("the selection leaves no feature; set at least one to true")
    return tuple(name for name, wanted in chosen.items() if wanted)


def _parse(text: str) -> Mapping[str, Any]:
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SelectionError(f"the feature selection is no valid YAML: {error}") from error
    if parsed is None:
        return {}
    if not isinstance(parsed, Mapping):
        raise SelectionError(
            "the feature selection must be families with lines of 'feature: true' or 'feature: false'"
        )
    return parsed

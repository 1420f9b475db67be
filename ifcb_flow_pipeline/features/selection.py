"""Which features a model uses: a set, or the YAML of ifcb-flow-metric, families of ``name: true`` or ``false``."""

from collections.abc import Mapping
from typing import Any

import yaml

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE, FEATURE_SETS, FeatureSet, names_of


class SelectionError(FlowError, ValueError):
    """A feature selection that cannot be used; the message says what is wrong and what is known."""


def select_features(
    selection: str | Mapping[str, Any] | None, feature_set: FeatureSet = "reference"
) -> tuple[str, ...]:
    """The names of the selected features, in the order of the catalogue.

    ``selection`` is the name of a feature set, or YAML text or a mapping: family -> feature -> true or false. What it
    does not mention is selected if it is in ``feature_set``, as in ifcb-flow-metric; None or empty text selects all of
    the set. Raises SelectionError for an unknown family or feature, a feature in a wrong family, a value that is
    neither true nor false, or when nothing is left.
    """
    if selection in FEATURE_SETS:
        return names_of(selection)
    if selection is None:
        return names_of(feature_set)
    if isinstance(selection, str):
        selection = _parse(selection)
    chosen = {feature.name: feature_set in feature.sets for feature in CATALOGUE}
    for family, entries in selection.items():
        _check_family(family, entries)
        for name, wanted in entries.items():
            _check_entry(family, name, wanted)
            chosen[name] = wanted
    if not any(chosen.values()):
        raise SelectionError("the selection leaves no feature; set at least one to true")
    return tuple(name for name, wanted in chosen.items() if wanted)


def _check_family(family: str, entries: object) -> None:
    families = sorted({feature.family for feature in CATALOGUE})
    if family not in families:
        raise SelectionError(f"unknown feature family {family!r}; known: {', '.join(families)}")
    if not isinstance(entries, Mapping):
        raise SelectionError(f"family {family!r} must hold lines of 'feature: true' or 'feature: false'")


def _check_entry(family: str, name: str, wanted: object) -> None:
    members = [feature.name for feature in CATALOGUE if feature.family == family]
    if name not in members:
        raise SelectionError(f"unknown feature {name!r} in family {family!r}; known: {', '.join(members)}")
    if not isinstance(wanted, bool):
        raise SelectionError(f"{family}.{name} must be true or false, not {wanted!r}")


def _parse(text: str) -> Mapping[str, Any]:
    try:
        parsed = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:
        # Not only YAMLError: a date that is none, an empty number, or brackets without end.
        raise SelectionError(f"the feature selection is no valid YAML: {error}") from error
    if parsed is None:
        return {}
    if not isinstance(parsed, Mapping):
        raise SelectionError("the feature selection must be families with lines of 'feature: true' or 'feature: false'")
    return parsed

"""Feature selections: as people write them, and every way to get one wrong."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.catalogue import CATALOGUE, FEATURE_NAMES
from ifcb_flow_pipeline.features.selection import SelectionError, select_features

EVERYTHING_OFF = {
    family: {feature.name: False for feature in CATALOGUE if feature.family == family}
    for family in dict.fromkeys(feature.family for feature in CATALOGUE)
}


@pytest.mark.parametrize(
    "selection", [None, "", "  \n", "# only a comment", "---", "null", {}, "{}", "edge_features: {}"], ids=repr
)
def test_a_selection_of_nothing_selects_everything(selection):
    assert select_features(selection) == FEATURE_NAMES


def test_what_is_not_mentioned_is_selected():
    text = """
    # What ifcb-flow-metric's users write.
    spatial_stats:
      mean_x: false
      mean_y: true
    temporal:
      t_y_var: no
    """
    assert set(FEATURE_NAMES) - set(select_features(text)) == {"mean_x", "t_y_var"}


def test_the_order_is_that_of_the_catalogue_not_of_the_selection():
    text = "spatial_stats: {std_y: true, mean_x: true}"
    assert select_features(text) == FEATURE_NAMES
    one_left = EVERYTHING_OFF | {"spatial_stats": {**EVERYTHING_OFF["spatial_stats"], "std_y": True, "mean_y": True}}
    assert select_features(one_left) == ("mean_y", "std_y")


@given(st.sets(st.sampled_from(FEATURE_NAMES), min_size=1), st.booleans())
def test_a_selection_selects_what_it_says_as_text_and_as_a_mapping(wanted, as_text):
    selection = {family: {name: name in wanted for name in names} for family, names in EVERYTHING_OFF.items()}
    chosen = select_features(yaml.safe_dump(selection) if as_text else selection)
    assert chosen == tuple(name for name in FEATURE_NAMES if name in wanted)


def test_a_selection_is_not_changed_by_being_read():
    selection = {"temporal": {"t_y_var": False}}
    select_features(selection)
    assert selection == {"temporal": {"t_y_var": False}}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"spatial": {"mean_x": True}}, "unknown feature family 'spatial'; known: bubbles, clipping_detection, "),
        ({None: {"mean_x": True}}, "unknown feature family None"),
        ("12: {mean_x: true}", "unknown feature family 12"),
        ({"temporal": {"t_x_var": True}}, "unknown feature 't_x_var' in family 'temporal'; known: t_y_var"),
        ({"temporal": {"mean_x": False}}, "unknown feature 'mean_x' in family 'temporal'; known: t_y_var"),
        ({"temporal": {None: False}}, "unknown feature None in family 'temporal'"),
        ({"temporal": {"t_y_var": "yes"}}, "temporal.t_y_var must be true or false, not 'yes'"),
        ({"temporal": {"t_y_var": 1}}, "temporal.t_y_var must be true or false, not 1"),
        ("temporal: {t_y_var: 0}", "temporal.t_y_var must be true or false, not 0"),
        ("temporal: {t_y_var: }", "temporal.t_y_var must be true or false, not None"),
        ("temporal:", "family 'temporal' must hold lines of 'feature: true' or 'feature: false'"),
        ("temporal: true", "family 'temporal' must hold lines"),
        ("temporal: [t_y_var]", "family 'temporal' must hold lines"),
        ("- temporal", "the feature selection must be families"),
        ("temporal", "the feature selection must be families"),
        ("true", "the feature selection must be families"),
        (EVERYTHING_OFF, "the selection leaves no feature; set at least one to true"),
        ("temporal: {t_y_var: true", "the feature selection is no valid YAML"),
        ("temporal:\n\tt_y_var: true", "the feature selection is no valid YAML"),
        ("temporal: !!python/object:os.system {}", "the feature selection is no valid YAML"),
        ("a: \x00", "the feature selection is no valid YAML"),
        # PyYAML reads these as a date and a number, and raised what date and int raise.
        ("temporal: {t_y_var: 2023-99-99}", "the feature selection is no valid YAML"),
        ("temporal: {t_y_var: 0b_}", "the feature selection is no valid YAML"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_wrong_selection_is_an_error_that_names_the_thing_and_the_remedy(selection, message):
    with pytest.raises(SelectionError) as caught:
        select_features(selection)
    assert message in str(caught.value)


def test_an_unknown_family_is_answered_with_all_families_and_an_unknown_feature_with_its_family():
    with pytest.raises(SelectionError) as caught:
        select_features({"edges": {}})
    for family in EVERYTHING_OFF:
        assert family in str(caught.value)
    with pytest.raises(SelectionError) as caught:
        select_features({"edge_features": {"left": True}})
    for name in EVERYTHING_OFF["edge_features"]:
        assert name in str(caught.value)


def test_the_error_is_a_value_error():
    assert issubclass(SelectionError, ValueError)


fragments = st.sampled_from(
    [
        *FEATURE_NAMES,
        *EVERYTHING_OFF,
        "\n",
        "\n  ",
        ": ",
        "true",
        "false",
        "2023-13-01",
        "0x",
        "[",
        "{",
        "}",
        "&a ",
        "*a",
    ]
)


@given(st.one_of(st.text(max_size=30), st.lists(fragments, max_size=12).map("".join)))
@example("temporal: {t_y_var: 0001-00-00}")
@example("!!float x: {}")
def test_any_text_is_a_selection_or_a_selection_error(text):
    try:
        chosen = select_features(text)
    except SelectionError:
        return
    assert chosen
    assert set(chosen) <= set(FEATURE_NAMES)

"""Mutations of sources: what is changed, what is left alone."""

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.mutants import all_mutants, drawn, mirroring_tests
from benchmarks.mutations import mutations


def _changes(source: str) -> set[str]:
    return {str(mutation) for mutation in mutations(source)}


def test_comparisons_are_negated_and_moved_to_their_limit_only_beside_whole_numbers() -> None:
    assert _changes("a < b") == {"< -> >="}
    assert _changes("len(a) < b") == {"< -> >=", "< -> <="}
    assert _changes("a not in b") == {"not in -> in"}


def test_operators_constants_and_returned_values_are_changed() -> None:
    assert _changes("x = a * 2.0 - b") == {"* -> /", "- -> +", "2.0 -> 3.0"}
    assert _changes("x = not a or b[0]") == {"not -> ", "or -> and", "0 -> 1"}
    assert _changes("def f():\n    return a") == {"a -> None"}


def test_texts_annotations_errors_and_seeds_are_left_alone() -> None:
    source = '''
"""A docstring of 3 words."""
SEED = 42
def f(x: "Literal[1]", seed=0) -> tuple[1]:
    """2 + 2"""
    if x:
        raise ValueError(f"{x + 1} is 1 too many")
    assert x > 1
    g(random_state_seed=3)
'''
    assert _changes(source) == {"0 -> 1"}


def test_a_mutation_is_placed_by_characters_though_syntax_trees_count_bytes() -> None:
    source = 'x = ("µµµ", 1 + y)\n'
    mutated = {mutation.applied(source) for mutation in mutations(source)}
    assert mutated == {'x = ("µµµ", 2 + y)\n', 'x = ("µµµ", 1 - y)\n'}


def test_every_mutant_of_the_detection_is_valid_and_knows_its_line() -> None:
    root = Path(__file__).parents[1]
    mutants = all_mutants(root, "calibration")
    assert mutants
    for mutant in mutants:
        source = (root / mutant.path).read_text("utf-8")
        ast.parse(mutant.mutation.applied(source))
        assert mutant.mutation.before.splitlines()[0] in source.splitlines()[mutant.mutation.line - 1]


def test_in_a_table_of_signs_each_is_turned_and_none_is_made_larger() -> None:
    assert _changes("x = {'a': 1, 'b': -1}") == {"1 -> -1", "-1 -> 1"}
    assert _changes("x = {'a': 1, 'b': 2}") == {"1 -> 2", "2 -> 3"}


def test_minus_one_is_a_number_of_its_own_only_where_it_counts_from_the_end() -> None:
    assert _changes("x = -1") == {"- -> "}
    assert _changes("x = y[-1]") == {"- -> ", "1 -> 2"}
    assert _changes("x = -2") == {"- -> ", "2 -> 3"}


def test_numbers_that_stand_in_for_zero_are_left_alone() -> None:
    assert _changes("x = max(y, 1e-9)") == set()
    assert _changes("x = max(y, 1e-4)") == {"1e-4 -> 0.00015000000000000001"}


def test_a_module_is_tested_by_its_mirror_first_then_by_its_room_and_without_a_mirror_by_both(tmp_path: Path) -> None:
    tests = tmp_path / "ifcb_flow_pipeline_tests/detection"
    names = ["flow/test_tails.py", "test_columns.py", "verdict/test_causes.py", "verdict/test_rules.py"]
    for name in names:
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).touch()
    tails, columns, causes, rules = (f"ifcb_flow_pipeline_tests/detection/{name}" for name in names)
    package = Path("ifcb_flow_pipeline/detection")
    assert mirroring_tests(package / "verdict/rules.py", tmp_path) == [[rules], [causes, tails, columns]]
    assert mirroring_tests(package / "flow/spreads.py", tmp_path) == [[tails, columns, causes, rules]]


@given(size=st.integers(1, 60), number=st.integers(1, 60), seed=st.integers(0, 99))
def test_mutants_are_drawn_evenly_each_once_and_the_same_for_a_seed(size: int, number: int, seed: int) -> None:
    chosen = drawn(range(size), number, seed)
    assert len(chosen) == min(number, size)
    for part, place in enumerate(sorted(chosen)):
        assert part * size // len(chosen) <= place < (part + 1) * size // len(chosen)
    assert drawn(range(size), number, seed) == chosen
    assert drawn(range(1000), number, seed) != drawn(range(1000), number, seed + 1)

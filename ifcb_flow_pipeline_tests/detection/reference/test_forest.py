"""Forests: held equal to scikit-learn's, and safe whatever their arrays hold."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.detection.reference import forest as forest_module
from ifcb_flow_pipeline.detection.reference.forest import Forest, ForestError, average_path_length

from ..slow_estimators import reference_scores
from ..toys import normal_rows

INDEX_ARRAYS = ("root", "feature", "left", "right")
VALUE_ARRAYS = ("threshold", "path_length")
SCALARS = ("n_features", "normaliser")
ARRAYS = (*INDEX_ARRAYS, *VALUE_ARRAYS, *SCALARS)


def grown(matrix: NDArray, **parameters: object) -> IsolationForest:
    return IsolationForest(**({"n_estimators": 4, "random_state": 0} | parameters)).fit(matrix)


def forest_arrays() -> dict[str, NDArray]:
    """The arrays of a sound forest of four trees over three features."""
    return Forest.from_sklearn(grown(normal_rows(30), max_samples=12)).to_arrays()


SOUND = forest_arrays()
INNER = int(np.flatnonzero(SOUND["feature"] >= 0)[0])
N_NODES = len(SOUND["feature"])


def damaged(**changes: object) -> dict[str, NDArray]:
    """The sound arrays with whole arrays replaced."""
    return SOUND | {name: np.asarray(value) for name, value in changes.items()}


def with_value(name: str, index: int, value: float) -> dict[str, NDArray]:
    """The sound arrays with one value replaced."""
    array = SOUND[name].copy()
    array[index] = value
    return damaged(**{name: array})


# Equal to scikit-learn


CELLS = {
    "constant": st.just(3.0),
    "ties": st.integers(0, 3).map(float),
    "any": st.floats(-1e6, 1e6, width=64),
    # 32-bit floats hold every other whole number here: neighbours fall together, as scikit-learn has it.
    "rounded": st.integers(2**24, 2**24 + 9).map(float),
    "tiny": st.integers(0, 9).map(lambda i: 1.0 + i * 2e-8),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray, NDArray, dict]:
    """Training rows, further rows, and settings of a forest."""
    n, further = draw(st.integers(1, 40)), draw(st.integers(0, 10))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = [draw(st.lists(CELLS[kind], min_size=n + further, max_size=n + further)) for kind in kinds]
    matrix = np.array(columns).T
    parameters = {
        "n_estimators": draw(st.integers(1, 5)),
        "max_samples": draw(
            st.one_of(st.just("auto"), st.integers(1, n), st.floats(1 / n, 1.0).filter(lambda s: s * n >= 1))
        ),
        "max_features": draw(st.one_of(st.integers(1, len(kinds)), st.floats(0.01, 1.0))),
        "random_state": draw(st.integers(0, 2**32 - 1)),
    }
    return matrix[:n], matrix[n:], parameters


@settings(max_examples=150, deadline=None)
@given(cases())
def test_scores_are_those_of_scikit_learn_whatever_the_data_and_settings(case):
    training, further, parameters = case
    fitted = grown(training, **parameters)
    forest = Forest.from_sklearn(fitted)
    for rows in (training, further):
        if len(rows):
            expected = fitted.score_samples(rows)
            np.testing.assert_allclose(forest.score_samples(rows), expected, rtol=0, atol=1e-12)
        else:
            assert forest.score_samples(rows).shape == (0,)


def test_scores_are_those_of_scikit_learn_on_its_own_thresholds():
    training = normal_rows(300, columns=2)
    fitted = grown(training, n_estimators=20)
    forest = Forest.from_sklearn(fitted)
    edges = forest.threshold[forest.feature == 0].astype(np.float32).astype(np.float64)
    rows = np.column_stack([edges, np.full(len(edges), 0.1)])
    np.testing.assert_allclose(forest.score_samples(rows), fitted.score_samples(rows), rtol=0, atol=1e-12)


def test_a_forest_of_one_column_per_tree_is_taken_over():
    training = normal_rows(40)
    fitted = grown(training, max_features=1)
    np.testing.assert_allclose(
        Forest.from_sklearn(fitted).score_samples(training), fitted.score_samples(training), rtol=0, atol=1e-12
    )


def test_a_lone_row_far_away_scores_lowest():
    rows = np.vstack([normal_rows(200), [[50.0, 50.0, 50.0]]])
    scores = Forest.from_sklearn(grown(rows, n_estimators=50)).score_samples(rows)
    assert scores.argmin() == 200
    assert scores[200] < -0.7
    assert (scores > -1).all()
    assert (scores < 0).all()


def test_path_lengths_are_those_of_the_paper():
    # c(n) = 2 H(n - 1) - 2 (n - 1) / n, with H(i) taken as ln(i) + Euler's constant.
    assert average_path_length(np.array([0, 1, 2])).tolist() == [0.0, 0.0, 1.0]
    assert average_path_length(np.array([256]))[0] == pytest.approx(10.2448, abs=1e-4)


def test_a_value_on_the_threshold_goes_left_as_does_one_that_rounds_to_it():
    stump = Forest(
        root=np.array([0], np.int32),
        feature=np.array([0, -1, -1], np.int32),
        threshold=np.array([0.5, 0.0, 0.0]),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        path_length=np.array([0.0, 1.0, 3.0]),
        n_features=1,
        normaliser=2.0,
    )
    scores = stump.score_samples(np.array([[-7.0], [0.5], [0.5 + 1e-9], [0.5 + 1e-6], [7.0]]))
    assert scores.tolist() == [-(2**-0.5)] * 3 + [-(2**-1.5)] * 2


@settings(max_examples=100)
@given(cases())
def test_the_compiled_walk_is_that_of_one_step_after_the_other_to_the_last_bit(case):
    training, further, parameters = case
    forest = Forest.from_sklearn(grown(training, **parameters))
    for rows in (training, further):
        if len(rows):
            assert forest.score_samples(rows).tolist() == reference_scores(forest, rows).tolist()


@pytest.mark.parametrize("n", [1, 511, 512, 513, 1100])
def test_rows_that_fill_no_whole_block_are_scored_as_all_others(n):
    forest, rows = Forest.from_sklearn(grown(normal_rows(300), n_estimators=30)), normal_rows(n)
    assert forest.score_samples(rows).tolist() == reference_scores(forest, rows).tolist()


def test_trees_that_share_nodes_and_are_one_leaf_or_a_long_chain_are_walked_to_their_ends():
    # Node i of the chain asks whether the value is at most i; a walk that starts later has fewer steps to go.
    n = 40
    inner = np.arange(n)
    chain = Forest(
        root=np.array([0, n // 2, n, 2 * n], np.int32),
        feature=np.concatenate([np.zeros(n), np.full(n + 1, -1)]).astype(np.int32),
        threshold=np.concatenate([inner, np.zeros(n + 1)]).astype(np.float64),
        left=np.concatenate([n + inner, np.full(n + 1, -1)]).astype(np.int32),
        right=np.concatenate([inner[1:], [2 * n], np.full(n + 1, -1)]).astype(np.int32),
        path_length=np.concatenate([np.zeros(n), inner, [n]]).astype(np.float64),
        n_features=1,
        normaliser=20.0,
    )
    rows = np.arange(-1.0, n + 2)[:, None]
    assert chain.score_samples(rows).tolist() == reference_scores(chain, rows).tolist()
    # A row of 30: 30 from the start, 30 from the middle, the first leaf has 0, the last one n.
    assert chain.score_samples(np.array([[30.0]])).tolist() == [-(2 ** -((30 + 30 + 0 + n) / 80))]


@pytest.mark.parametrize("n_jobs", [1, 2, 3, -1])
def test_a_large_table_is_scored_in_chunks_with_the_same_result_whatever_the_number_of_threads(monkeypatch, n_jobs):
    forest, rows = Forest.from_arrays(SOUND), normal_rows(23)
    whole = forest.score_samples(rows)
    seen = []
    monkeypatch.setattr(forest_module, "_CHUNK_ROWS", 7)
    score = Forest._score
    monkeypatch.setattr(Forest, "_score", lambda self, chunk: seen.append(len(chunk)) or score(self, chunk))
    assert forest.score_samples(rows, n_jobs).tolist() == whole.tolist()
    assert sorted(seen) == [2, 7, 7, 7]


def test_a_row_that_cannot_be_scored_is_found_in_every_chunk(monkeypatch):
    monkeypatch.setattr(forest_module, "_CHUNK_ROWS", 7)
    for i in (0, 8, 22):
        rows = normal_rows(23)
        rows[i, 1] = np.nan
        with pytest.raises(ForestError, match="finite"):
            Forest.from_arrays(SOUND).score_samples(rows)


def test_a_small_table_starts_no_threads(monkeypatch):
    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("threads for a few rows")

    monkeypatch.setattr("joblib.Parallel", refused)
    assert len(Forest.from_arrays(SOUND).score_samples(normal_rows(50))) == 50


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a.astype(">f8"),
        np.float32,
        np.ndarray.tolist,
    ],
    ids=["by column", "strided", "other byte order", "32 bits", "a list"],
)
def test_scores_do_not_depend_on_how_the_table_lies_in_memory(change):
    forest, rows = Forest.from_arrays(SOUND), normal_rows(20).astype(np.float32).astype(np.float64)
    changed = change(rows)
    if isinstance(changed, np.ndarray):
        changed.setflags(write=False)
    assert forest.score_samples(changed).tolist() == forest.score_samples(rows).tolist()


def test_a_forest_of_wider_or_read_only_arrays_scores_the_same():
    arrays = {name: array.astype(array.dtype.str.replace("i4", "i8")) for name, array in SOUND.items()}
    wide = Forest(**arrays | {"n_features": 3, "normaliser": float(SOUND["normaliser"])})
    for name in (*INDEX_ARRAYS, *VALUE_ARRAYS):
        getattr(wide, name).setflags(write=False)
    rows = normal_rows(20)
    assert wide.score_samples(rows).tolist() == Forest.from_arrays(SOUND).score_samples(rows).tolist()


def test_importing_detection_loads_neither_scikit_learn_nor_numba_nor_joblib():
    code = (
        "import sys, ifcb_flow_pipeline.detection.reference.forest, ifcb_flow_pipeline.detection.reference.model;"
        "print(sorted({'sklearn', 'numba', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_arrays_make_the_same_forest_again():
    again = Forest.from_arrays(SOUND).to_arrays()
    assert set(again) == set(ARRAYS)
    for name in ARRAYS:
        assert again[name].dtype == SOUND[name].dtype
        assert again[name].tobytes() == SOUND[name].tobytes()


# Tables that cannot be scored


@pytest.mark.parametrize("shape", [(3,), (2, 2), (2, 4), (0, 2), (1, 1, 3), ()])
def test_a_table_of_another_shape_is_refused_with_both_shapes_named(shape):
    with pytest.raises(ForestError, match=r"takes 3 features, the table has shape \("):
        Forest.from_arrays(SOUND).score_samples(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e300])
def test_a_number_that_no_32_bit_float_holds_is_refused_without_a_warning(value):
    with pytest.raises(ForestError, match="finite"):
        Forest.from_arrays(SOUND).score_samples(np.array([[0.0, 0.0, 0.0], [0.0, value, 0.0]]))


# Damaged forests


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_named(name):
    with pytest.raises(ForestError, match=f"{name} missing"):
        Forest.from_arrays({key: value for key, value in SOUND.items() if key != name})


@pytest.mark.parametrize("name", [*INDEX_ARRAYS[1:], *VALUE_ARRAYS])
@pytest.mark.parametrize("reshape", [lambda a: a[:-1], lambda a: a[:0], lambda a: a[:, None], lambda a: a[0]])
def test_an_array_of_nodes_of_another_shape_is_refused(name, reshape):
    with pytest.raises(ForestError):
        Forest.from_arrays(damaged(**{name: reshape(SOUND[name])}))


@pytest.mark.parametrize("root", [[], 0, [[0]], [-1], [N_NODES], [0, N_NODES]])
def test_a_root_that_is_no_node_is_refused(root):
    with pytest.raises(ForestError):
        Forest.from_arrays(damaged(root=np.array(root, dtype=np.int32)))


def test_a_forest_without_any_node_is_refused():
    nothing = {name: SOUND[name][:0] for name in (*INDEX_ARRAYS, *VALUE_ARRAYS)}
    with pytest.raises(ForestError):
        Forest.from_arrays(damaged(**nothing))


@pytest.mark.parametrize("name", ["left", "right"])
@pytest.mark.parametrize("child", [INNER, INNER - 1, -1, -2, N_NODES, 2**31 - 1, -(2**31)])
def test_a_child_that_is_its_own_ancestor_or_no_node_is_refused(name, child):
    with pytest.raises(ForestError, match="child"):
        Forest.from_arrays(with_value(name, INNER, child))


@pytest.mark.parametrize("feature", [3, -2, 2**31 - 1])
def test_a_node_that_compares_a_feature_that_there_is_not_is_refused(feature):
    with pytest.raises(ForestError, match="feature"):
        Forest.from_arrays(with_value("feature", INNER, feature))


@pytest.mark.parametrize("name", VALUE_ARRAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_of_a_node_that_is_not_finite_is_refused(name, value):
    with pytest.raises(ForestError, match="not finite"):
        Forest.from_arrays(with_value(name, INNER, value))


@pytest.mark.parametrize("value", [-1e-9, -1e300, 1e300, 1e6])
def test_a_path_length_that_no_tree_of_so_many_nodes_has_is_refused(value):
    with pytest.raises(ForestError, match="path length"):
        Forest.from_arrays(with_value("path_length", INNER, value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.5, 1e-320, 1e300])
def test_a_normaliser_that_no_number_of_rows_has_is_refused(value):
    with pytest.raises(ForestError, match="normaliser"):
        Forest.from_arrays(damaged(normaliser=value))


@pytest.mark.parametrize("value", [0, -1])
def test_a_forest_over_no_features_is_refused(value):
    leaf = {"root": [0], "feature": [-1], "left": [-1], "right": [-1], "threshold": [0.0], "path_length": [1.0]}
    Forest.from_arrays(damaged(**leaf, n_features=1))
    with pytest.raises(ForestError, match="number of features"):
        Forest.from_arrays(damaged(**leaf, n_features=value))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "make",
    [
        lambda a: np.full(np.shape(a), "text"),
        lambda a: np.full(np.shape(a), None, dtype=object),
        lambda a: np.full(np.shape(a), "text", dtype=object),
        lambda a: np.full(np.shape(a), 1j),
        lambda a: np.full(np.shape(a), "2023-08-10", dtype="datetime64[D]"),
        lambda a: np.zeros(np.shape(a), dtype=[("a", "i4")]),
        lambda a: np.full((2, 2), a.flat[0]),
    ],
    ids=["text", "none", "object", "complex", "dates", "records", "matrix"],
)
def test_an_array_of_something_else_than_numbers_is_refused(name, make):
    with pytest.raises(ForestError):
        Forest.from_arrays(damaged(**{name: make(SOUND[name])}))


@pytest.mark.parametrize("name", [*INDEX_ARRAYS, "n_features"])
@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_fractions_are_no_indices(name, value):
    with pytest.raises(ForestError):
        Forest.from_arrays(damaged(**{name: np.full(SOUND[name].shape, value)}))


NUMBERS = st.one_of(
    st.integers(-3, N_NODES + 3),
    st.sampled_from([2**31 - 1, -(2**31), 2**16]),
)
FLOATS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 1.0, 86.0]),
)
MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(INDEX_ARRAYS), st.integers(0, N_NODES - 1), NUMBERS),
        st.tuples(st.sampled_from(VALUE_ARRAYS), st.integers(0, N_NODES - 1), FLOATS),
        st.tuples(st.just("n_features"), st.just(0), st.integers(-2, 6)),
        st.tuples(st.just("normaliser"), st.just(0), FLOATS),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@example([("feature", INNER, -1)])
@example([("normaliser", 0, 0.0)])
@given(MUTATIONS)
def test_damaged_numbers_are_refused_or_give_scores_in_range_and_never_crash_or_hang(mutations):
    arrays = {name: array.copy() for name, array in SOUND.items()}
    for name, index, value in mutations:
        arrays[name].reshape(-1)[index % arrays[name].size] = value
    try:
        forest = Forest.from_arrays(arrays)
    except ForestError:
        return
    scores = forest.score_samples(normal_rows(20, columns=forest.n_features))
    assert ((scores >= -1) & (scores <= 0)).all()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*INDEX_ARRAYS, *VALUE_ARRAYS]), st.randoms(use_true_random=False))
def test_shuffled_arrays_are_refused_or_give_scores_in_range(name, random):
    order = list(range(len(SOUND[name])))
    random.shuffle(order)
    try:
        forest = Forest.from_arrays(damaged(**{name: SOUND[name][order]}))
    except ForestError:
        return
    scores = forest.score_samples(normal_rows(20))
    assert ((scores >= -1) & (scores <= 0)).all()

"""Models of ifcb-flow-metric: converted once, without running anything; and nothing else unpickles."""

import ast
import os
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.ensemble import IsolationForest, RandomForestRegressor

import ifcb_flow_pipeline
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.detection.reference.conversion import convert_pickle
from ifcb_flow_pipeline.detection.reference.model import Model
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

from ..toys import CREATED, normal_rows

THEIR_NAMES = FEATURE_NAMES[:26]
ALL_TRIGGERS = FeatureSettings("all")


def their_forest(n_features: int = 26, names: object = THEIR_NAMES, **parameters: object) -> IsolationForest:
    """A forest as ifcb-flow-metric fits and labels it before it pickles it."""
    parameters = {"n_estimators": 10, "contamination": 0.1, "random_state": 42} | parameters
    forest = IsolationForest(**parameters).fit(normal_rows(60, n_features))
    if names is not None:
        forest.feature_names_ = names
    return forest


def convert(pickled: object) -> Model:
    data = pickled if isinstance(pickled, bytes) else pickle.dumps(pickled)
    return convert_pickle(data, ALL_TRIGGERS, CREATED, {"numpy": "1"})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_converted_model_scores_as_the_pickled_one(protocol):
    theirs = their_forest(names=list(THEIR_NAMES))
    model = convert(pickle.dumps(theirs, protocol))
    rows = normal_rows(100, 26, seed=3)
    found = model.score(rows)
    np.testing.assert_allclose(found.anomaly_score, theirs.score_samples(rows), rtol=0, atol=1e-12)
    assert found.is_anomaly.tolist() == (theirs.predict(rows) == -1).tolist()
    assert found.is_anomaly.any()


def test_the_card_says_what_is_known_and_no_more():
    card = convert(their_forest()).card
    assert card.model_id.startswith("legacy-20230810T113059Z-")
    assert card.created == "2023-08-10T11:30:59+00:00"
    assert card.feature_names == THEIR_NAMES
    assert card.feature_settings == ALL_TRIGGERS
    assert card.forest_settings.contamination == 0.1
    assert card.forest_settings.n_estimators == 10
    assert card.forest_settings.max_samples == 60
    assert (card.n_bins, card.n_bins_by_instrument, card.first_day, card.last_day) == (0, {}, None, None)
    assert card.versions == {"numpy": "1", "scikit-learn of the pickle": sklearn.__version__}
    assert "ifcb-flow-metric" in card.note


def test_percentiles_of_a_converted_model_are_unknown():
    assert np.isnan(convert(their_forest()).score(normal_rows(4, 26)).percentile).all()


def test_a_converted_model_survives_its_file():
    model = convert(their_forest())
    again = Model.from_bytes(model.to_bytes())
    assert again.card == model.card
    rows = normal_rows(5, 26)
    assert again.score(rows).anomaly_score.tolist() == model.score(rows).anomaly_score.tolist()


def test_an_automatic_contamination_keeps_its_threshold():
    model = convert(their_forest(contamination="auto"))
    assert model.card.threshold == -0.5
    assert 0 < model.card.forest_settings.contamination <= 0.5


@pytest.mark.parametrize("n_features", [26, 27])
def test_a_model_that_does_not_name_its_features_has_the_usual_ones_by_their_number(n_features):
    assert convert(their_forest(n_features, names=None)).card.feature_names == FEATURE_NAMES[:n_features]


def test_a_model_of_some_features_keeps_their_names_and_order():
    names = ("t_y_var", "mean_x")
    assert convert(their_forest(2, names)).card.feature_names == names


@pytest.mark.parametrize(
    ("forest", "message"),
    [
        (their_forest(25, names=None), "25 features and does not say which; train"),
        (their_forest(26, names=THEIR_NAMES[:25]), "26 features and does not say which; train"),
        (their_forest(2, names=("mean_x", "sparkle")), "unknown features: sparkle; train"),
    ],
    ids=["unnamed", "another number", "unknown"],
)
def test_features_that_are_not_ours_are_refused(forest, message):
    with pytest.raises(ModelError, match=message):
        convert(forest)


@pytest.mark.parametrize(
    "pickled",
    [
        {"model": 1},
        None,
        IsolationForest(),
        IsolationForest,
        np.zeros(3),
        np.float64(3),
    ],
    ids=["dictionary", "none", "unfitted", "class", "array", "number"],
)
def test_a_pickle_of_something_else_is_refused_by_name(pickled):
    with pytest.raises(ModelError, match=r"holds a \w+, not a fitted IsolationForest"):
        convert(pickled)


class Caller:
    """Runs a function when it is unpickled as usual."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize(
    "pickled",
    [
        Caller(os.system, "touch exploded"),
        Caller(Path.touch, Path("exploded")),
        Caller(eval, "1"),
        Caller(getattr, "", "join"),
        Caller(np.load, "exploded"),
        RandomForestRegressor(n_estimators=1).fit(normal_rows(5), [1, 2, 3, 4, 5]),
    ],
    ids=["command", "path", "eval", "getattr", "numpy", "regressor"],
)
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_what_names_anything_but_a_forest_is_refused_and_never_run(pickled, hidden, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forest = their_forest(n_estimators=1)
    forest.odd = pickled
    with pytest.raises(ModelError, match="nothing of it was run"):
        convert(pickle.dumps(forest if hidden else pickled, protocol))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_parts_that_are_no_parts_of_a_forest_are_refused(protocol):
    for part in ("estimators_", "estimators_features_", "n_features_in_", "max_samples_", "offset_", "max_features"):
        for value in (None, [], [None], ["a"], -1, 10**30, "text", np.zeros(3), their_forest(n_estimators=1)):
            forest = their_forest(n_estimators=1)
            setattr(forest, part, value)
            try:
                model = convert(pickle.dumps(forest, protocol))
            except ModelError:
                continue
            assert Model.from_bytes(model.to_bytes()).card == model.card, (part, value)


def test_a_forest_of_an_old_scikit_learn_is_converted_whatever_is_installed():
    data = (Path(__file__).parent / "forest-of-scikit-learn-1.2.2.pkl").read_bytes()
    model = convert(data)
    assert model.card.versions["scikit-learn of the pickle"] == "1.2.2"
    rows = np.random.default_rng(2).normal(size=(4, 26)).round(2)
    # What that version itself gave, and its threshold.
    scores = [-0.5540646763014481, -0.5965068087728912, -0.5456479314418873, -0.47076333291667877]
    np.testing.assert_allclose(model.score(rows).anomaly_score, scores, rtol=0, atol=1e-12)
    assert model.card.threshold == pytest.approx(-0.5965068087728912, abs=1e-12)


def test_a_layout_that_is_not_known_is_told_with_the_version_that_wrote_it():
    forest = their_forest(n_estimators=1)
    del forest.estimators_features_
    with pytest.raises(ModelError, match=rf"of scikit-learn {sklearn.__version__}, is damaged or laid out in a way"):
        convert(forest)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_changed_at_random_is_a_model_or_refused(protocol):
    rng, good, found = random.Random(protocol), pickle.dumps(their_forest(n_estimators=2), protocol), Counter()
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            Model.from_bytes(convert(bytes(data)).to_bytes())
            found["model"] += 1
        except ModelError:
            found["refused"] += 1
    assert sum(found.values()) == 300
    assert found["refused"] > 50


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle\n",
        b"\x80\x04.",
        b".",
        b"0",
        b"\x80\xff.",
        b"I\n.",
        b"]a.",
        b"(dp0\nS'a",
        b"cno_such_module\nThing\n.",
        b"csklearn.ensemble\nNoSuchForest\n.",
        b"cbuiltins\nint\n(S'a'\ntR.",
        b"cbuiltins\nlist\n(I1\ntR.",
        b"cbuiltins\nchr\n(I-1\ntR.",
        b"coperator\ngetitem\n((lI3\ntR.",
        b"coperator\ntruediv\n(I1\nI0\ntR.",
        b"V\xff\n.",
    ],
    ids=repr,
)
def test_bytes_that_are_no_pickle_are_refused(data):
    with pytest.raises(ModelError):
        convert(data)


def test_a_pickle_cut_off_anywhere_is_refused():
    data = pickle.dumps(their_forest(n_estimators=2))
    for end in range(0, len(data), 101):
        with pytest.raises(ModelError):
            convert(data[:end])


# Nothing else unpickles


UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "skops"}
PACKAGE = Path(ifcb_flow_pipeline.__file__).parent


def unpickles(tree: ast.AST) -> list[str]:
    """What in a module could run code out of a file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom):
            names = {name.name for name in node.names}
            if (node.module or "").split(".")[0] in UNPICKLERS or (node.module == "joblib" and "load" in names):
                found.append(str(node.module))
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append("allow_pickle")
        elif isinstance(node, ast.Attribute) and (
            node.attr == "read_pickle" or ast.unparse(node) in ("joblib.load", "yaml.load", "yaml.unsafe_load")
        ):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from joblib import load",
        "joblib.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=trusted)",
        "pd.read_pickle(path)",
    ],
)
def test_the_search_for_unpickling_finds_it(source):
    assert unpickles(ast.parse(source))


def test_only_the_conversion_of_legacy_models_unpickles():
    assert not unpickles(ast.parse("np.load(path, allow_pickle=False)"))
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    assert "detection/model_card.py" in modules
    culprits = {name for name, path in modules.items() if unpickles(ast.parse(path.read_text(encoding="utf-8")))}
    # numba's cache holds machine code: what lies there is run, and the folder is the user's own (see ``compiled``).
    assert culprits == {"detection/reference/pickled_forest.py", "compiled.py"}

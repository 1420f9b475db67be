"""Scripts written for ifcb-flow-metric run here with the import changed."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from ifcb_flow_pipeline import FeatureExtractor, compat
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.selection import SelectionError
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.simulate.archive import bin_directory

PIDS = [f"D202308{10 + i % 2}T{i:02}0000_IFCB134" for i in range(12)]
TINY, UNKNOWN = "D20230811T210000_IFCB134", "D20230812T000000_IFCB134"
SCRIPTS = Path(__file__).resolve().parents[1] / "docker" / "flow_metric"

#: What the scripts of ifcb-flow-metric call, before 1.1.0 (a directory) and since (pairs of identifier and file).
SCRIPT = """
from ifcb_flow_pipeline.compat import (
    CHUNK_SIZE, CONTAMINATION, EDGE_TOLERANCE, IFCB_ASPECT_RATIO, MODEL, N_JOBS, SCORES_OUTPUT,
    FeatureExtractor, Inferencer, ModelTrainer, get_default_feature_config, get_pid_pairs, load_feature_config,
    summarize_failures,
)

assert (EDGE_TOLERANCE, SCORES_OUTPUT, N_JOBS) == (3, "scores.csv", -1)
config = load_feature_config("features.yaml")
extractor = FeatureExtractor(aspect_ratio=IFCB_ASPECT_RATIO, edge_tolerance=EDGE_TOLERANCE, feature_config=config)
assert not extractor.enabled_features["angle"]
pairs = get_pid_pairs(data_dir)
if form == "pairs":
    results = extractor.load_extract_parallel(pairs, n_jobs=N_JOBS, chunk_size=CHUNK_SIZE)
else:
    results = extractor.load_extract_parallel([pid for pid, _ in pairs], data_dir, n_jobs=N_JOBS, chunk_size=CHUNK_SIZE)
summarize_failures(results)
trainer = ModelTrainer(
    filepath=MODEL, contamination=CONTAMINATION, n_jobs=N_JOBS, max_samples="auto", max_features=1.0
)
classifier = trainer.train_classifier(results, extractor.get_enabled_feature_names())
trainer.save_model(classifier)

classifier = ModelTrainer(filepath=MODEL, n_jobs=N_JOBS).load_model()
names = classifier.feature_names_
selection = {
    family: {name: name in names for name in features} for family, features in get_default_feature_config().items()
}
extractor = FeatureExtractor(IFCB_ASPECT_RATIO, EDGE_TOLERANCE, selection)
pairs = get_pid_pairs(data_dir, "ids.txt")
if form == "pairs":
    results = extractor.load_extract(pairs)
else:
    results = extractor.load_extract([pid for pid, _ in pairs], data_dir)
errors = {row["pid"]: row.get("error") for row in results}
scores = Inferencer(classifier).score_distributions(results)
assert [row["anomaly_score"] for row in scores[:2]] == [
    classifier.score_samples([row["features"]])[0] for row in results if row["features"] is not None
]
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve healthy bins of two days, and one of two images."""
    root = tmp_path_factory.mktemp("archive")
    for i, pid in enumerate(PIDS):
        write_bin(simulate_bin(pid, mean_triggers=60, seed=i), bin_directory(root, pid))
    for path in write_bin(simulate_bin(TINY, mean_triggers=60), bin_directory(root, TINY)):
        if path.suffix == ".adc":
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    return root


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ids.txt").write_text(f"{PIDS[3]}\n\n{UNKNOWN}\n{PIDS[1]}\n{TINY}\n")


@pytest.mark.parametrize("form", ["directory", "pairs"])
def test_what_the_old_scripts_call_is_there_and_does_what_it_did(archive, form, capsys):
    Path("features.yaml").write_text("pca_orientation: {angle: false}\n")
    names = {"data_dir": str(archive), "form": form}
    exec(compile(SCRIPT, "script", "exec"), names)  # noqa: S102 - the script above
    # Those without features come last, as they did.
    assert [row["pid"] for row in names["scores"]] == [PIDS[3], PIDS[1], UNKNOWN, TINY]
    values = np.array([row["anomaly_score"] for row in names["scores"]])
    assert np.isnan(values).tolist() == [False, False, True, True]
    assert "angle" not in names["names"]
    assert names["errors"][PIDS[3]] is None
    assert names["errors"][TINY] == "2 images, features need 30"
    assert UNKNOWN in names["errors"][UNKNOWN] or "no such bin" in names["errors"][UNKNOWN]
    assert f"  {TINY}: 2 images, features need 30" in capsys.readouterr().out


def test_pairs_and_points_give_the_features_of_the_directory(archive):
    extractor = FeatureExtractor(feature_config={"spatial_stats": {"mean_x": False}})
    pids = [PIDS[0], PIDS[7]]
    by_directory = extractor.load_extract_parallel(pids, archive)
    paths = compat.list_adc_paths(archive)
    by_pair = extractor.load_extract([(pid, paths[pid]) for pid in pids])
    for expected, found, pid in zip(by_directory, by_pair, pids, strict=True):
        np.testing.assert_array_equal(found["features"], expected["features"])
        for where in (archive, paths[pid]):
            of_points = extractor.extract_features(compat.get_points(pid, where))
            np.testing.assert_allclose(of_points["features"], expected["features"], rtol=1e-9)
            assert set(of_points) == set(expected) == set(found)


def test_points_without_a_count_of_lines_all_have_an_image():
    rng = np.random.default_rng(1)
    found = FeatureExtractor().extract_features({"pid": PIDS[0], "points": rng.uniform(0, 900, (50, 2)), "t": None})
    assert found["error"] is None
    assert found["features"][FEATURE_NAMES.index("roi_trigger_fraction")] == 1.0


@pytest.mark.parametrize(
    ("pid", "where", "error"),
    [
        (UNKNOWN, None, f"no .adc file found for {UNKNOWN}"),
        ("scores.csv", None, "'scores.csv' is not a bin identifier"),
        (PIDS[0], "nowhere.adc", "cannot read nowhere.adc"),
    ],
)
def test_a_bin_that_cannot_be_loaded_says_why_and_has_no_features(pid, where, error):
    loaded = compat.get_points(pid, where)
    assert loaded["points"] is None
    assert error in loaded["error"]
    extracted = FeatureExtractor().extract_features(loaded)
    assert extracted["features"] is None
    assert error in extracted["error"]
    (row,) = FeatureExtractor().load_extract([(pid, where)])
    assert row["features"] is None
    assert error.removeprefix("cannot read ") in row["error"]


def test_what_the_old_tool_allowed_and_models_cannot_hold_is_refused(archive):
    with pytest.raises(ValueError, match="edge_tolerance must be 3 px"):
        FeatureExtractor(edge_tolerance=5)
    with pytest.raises(ValueError, match="name the directory"):
        FeatureExtractor().load_extract(PIDS)
    loaded = compat.get_points(PIDS[0], archive)
    with pytest.raises(SelectionError, match="need the files"):
        FeatureExtractor(feature_config="full").extract_features(loaded)


def test_the_default_selection_is_that_of_all_features():
    config = compat.get_default_feature_config()
    assert set(compat.get_enabled_features(config)) == set(FEATURE_NAMES)
    assert FeatureExtractor(feature_config=config).get_enabled_feature_names() == list(FEATURE_NAMES)


def test_a_selection_file_that_is_none_is_named():
    for text, said in (("a: [", "is no valid YAML"), ("- a", "must hold families")):
        Path("bad.yaml").write_text(text)
        with pytest.raises(SelectionError, match=f"bad.yaml {said}"):
            compat.load_feature_config("bad.yaml")


def test_many_failures_are_counted_by_reason(capsys):
    rows = [{"pid": str(i), "features": None, "error": "gone" if i else "cut"} for i in range(30)]
    compat.summarize_failures(rows)
    assert capsys.readouterr().out.splitlines()[1:] == ["30 bins have no features:", "     29 x gone", "      1 x cut"]


def test_the_scripts_of_the_image_take_the_options_of_the_old_ones(archive, monkeypatch):
    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        assert ended.value.code in (None, 0)

    def leave():
        raise SystemExit(0)

    monkeypatch.setattr("ifcb_flow_pipeline.commands.program._leave", leave)
    run("train.py", archive, "--n-jobs", 1, "--contamination", 0.1, "--model", "model.pkl", "--max-samples", 8)
    run("score.py", archive, "--n-jobs", 1, "--aspect-ratio", 1.36, "--chunk-size", 100, "--model", "model.pkl",
        "--output", "scores.csv", "--id-file", "ids.txt")  # fmt: skip
    with Path("scores.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["pid", "anomaly_score"]
    assert {row[0] for row in rows[1:]} == {PIDS[3], PIDS[1], UNKNOWN, TINY}
    run("create_violin_plot.py", "scores.csv", "scores.csv", "--output", "plot.png", "--title", "a", "--name1", "b")
    assert Path("plot.png").stat().st_size > 1000

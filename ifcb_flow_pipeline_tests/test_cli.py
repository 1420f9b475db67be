"""The command line, as people and scripts see it: files, exit codes, stdout and stderr."""

import errno
import importlib.util
import math
import os
import pickle
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import entry_points, version
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pyarrow import csv
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline import api, days, demo, promotion, serving
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.commands.bins import say_verdicts
from ifcb_flow_pipeline.days import FLOW_SCORES
from ifcb_flow_pipeline.detection.open_model import DETECTORS
from ifcb_flow_pipeline.detection.trial import instrument_forests
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, FULL_FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.simulate.archive import bin_directory
from ifcb_flow_pipeline.store import csv_files
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.claim import check_archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.models import ModelStore, read_model
from ifcb_flow_pipeline.store.tables import BIN_FEATURES
from ifcb_flow_pipeline_tests.features.comparing import assert_same_features

PIDS = [f"D202308{10 + i // 14}T{i % 14:02}0000_IFCB134" for i in range(28)]
OTHERS = [f"D20230810T{i:02}3000_IFCB124" for i in range(12)]
HEADER_ONLY = "D20230811T200000_IFCB134"
FUTURE = "D21500101T000000_IFCB134"
WITHOUT_FEATURES = f"1 of 29 bins have no features: 1 .adc file missing\n  {HEADER_ONLY}  the .adc file is missing\n"
UNKNOWN = "D20230812T000000_IFCB134"
THEIR_NAMES = FEATURE_NAMES[:26]
REFERENCE = ("train", "--feature-set", "reference")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Fourteen healthy bins on each of two days, and one of which only the header is there."""
    root = tmp_path_factory.mktemp("archive")
    for i, pid in enumerate(PIDS):
        write_bin(simulate_bin(pid, mean_triggers=80, seed=i), bin_directory(root, pid))
    write_bin(simulate_bin(HEADER_ONLY, mean_triggers=60), bin_directory(root, HEADER_ONLY))
    (bin_directory(root, HEADER_ONLY) / f"{HEADER_ONLY}.adc").unlink()
    return root


@pytest.fixture(scope="session")
def two_instruments(archive, tmp_path_factory):
    """The same, and twelve bins of another instrument."""
    root = tmp_path_factory.mktemp("two") / "archive"
    shutil.copytree(archive, root)
    for i, pid in enumerate(OTHERS):
        write_bin(simulate_bin(pid, mean_triggers=80, seed=100 + i), bin_directory(root, pid))
    return root


@pytest.fixture(scope="session")
def model(archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    done("train", archive, "--model", path)
    return path


@pytest.fixture(scope="session")
def forest(archive, tmp_path_factory):
    """A model with the features and the forest of the replaced tool."""
    path = tmp_path_factory.mktemp("forest") / "forest.npz"
    done(*REFERENCE, archive, "--model", path)
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    # What is written without being named must not end up in the checkout.
    monkeypatch.chdir(tmp_path)


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=answer)


def done(*arguments: object, answer: str | None = None) -> Result:
    result = run(*arguments, answer=answer)
    assert result.exit_code == 0, result.output
    return result


def error_of(*arguments: object, code: int = 1) -> str:
    """The one line that says what is wrong: the last on stderr, with nothing on stdout and no traceback."""
    result = run(*arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("Error: ") == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    return last


def table(path: Path) -> pd.DataFrame:
    """A written table by pid, numbers to the last bit."""
    rows = pq.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    return rows.to_pandas().set_index("pid")


def scores_of(archive: Path, model: Path, *arguments: object) -> pd.DataFrame:
    done("score", archive, "--model", model, "--output", "s.csv", *arguments)
    return table(Path("s.csv"))


def features_of(archive: Path, *arguments: object) -> pd.DataFrame:
    done("features", archive, "--output", "f.parquet", *arguments)
    return table(Path("f.parquet"))


def matrix_of(archive: Path, names=FEATURE_NAMES, *arguments: object) -> np.ndarray:
    """The features of the bins that have some, in order of pid, shape (bins, names)."""
    rows = features_of(archive, *arguments).sort_index()
    return rows.loc[rows["status"] == "ok", list(names)].to_numpy()


def written(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Help


def commands(group: click.Group = main) -> dict[str, click.Command]:
    return dict(group.commands)


def test_the_program_is_installed_under_its_name():
    (found,) = entry_points(group="console_scripts", name="ifcb-flow")
    assert found.load() is main


def test_the_version_is_that_of_the_package():
    assert done("--version").stdout.split()[-1] == version("ifcb-flow-pipeline")


def test_the_commands_are_those_of_the_readme():
    assert set(commands()) == {
        "train", "score", "features", "compare", "convert-model", "watch", "models", "promote", "rollback", "demo",
        "serve", "left-out", "labels", "gone", "archive-moved", "verdicts", "backup", "restore", "warm",
        "images", "train-images", "odd", "classify", "taxa", "autoencoder", "handover", "api", "review", "alerts",
        "mirror", "days",
    }  # fmt: skip


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_explained(name):
    command = commands()[name]
    assert command.help
    shown = done(name, "--help").stdout
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in shown
        else:
            assert parameter.make_metavar(click.Context(command)) in shown


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "train",
            "id-file n-jobs contamination aspect-ratio chunk-size model max-samples max-features config config-file",
        ),
        ("score", "id-file n-jobs aspect-ratio chunk-size model output config config-file"),
        ("compare", "output title name1 name2"),
    ],
)
def test_the_options_of_the_replaced_tool_are_there(name, options):
    known = {option for parameter in commands()[name].params for option in parameter.opts}
    assert {f"--{option}" for option in options.split()} <= known


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]], ids=" ".join)
def test_help_waits_for_no_library(arguments):
    heavy = {"numpy", "pandas", "pyarrow", "sklearn", "scipy", "matplotlib", "dagster", "streamlit"}
    code = (
        f"import sys; from ifcb_flow_pipeline.cli import main; main({arguments}, standalone_mode=False); "
        f"print('loaded:', sorted({heavy!r} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(shown.splitlines()) >= 2
    assert shown.endswith("loaded: []\n")


def test_scoring_one_bin_waits_for_no_library_that_it_has_no_use_for(model, tmp_path):
    write_bin(simulate_bin(PIDS[0], mean_triggers=80), tmp_path / "one")
    unused = {"pandas", "scipy.linalg", "joblib", "sklearn", "matplotlib", "dagster", "streamlit", "tqdm"}
    code = (
        "import atexit, sys; from ifcb_flow_pipeline.cli import main;"
        f"atexit.register(lambda: print('loaded:', sorted({unused!r} & set(sys.modules)))); main(prog_name='ifcb-flow')"
    )
    command = [sys.executable, "-c", code, "score", "one", "--model", str(model), "--output", "s.csv"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert shown.splitlines()[-2:] == ["1 bins: s.csv", "loaded: []"]
    assert len(table(tmp_path / "s.csv")) == 1


def test_pandas_is_there_again_after_a_command_that_has_no_use_for_it():
    code = (
        "import sys; from ifcb_flow_pipeline.cli import main;"
        "main(['features', '.', '--output', 'f.csv'], standalone_mode=False);"
        "import pandas, pyarrow as pa; print(pa.table({'a': [1]}).to_pandas().shape)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ["0 bins: f.csv", "(1, 1)"]


# Features


def test_the_reference_set_alone_has_the_same_values_and_reads_no_header(archive, monkeypatch):
    done("features", archive, "--output", "full.parquet")
    monkeypatch.setattr(Archive, "read_header", lambda *_: pytest.fail("a header was read"))
    done("features", archive, "--output", "reference.parquet", "--feature-set", "reference")
    full, reference = table(Path("full.parquet")), table(Path("reference.parquet"))
    assert set(FEATURE_NAMES) < set(reference.columns) < set(full.columns)
    pd.testing.assert_frame_equal(full[reference.columns], reference)


def test_a_forest_of_the_reference_set_is_trained_and_asked_without_the_other_features(archive, forest, monkeypatch):
    done("score", archive, "--model", forest, "--output", "with.csv")
    monkeypatch.setattr(api, "feature_table", lambda *_: pytest.fail("all features were computed"))
    done(*REFERENCE, archive, "--model", "again.npz")
    done("score", archive, "--model", forest, "--output", "without.csv")
    assert Path("with.csv").read_bytes() == Path("without.csv").read_bytes()


@pytest.mark.parametrize("name", ["f.csv", "f.parquet"])
def test_features_are_written_one_row_a_bin_with_the_columns_of_the_stored_table(archive, name):
    result = done("features", archive, "--output", name)
    assert result.stdout == f"29 bins: {name}\n"
    assert result.stderr == WITHOUT_FEATURES
    found = table(Path(name))
    assert ["pid", *found.columns] == BIN_FEATURES.schema.names
    assert found.index.tolist() == sorted([*PIDS, HEADER_ONLY])
    assert found["status"].value_counts().to_dict() == {"ok": 28, "no_adc": 1}
    assert found.loc[HEADER_ONLY, "reason"] == "the .adc file is missing"
    assert found.loc[HEADER_ONLY, list(FEATURE_NAMES)].isna().all()
    assert np.isfinite(found.loc[PIDS, list(FEATURE_NAMES)].to_numpy(float)).all()


def test_csv_and_parquet_hold_the_same_numbers_to_the_last_bit(archive):
    done("features", archive, "--output", "f.csv")
    names = list(FEATURE_NAMES)
    pd.testing.assert_frame_equal(table(Path("f.csv"))[names], features_of(archive)[names], check_exact=True)


def test_another_ending_than_csv_or_parquet_is_a_usage_error(archive):
    assert "f.txt must end in .parquet or .csv" in error_of("features", archive, "--output", "f.txt", code=2)
    assert not Path("f.txt").exists()


def test_triggers_without_image_are_points_only_where_asked_for(archive):
    images, everything = features_of(archive), features_of(archive, "--triggers", "all")
    assert (images["n_points"] == images["n_images"]).all()
    assert (everything["n_points"] == everything["n_rows"]).all()
    assert (everything["n_rows"] > everything["n_images"]).any()


def test_the_aspect_ratio_divides_x(archive):
    plain, scaled = features_of(archive, "--aspect-ratio", 1), features_of(archive, "--aspect-ratio", 4)
    np.testing.assert_allclose(scaled["std_x"], plain["std_x"] / 4, rtol=1e-12)
    pd.testing.assert_series_equal(scaled["std_y"], plain["std_y"])


@pytest.mark.parametrize(
    "division", [("--n-jobs", 1), ("--n-jobs", 3, "--chunk-size", 2), ("--chunk-size", 1)], ids=str
)
def test_rows_do_not_depend_on_how_the_work_is_divided(archive, division):
    pd.testing.assert_frame_equal(features_of(archive, *division), features_of(archive))


def test_the_work_is_divided_as_asked_for(archive, monkeypatch):
    seen, compute = [], api.archive_features
    monkeypatch.setattr(api, "archive_features", lambda *asked: seen.append(asked[3]) or compute(*asked))
    for options in ((), ("--n-jobs", 3, "--chunk-size", 2)):
        features_of(archive, *options)
    assert [(work.n_jobs, work.chunk_size) for work in seen] == [(-1, 100), (3, 2)]


# Ids


@pytest.mark.parametrize(
    "content",
    [
        f"{PIDS[3]}\n{PIDS[1]}\n",
        f"{PIDS[3]}\n{PIDS[1]}",
        f"{PIDS[3]}\r\n{PIDS[1]}\r\n",
        f"\n  {PIDS[3]}\t\n \n\n{PIDS[1]} \n\n",
        f"\ufeff{PIDS[3]}\n{PIDS[1]}\n",
        f"{PIDS[3]}\n{PIDS[1]}\n{PIDS[3]}\n",
    ],
    ids=["plain", "no last newline", "CRLF", "spaces and blank lines", "byte order mark", "an id twice"],
)
def test_ids_are_read_one_a_line_whatever_program_wrote_them(archive, content):
    found = features_of(archive, "--id-file", written("ids.txt", content))
    assert found.index.tolist() == [PIDS[3], PIDS[1]]
    assert found["status"].tolist() == ["ok", "ok"]


def test_an_id_that_is_not_there_or_is_none_is_a_row_with_its_reason(archive, model):
    ids = written("ids.txt", f"{UNKNOWN}\n{PIDS[0]}\nscores, all\nD20231301T000000_IFCB1\n")
    found = scores_of(archive, model, "--id-file", ids)
    assert found.index.tolist() == [UNKNOWN, "D20231301T000000_IFCB1", "scores, all", PIDS[0]]
    assert found["status"].tolist() == ["not_found", "not_found", "not_found", "ok"]
    assert found["verdict"].tolist()[:3] == ["unreadable"] * 3
    assert found["anomaly_score"].isna().tolist() == [True, True, True, False]
    assert found.loc[UNKNOWN, "reason"] == f"no such bin in {archive}"
    assert found.loc["scores, all", "reason"].startswith("'scores, all' is not a bin identifier; expected D")
    assert "names no real date" in found.loc["D20231301T000000_IFCB1", "reason"]


def test_an_id_file_without_ids_gives_an_empty_table_not_all_bins(archive):
    assert features_of(archive, "--id-file", written("ids.txt", "\n \n")).empty


def test_only_the_bins_of_the_id_file_are_trained_on(archive):
    ids = written("ids.txt", "".join(f"{pid}\n" for pid in [*PIDS[2:], *PIDS[2:], UNKNOWN, HEADER_ONLY]))
    done(*REFERENCE, archive, "--id-file", ids)
    card = read_model(Path("model.npz")).card
    assert card.n_bins == 26
    assert card.excluded == {"not_found": [UNKNOWN], "no_adc": [HEADER_ONLY]}


@pytest.mark.parametrize("option", ["--id-file", "--config-file"])
def test_a_file_that_is_no_text_is_named(archive, option):
    path = written("picture.png", b"\x89PNG\xff\xfe\x00")
    assert "picture.png is no text in UTF-8" in error_of("train", archive, option, path)


def test_a_file_that_may_not_be_read_is_named(archive, monkeypatch):
    ids = written("ids.txt", PIDS[0])

    def refuse(path: Path, **_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    assert error_of("train", archive, "--id-file", ids) == "Error: ids.txt: Permission denied"


# Training


def test_training_says_what_it_made_and_writes_model_npz_here(archive):
    result = done("train", archive)
    card = read_model(Path("model.npz")).card
    assert result.stdout == (
        f"{card.model_id}: {card.n_bins} bins, {len(FULL_FEATURE_NAMES)} features, threshold 50.0000, "
        "written to model.npz\n"
    )
    assert WITHOUT_FEATURES in result.stderr
    assert re.search("Warning: .*IFCB134 has only 28 bins", result.stderr)
    assert (card.feature_set, card.excluded["no_adc"]) == ("full", [HEADER_ONLY])


def test_training_a_reference_forest_says_what_it_made(archive):
    result = done(*REFERENCE, archive)
    card = read_model(Path("model.npz")).card
    assert result.stdout == (
        f"{card.model_id}: 28 bins, 27 features, threshold {card.threshold:.4f}, written to model.npz\n"
    )
    assert result.stderr == WITHOUT_FEATURES
    assert card.excluded == {"no_adc": [HEADER_ONLY]}
    assert (card.feature_settings.triggers, card.feature_settings.aspect_ratio) == ("images", 1.36)
    assert card.forest_settings.contamination == 0.02


@pytest.mark.parametrize(
    ("options", "forest"),
    [
        ((), {}),
        (("--max-samples", "auto"), {}),
        (("--max-samples", "256"), {"max_samples": 28}),
        (("--max-samples", "6"), {"max_samples": 6}),
        (("--max-samples", "0.5"), {"max_samples": 0.5}),
        (("--max-features", "0.5"), {"max_features": 0.5}),
        (("--contamination", "0.25"), {"contamination": 0.25}),
    ],
    ids=str,
)
def test_with_all_triggers_scores_are_those_of_scikit_learn_as_in_the_replaced_tool(archive, options, forest):
    done(*REFERENCE, archive, "--triggers", "all", "--model", "m.npz", *options)
    matrix = matrix_of(archive, FEATURE_NAMES, "--triggers", "all")
    expected = IsolationForest(random_state=42, **({"contamination": 0.02} | forest)).fit(matrix)
    found = scores_of(archive, Path("m.npz")).sort_index().loc[PIDS]
    np.testing.assert_allclose(found["anomaly_score"], expected.score_samples(matrix), rtol=0, atol=1e-12)
    assert (found["verdict"] == "bad").tolist() == (expected.predict(matrix) == -1).tolist()
    assert read_model(Path("m.npz")).card.threshold == pytest.approx(expected.offset_, abs=1e-12)


def test_each_option_of_the_forest_changes_the_scores_but_contamination_moves_none(archive, forest):
    default = scores_of(archive, forest)
    for options in (("--max-samples", 6), ("--max-features", 0.5), ("--triggers", "all")):
        done(*REFERENCE, archive, "--model", "m.npz", *options)
        assert (scores_of(archive, Path("m.npz"))["anomaly_score"] - default["anomaly_score"]).abs().max() > 1e-6
    done(*REFERENCE, archive, "--model", "m.npz", "--contamination", 0.5)
    half = scores_of(archive, Path("m.npz"))
    pd.testing.assert_series_equal(half["anomaly_score"], default["anomaly_score"], check_exact=True)
    assert (half["verdict"] == "bad").sum() == 14
    assert (default["verdict"] == "bad").sum() == 1


def test_options_of_the_reference_forest_are_said_to_do_nothing_elsewhere(archive):
    said = done("train", archive, "--contamination", 0.1, "--max-features", 0.5).stderr
    assert "--contamination, --max-features: without effect with the detector flow" in said


def test_the_choices_of_detector_are_those_that_there_are():
    [option] = [each for each in main.commands["train"].params if each.name == "detector"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == tuple(DETECTORS)


def test_the_forest_may_be_asked_for_by_its_name(archive, forest):
    done("train", archive, "--detector", "forest", "--model", "m.npz")
    pd.testing.assert_series_equal(
        scores_of(archive, Path("m.npz"))["anomaly_score"], scores_of(archive, forest)["anomaly_score"]
    )


@pytest.mark.parametrize("detector", ["mcif", "mcif-calibrated", "latent"])
def test_a_forest_for_each_instrument_is_trained_and_scores(two_instruments, detector, monkeypatch):
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 12)
    options = ("--detector", detector, "--contamination", 0.25, "--model", "m.npz")
    assert "without effect" not in done("train", two_instruments, *options).stderr
    card = read_model(Path("m.npz")).card
    assert (card.kind, card.feature_set, card.forest_settings.contamination) == (detector, "full", 0.25)
    assert card.n_bins_by_instrument == {"IFCB124": 12, "IFCB134": 28}
    found = scores_of(two_instruments, Path("m.npz"))
    assert found.loc[HEADER_ONLY, "verdict"] == "unreadable"
    assert (found.loc[OTHERS, "verdict"] == "bad").sum() == 3
    assert set(found.loc[PIDS, "verdict"]) == {"ok", "bad"}


def test_what_an_instrument_has_too_few_bins_for_is_said_and_its_bins_are_not_judged(two_instruments, monkeypatch):
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 13)
    options = ("--detector", "mcif", "--feature-set", "reference", "--model", "m.npz")
    said = done("train", two_instruments, *options).stderr
    assert "Warning: IFCB124 has only 12 bins, below 13: it is not judged" in said
    assert read_model(Path("m.npz")).card.feature_names == FEATURE_NAMES
    found = scores_of(two_instruments, Path("m.npz"))
    assert set(found.loc[OTHERS, "verdict"]) == {"not_judged"}
    assert found.loc[OTHERS, "severity"].isna().all()
    assert "not_judged" not in set(found.loc[PIDS, "verdict"])


def test_a_detector_refuses_features_that_it_does_not_judge_by(archive):
    assert "the detector forest judges by the feature set reference, not 'full'" in error_of(
        "train", archive, "--detector", "forest", "--feature-set", "full"
    )


@pytest.mark.parametrize("way", ["--config", "--config-file"])
def test_the_selected_features_are_trained_on_and_found_again_by_score(archive, way):
    selection = "temporal:\n  t_y_var: false\nspatial_stats: {mean_x: false, mean_y: true}\n"
    chosen = selection if way == "--config" else written("f.yaml", selection)
    done(*REFERENCE, archive, "--model", "m.npz", way, chosen)
    names = [name for name in FEATURE_NAMES if name not in ("t_y_var", "mean_x")]
    assert read_model(Path("m.npz")).card.feature_names == tuple(names)
    matrix = matrix_of(archive, names)
    expected = IsolationForest(random_state=42).fit(matrix).score_samples(matrix)
    found = scores_of(archive, Path("m.npz")).sort_index().loc[PIDS, "anomaly_score"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    same = scores_of(archive, Path("m.npz"), "--config", selection).sort_index().loc[PIDS, "anomaly_score"]
    pd.testing.assert_series_equal(same, found)


def test_too_few_bins_to_train_on_write_no_model(archive):
    ids = written("ids.txt", "\n".join(PIDS[:9]))
    message = error_of("train", archive, "--id-file", ids)
    assert "only 9 bins with features, 10 needed" in message
    assert not Path("model.npz").exists()


# Scoring


@pytest.mark.parametrize("kind", ["model", "forest"])
def test_scores_have_a_row_a_bin_and_begin_with_what_people_look_at_first(archive, kind, request):
    result = done("score", archive, "--model", request.getfixturevalue(kind))
    lines = Path("scores.csv").read_text().splitlines()
    assert lines[0].startswith("pid,anomaly_score,severity,verdict,cause,reasons,")
    assert set(lines[0].split(",")) == set(FLOW_SCORES.names)
    found = table(Path("scores.csv"))
    assert sorted(found.index) == sorted([*PIDS, HEADER_ONLY])
    # Bins that were not judged have none and stand last.
    assert found["severity"].fillna(-1.0).is_monotonic_decreasing
    assert found.loc[HEADER_ONLY, ["verdict", "status", "reason"]].tolist() == [
        "unreadable", "no_adc", "the .adc file is missing"
    ]  # fmt: skip
    judged = found.drop(index=HEADER_ONLY).dropna(subset=["severity"])
    assert judged.sort_values("severity", kind="stable")["anomaly_score"].is_monotonic_decreasing
    assert (judged["anomaly_score"] < 0).all()
    assert result.stdout.splitlines()[-1] == "29 bins: scores.csv"
    assert "1 unreadable" in result.stdout.splitlines()[0]


def test_bins_that_were_not_judged_are_told_by_instrument_and_old_episodes_do_not_go_on(capsys):
    start = datetime(2023, 8, 10, tzinfo=UTC)
    scores = pa.table({
        "pid": ["a", "b", "c"], "instrument": ["IFCB1", "IFCB9", "IFCB9"],
        "start_time": [start, start, start + timedelta(hours=1)], "severity": [80.0, math.nan, math.nan],
        "verdict": ["bad", "not_judged", "not_judged"], "cause": ["air", "", ""],
    })  # fmt: skip
    say_verdicts(scores)
    assert capsys.readouterr().out.splitlines() == [
        "2 not judged, 1 bad",
        "IFCB9: 2 bins without a verdict: the model and these bins hold too little history of it",
    ]


def test_a_bin_is_scored_alike_whichever_bins_are_asked_for_with_it(archive, model):
    everything = scores_of(archive, model)
    for asked in (PIDS[11:12], PIDS[3:9]):
        some = scores_of(archive, model, "--id-file", written("ids.txt", "\n".join(asked)))
        assert sorted(some.index) == asked
        # Bins of one configuration that training knew: what comes later changes nothing.
        # A column without any text is read as one of nothing.
        pd.testing.assert_frame_equal(some.sort_index().fillna(""), everything.loc[asked].fillna(""), check_dtype=False)


def test_score_refuses_another_feature_set_than_the_models(archive, model, forest):
    assert "not reference; train one with --feature-set reference" in error_of(
        "score", archive, "--model", model, "--feature-set", "reference"
    )
    pd.testing.assert_frame_equal(scores_of(archive, forest, "--feature-set", "reference"), scores_of(archive, forest))


def test_a_parquet_file_of_scores_holds_the_same(archive, model):
    done("score", archive, "--model", model, "--output", "s.parquet")
    names = ["anomaly_score", "percentile", "threshold"]
    pd.testing.assert_frame_equal(table(Path("s.parquet"))[names], scores_of(archive, model)[names], check_exact=True)


def test_score_makes_features_as_the_model_had_them(archive):
    done("train", archive, "--model", "m.npz", "--triggers", "all", "--aspect-ratio", 1)
    implied = scores_of(archive, Path("m.npz"))
    asked = scores_of(archive, Path("m.npz"), "--triggers", "all", "--aspect-ratio", 1)
    pd.testing.assert_frame_equal(implied, asked)


@pytest.mark.parametrize("options", [("--triggers", "all"), ("--aspect-ratio", 1.0), ("--aspect-ratio", 1.35)], ids=str)
def test_score_refuses_settings_that_are_not_the_models(archive, model, options):
    message = error_of("score", archive, "--model", model, "--output", "s.csv", *options)
    assert "was trained with triggers=images, aspect ratio 1.36" in message
    assert "train a new model" in message
    assert not Path("s.csv").exists()


@pytest.mark.parametrize("command", ["train", "score", "features", "convert-model"])
@pytest.mark.parametrize("ratio", ["0", "-1", "nan", "inf", "wide"])
def test_an_aspect_ratio_that_makes_no_sense_is_a_usage_error(archive, model, command, ratio):
    # 0 was silently taken for the model's, the others ended in a traceback.
    pickled = written("c.pkl", b"")
    arguments = {
        "train": (archive,),
        "score": (archive, "--model", model),
        "features": (archive, "--output", "f.csv"),
        "convert-model": (pickled, "m.npz", "--triggers", "all"),
    }[command]
    message = error_of(command, *arguments, "--aspect-ratio", ratio, code=2)
    assert "--aspect-ratio" in message
    assert {path.name for path in Path().iterdir()} == {"c.pkl"}


def test_score_refuses_a_selection_that_is_not_the_models(archive, model):
    message = error_of("score", archive, "--model", model, "--config", "{temporal: {t_y_var: false}}")
    assert f"{model} was trained on other features than selected; leave the selection out" in message
    assert not Path("scores.csv").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04 no zip", pickle.dumps({"a": 1}), "pickled forest"],
    ids=["empty", "garbage", "zip", "pickle", "forest"],
)
def test_score_refuses_what_is_no_model_and_unpickles_nothing(archive, content, monkeypatch):
    if content == "pickled forest":
        content = pickle.dumps(their_forest(np.random.default_rng(0).normal(size=(20, 26))))

    def refuse(*arguments, **options):
        pytest.fail("score unpickled a file")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    message = error_of("score", archive, "--model", written("classifier.pkl", content))
    assert message.startswith("Error: classifier.pkl: the file is no model of this program")
    assert "'ifcb-flow convert-model'" in message


def test_a_damaged_model_is_named(archive, model):
    cut = written("cut.npz", model.read_bytes()[:-500])
    assert "cut.npz: the" in error_of("score", archive, "--model", cut)


def test_a_model_that_is_not_there_is_a_usage_error(archive):
    for arguments in ((), ("--model", "model.npz")):
        message = error_of("score", archive, *arguments, code=2)
        assert "'--model': File 'model.npz' does not exist" in message


# Settings that make no sense


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--n-jobs", "0"), 2, "--n-jobs: must not be 0"),
        (("--n-jobs", "two"), 2, "'--n-jobs'"),
        (("--chunk-size", "0"), 2, "'--chunk-size'"),
        (("--contamination", "0"), 2, "'--contamination'"),
        (("--contamination", "0.6"), 2, "'--contamination'"),
        (("--contamination", "nan"), 1, "contamination must be above 0"),
        (("--max-samples", "some"), 2, "--max-samples"),
        (("--max-samples", "0"), 2, "--max-samples"),
        (("--max-samples", "1.5"), 2, "--max-samples"),
        (("--max-samples", "nan"), 2, "--max-samples"),
        (("--max-samples", "0.01"), 1, "max_samples is 0.01, which of 28 bins is not one: raise it"),
        (("--max-features", "0"), 2, "'--max-features'"),
        (("--max-features", "2"), 2, "'--max-features'"),
        (("--max-features", "nan"), 1, "max_features must be a count or a share"),
        (("--triggers", "some"), 2, "'--triggers'"),
        (("--reader", "other"), 2, "'--reader'"),
        (("--id-file", "nowhere.txt"), 2, "'--id-file'"),
        (("--config-file", "nowhere.yaml"), 2, "'--config-file'"),
        (("--config", "{edges: {}}"), 1, "unknown feature family 'edges'; known: bubbles, clipping_detection"),
        (("--config", "{temporal: {t_y: true}}"), 1, "unknown feature 't_y' in family 'temporal'; known: t_y_var"),
        (("--config", "{temporal: {t_y_var: 2}}"), 1, "temporal.t_y_var must be true or false, not 2"),
        (("--config", "{temporal: ["), 1, "the feature selection is no valid YAML: while parsing"),
        (("--config", "{}", "--config-file", os.devnull), 2, "give --config or --config-file, not both"),
        (("--colour", "red"), 2, "No such option"),
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_named_and_no_model_written(archive, options, code, message):
    assert message in error_of(*REFERENCE, archive, *options, code=code)
    assert not Path("model.npz").exists()


@pytest.mark.parametrize("command", ["train", "score", "features"])
def test_a_data_directory_that_is_not_there_is_a_usage_error(command, tmp_path, model):
    file = written("file.txt", "")
    for path, problem in ((tmp_path / "nowhere", "does not exist"), (file, "is a file")):
        output = ("--output", "f.csv") if command == "features" else ("--model", model)
        assert problem in error_of(command, path, *output, code=2)


@pytest.mark.parametrize("arguments", [("train",), ("features", "."), ("compare", "a.csv"), ("unknown",)], ids=str)
def test_missing_arguments_and_unknown_commands_are_usage_errors(arguments):
    assert run(*arguments).exit_code == 2


def test_an_empty_directory_trains_nothing_and_scores_as_an_empty_table(tmp_path, model):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "only 0 bins with features, 10 needed" in error_of("train", empty)
    assert not Path("model.npz").exists()
    found = scores_of(empty, model)
    assert found.empty
    assert list(found.columns[:1]) == ["anomaly_score"]
    for name in ("f.csv", "f.parquet"):
        assert done("features", empty, "--output", name).stdout == f"0 bins: {name}\n"
        assert ["pid", *table(Path(name)).columns] == BIN_FEATURES.schema.names


def test_a_frame_is_said_once_in_training_and_kept_with_the_model(archive):
    done(*REFERENCE, archive, "--frames", "IFCB134=1360x1840", "--frames", "IFCB5=1381x1034")
    assert read_model(Path("model.npz")).card.feature_settings.frames == "IFCB134=1360x1840 IFCB5=1381x1034"
    done("score", archive)
    message = error_of("features", archive, "--frames", "1360x1840", "--output", "f.csv", code=2)
    assert "frame '1360x1840' must be an instrument and its frame in px" in message


# Archives


def names_found(root: Path, *options: object) -> set[str]:
    return set(features_of(root, *options).index)


def test_excluding_directories_replaces_the_usual_ones(tmp_path):
    folders = {"good": PIDS[0], "beads": PIDS[2], "skip": PIDS[4], "deep/BEADS": PIDS[6], "mine": PIDS[8]}
    for folder, pid in folders.items():
        write_bin(simulate_bin(pid, mean_triggers=60), tmp_path / "data" / folder)
    root = tmp_path / "data"
    assert names_found(root) == {PIDS[0], PIDS[8]}
    assert names_found(root, "--exclude", "mine") == {PIDS[0], PIDS[2], PIDS[4], PIDS[6]}
    assert names_found(root, "--exclude", "mine", "--exclude", "beads") == {PIDS[0], PIDS[4]}
    assert names_found(root, "--exclude", "") == set(folders.values())


@pytest.mark.skipif(importlib.util.find_spec("ifcb") is not None, reason="pyifcb is installed")
def test_the_reader_pyifcb_without_pyifcb_is_a_clear_error(archive):
    for n_jobs in (1, 2):
        message = error_of("features", archive, "--reader", "pyifcb", "--output", "f.csv", "--n-jobs", n_jobs)
        assert "pyifcb cannot be imported" in message
        assert "pip install 'pyifcb @ git+https://" in message
    assert not Path("f.csv").exists()


# Output


def writing_commands(archive: Path, model: Path) -> dict[str, tuple[object, ...]]:
    """The commands that write a file, which comes last."""
    Path("c.pkl").write_bytes(pickle.dumps(their_forest(np.random.default_rng(0).normal(size=(20, 26)))))
    Path("a.csv").write_text("pid,anomaly_score\na,-0.5\n")
    return {
        "train": ("train", archive, "--model"),
        "score": ("score", archive, "--model", model, "--output"),
        "features.csv": ("features", archive, "--output"),
        "features.parquet": ("features", archive, "--output"),
        "compare": ("compare", "a.csv", "a.csv", "--output"),
        "convert-model": ("convert-model", "c.pkl", "--triggers", "all"),
    }


WRITING = ["train", "score", "features.csv", "features.parquet", "compare", "convert-model"]


@pytest.mark.parametrize("name", WRITING)
def test_output_goes_into_directories_that_are_not_there_yet(archive, model, name, tmp_path):
    output = tmp_path / "new" / "deep" / f"out.{name.rpartition('.')[2]}"
    done(*writing_commands(archive, model)[name], output)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.stat().st_size > 0


@pytest.mark.parametrize("name", WRITING)
def test_output_that_cannot_be_written_is_named(archive, model, name, tmp_path):
    written("file", "no directory")
    output = tmp_path / "file" / f"out.{name.rpartition('.')[2]}"
    message = error_of(*writing_commands(archive, model)[name], output)
    assert f"cannot write {output}: " in message


@pytest.mark.parametrize("name", WRITING)
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(archive, model, name, tmp_path, monkeypatch):
    output = tmp_path / "out" / f"out.{name.rpartition('.')[2]}"
    output.parent.mkdir()
    output.write_text("old")
    arguments = writing_commands(archive, model)[name]
    begun = []

    def full(target: Path) -> None:
        begun.append(target)
        Path(target).write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(csv_files, "write_csv", lambda _rows, path: full(path))
    monkeypatch.setattr(pq, "write_table", lambda _rows, path, **_: full(path))
    monkeypatch.setattr(Path, "write_bytes", lambda path, _content: full(path))
    message = error_of(*arguments, output)
    assert message == f"Error: cannot write {output}: No space left on device"
    assert output.read_text() == "old"
    assert len(begun) == 1
    assert list(output.parent.iterdir()) == [output]


# Comparing


def test_comparing_writes_a_picture_and_prints_a_table(archive, model):
    done("score", archive, "--model", model, "--output", "ours.csv")
    theirs = written("theirs.csv", "pid,anomaly_score\na,-0.6000\nb,-0.4000\nc,nan\n")
    result = done("compare", theirs, "ours.csv", "--output", "plot.png")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["theirs", "ours"]
    assert lines[1].split() == ["bins", "3", "29"]
    assert lines[2].split() == ["scored", "2", "28"]
    assert lines[3].split()[:2] == ["mean", "-0.5000"]
    assert result.stderr == ""
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    named = done("compare", theirs, theirs, "--output", "plot.png", "--name1", "2022", "--name2", "2023")
    assert named.stdout.splitlines()[0].split() == ["2022", "2023"]


def test_comparing_what_is_no_score_file_names_it_and_draws_nothing():
    good = written("good.csv", "pid,anomaly_score\na,-0.6\n")
    bad = written("bad.csv", "pid,score\na,-0.6\n")
    message = error_of("compare", good, bad, "--output", "plot.png")
    assert "bad.csv is no score table, a CSV with a numeric column anomaly_score" in message
    assert "'--output'" in error_of("compare", good, good, code=2)
    assert "nowhere.csv" in error_of("compare", good, "nowhere.csv", "--output", "plot.png", code=2)
    assert not Path("plot.png").exists()


# Models of ifcb-flow-metric


def their_forest(matrix: np.ndarray) -> IsolationForest:
    """A forest as ifcb-flow-metric fits and labels it before it pickles it."""
    forest = IsolationForest(contamination=0.1, random_state=42, max_samples="auto", max_features=1.0).fit(matrix)
    forest.feature_names_ = list(THEIR_NAMES)
    return forest


def test_a_converted_model_scores_as_the_pickled_forest(archive):
    matrix = matrix_of(archive, THEIR_NAMES, "--triggers", "all", "--aspect-ratio", 1.2)
    forest = their_forest(matrix)
    pickled = written("classifier.pkl", pickle.dumps(forest))
    result = done("convert-model", pickled, "m.npz", "--triggers", "all", "--aspect-ratio", 1.2)
    card = read_model(Path("m.npz")).card
    assert result.stdout == f"{card.model_id}: 26 features, written to m.npz\n"
    found = scores_of(archive, Path("m.npz")).sort_index()
    np.testing.assert_allclose(found.loc[PIDS, "anomaly_score"], forest.score_samples(matrix), rtol=0, atol=1e-12)
    assert (found.loc[PIDS, "verdict"] == "bad").tolist() == (forest.predict(matrix) == -1).tolist()
    assert found["percentile"].isna().all()


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing():
    message = error_of("convert-model", written("c.pkl", Bomb.pickled()), "m.npz", "--triggers", "all")
    assert "nothing of it was run" in message
    assert [path.name for path in Path().iterdir()] == ["c.pkl"]


class Bomb:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)

    @classmethod
    def pickled(cls) -> bytes:
        return pickle.dumps(cls())


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1}), pickle.dumps(IsolationForest())])
def test_a_pickle_that_holds_no_forest_is_an_error(content):
    message = error_of("convert-model", written("c.pkl", content), "m.npz", "--triggers", "all")
    assert "the pickle" in message
    assert not Path("m.npz").exists()


def test_how_the_features_of_a_pickle_were_made_must_be_said():
    assert "Missing option '--triggers'" in run("convert-model", written("c.pkl", b""), "m.npz").stderr


# The models of a deployment


@pytest.fixture
def kept(model, forest, tmp_path, monkeypatch):
    """A deployment with two models, the full one in use."""
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    store = ModelStore(tmp_path / "home" / "models")
    for path in (model, forest):
        store.save(read_model(path))
    store.promote(read_model(model).card.model_id, "ann")
    return store


def test_models_are_listed_with_the_one_in_use_and_what_was_changed(kept, model):
    lines = done("models").stdout.splitlines()
    in_use = read_model(model).card.model_id
    assert [line.split()[0] for line in lines[:2]] == kept.ids()
    assert [line.split()[0] for line in lines[:2] if "active" in line] == [in_use]
    assert lines[2].endswith(f"promote {in_use} by ann")


def test_without_models_the_list_says_where_it_looked_and_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    assert done("models").stdout == (
        f"no models in {tmp_path / 'models'}: start the job retrain, or set IFCB_FLOW_HOME\n"
    )


def test_a_model_is_promoted_and_rolled_back_by_name(kept, model, forest):
    first, second = (read_model(path).card.model_id for path in (model, forest))
    assert done("promote", second, "--who", "bob", "--note", "try").stdout.startswith(f"{second} is active: ")
    assert kept.current_id() == second
    assert done("rollback", "--who", "eve").stdout == f"{first} is active again\n"
    assert kept.current_id() == first
    changes = [(change.action, change.model_id, change.who) for change in kept.history()]
    assert changes == [("promote", first, "ann"), ("promote", second, "bob"), ("rollback", first, "eve")]
    assert kept.history()[1].note == "try"


@pytest.fixture
def site(tmp_path, monkeypatch, archive, model):
    """A deployment with two days, made and scored, of which one bin is gone; returns its pid."""
    shutil.copytree(archive, tmp_path / "archive")
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IFCB_DATA_DIR", str(tmp_path / "archive"))
    tables, there = DailyTables(tmp_path / "home" / "tables"), Archive(tmp_path / "archive", settle=timedelta())
    for _ in range(2):
        listing = there.scan()
        for day in listing.days:
            days.write_inventory(tables, there, listing, day)
            days.write_clouds(tables, there, day)
            days.write_features(tables, FeatureSettings(), day)
            days.write_scores(tables, read_model(model), day)
        for path in (tmp_path / "archive").rglob(f"{PIDS[0]}.*"):
            path.unlink()
    return PIDS[0]


def test_bins_that_are_gone_are_listed_and_removed_only_when_told_and_asked(site):
    assert done("gone", "--instrument", "IFCB1").stdout == "0 bins whose files are gone\n"
    listed = done("gone", "--first-day", "2023-08-10").stdout.splitlines()
    assert listed[0].startswith(f"{site}  files gone since ")
    assert run("gone", "--remove", answer="n\n").exit_code == 1
    assert done("gone").stdout.splitlines() == listed
    assert done("gone", "--remove", answer="y\n").stdout.endswith("1 bins removed\n")
    assert done("gone").stdout == "0 bins whose files are gone\n"
    assert f"{site} has no score" in error_of("verdicts", site)


def test_the_verdicts_of_a_bin_are_those_of_earlier_models_and_the_one_that_stands(site, model, tmp_path):
    card = read_model(model).card
    assert done("verdicts", site).stdout.split()[0] == card.model_id
    tables = DailyTables(tmp_path / "home" / "tables")
    other = replace(read_model(model), card=replace(card, model_id="other"))
    days.write_scores(tables, other, date(2023, 8, 10))
    before, now = done("verdicts", site).stdout.splitlines()
    assert before.split()[0] == card.model_id
    assert " until 20" in before
    assert now.split()[0] == "other"
    assert "not a bin identifier" in error_of("verdicts", "nonsense", code=2)


def test_another_archive_is_refused_until_it_is_said_that_it_was_moved(site, tmp_path, monkeypatch):
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("IFCB_DATA_DIR", str(tmp_path / "elsewhere"))
    tables, there = DailyTables(tmp_path / "home" / "tables"), Archive(tmp_path / "elsewhere")
    with pytest.raises(ArchiveError, match="archive-moved"):
        check_archive(tables, there)
    assert "elsewhere" in done("archive-moved").stdout
    assert not check_archive(tables, there)


def test_a_model_in_a_file_is_kept_and_promoted(forest, tmp_path, monkeypatch):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    name, store = read_model(forest).card.model_id, ModelStore(tmp_path / "home" / "models")
    assert done("promote", forest).stdout == f"{name} is active: no model is active yet: this is the first\n"
    assert (store.current_id(), store.ids()) == (name, [name])
    assert "nonsense.npz: the file is no model" in error_of("promote", written("nonsense.npz", "no model"))


def test_what_cannot_be_promoted_or_returned_to_is_an_error(kept):
    assert "there is no model 'nonesuch'" in error_of("promote", "nonesuch")
    assert "no model was active before this one" in error_of("rollback")


def test_a_worse_model_needs_to_be_wanted_on_purpose(kept, forest, monkeypatch):
    name = read_model(forest).card.model_id
    worse = promotion.Trial(False, "worse than the other: it finds 50% fewer of the planted faults")
    monkeypatch.setattr(promotion, "try_challenger", lambda *_: worse)
    assert f"{name} is worse than the other" in error_of("promote", name)
    assert kept.current_id() != name
    done("promote", name, "--even-if-worse")
    assert kept.current_id() == name


# People's decisions


def test_decisions_of_people_keep_bad_bins_out_of_training(archive, tmp_path):
    decisions = written("d.csv", f"pid,decision\n{PIDS[0]},bad\n{PIDS[1]},good\n{PIDS[2]},unsure\n")
    store = LabelStore(tmp_path / "labels.sqlite")
    at = datetime(2023, 9, 1, tzinfo=UTC)
    store.add([Label(PIDS[0], "bad", (), "", "ann", at, "import"), Label(PIDS[1], "good", (), "", "ann", at, "import")])
    for path in (decisions, store.path):
        said = done("train", archive, "--labels", path).stdout
        assert read_model(Path("model.npz")).card.excluded["labelled_bad"] == [PIDS[0]]
        assert "by people's decisions about 1 good and 1 bad bins: precision " in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pid,verdict\na,bad\n", "line 2: a pid and a decision (good, bad or unsure) are needed"),
        ("pid,decision\na,bad\nb,awful\n", "line 3: a pid and a decision"),
        ("pid,decision\n,bad\n", "line 2: a pid and a decision"),
        (b"pid,decision\n\xff\xfe,bad\n", "is no CSV file in UTF-8"),
    ],
)
def test_decisions_that_are_none_are_named(archive, content, message):
    assert message in error_of("train", archive, "--labels", written("d.csv", content))
    assert not Path("model.npz").exists()


def test_a_range_of_time_decides_about_all_its_bins_and_context_is_not_trained_on(archive):
    lines = [
        "pid,instrument,day,start,end,decision,reason,context",
        ",IFCB134,,2023-08-10T00:00:00,2023-08-10T01:00:00Z,bad,ferrybox off,",
        f"{PIDS[0]},,,,,good,looked at it,",
        ",134,,2023-08-11T09:00:00,2023-08-11T09:00:00,bad,lab test,yes",
        ",IFCB999,2023-08-10,,,bad,,no",
        "D2023,,,,,bad,,",
        f"{UNKNOWN.lower()},,,,,bad,,",
    ]
    result = done("train", archive, "--labels", written("d.csv", "\n".join(lines)))
    card = read_model(Path("model.npz")).card
    assert card.excluded["labelled_bad"] == [PIDS[1]]
    # The bin of 09:00 is neither trained on nor counted as bad.
    assert card.n_bins + sum(map(len, card.excluded.values())) == len([*PIDS, HEADER_ONLY]) - 1
    assert not any(PIDS[23] in pids for pids in card.excluded.values())
    assert "3 decisions match none of these bins: D2023, D20230812T000000_IFCB134, IFCB999 from 2023-" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",IFCB134,2023-13-01,,,bad,,", "line 2: '2023-13-01' is no day or time"),
        (",IFCB134,,2023-08-02,2023-08-01,bad,,", "line 2: the range of IFCB134"),
        (",IFCB134,,2023-08-02,,bad,,", "line 2: '' is no day or time"),
        (",camera,2023-08-01,,,bad,,", "line 2: the instrument is 'CAMERA'"),
        (",IFCB134,2023-08-01,,,bad,,maybe", "line 2: context is 'maybe'"),
        (",,2023-08-01,,,bad,,", "line 2: a pid and a decision"),
    ],
)
def test_a_range_that_makes_no_sense_is_named_with_its_line(line, message, monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    content = f"pid,instrument,day,start,end,decision,reason,context\n{line}\n"
    assert message in error_of("labels", "import", written("d.csv", content))
    assert not (tmp_path / "home").exists()


def test_decisions_are_imported_listed_and_withdrawn(monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    content = f"pid,instrument,day,decision,reason,context\n,IFCB134,2023-08-10,bad,beads,yes\n{PIDS[-1]},,,bad,,\n"
    result = done("labels", "import", written("d.csv", content), "--who", "ann")
    assert result.stdout.startswith("1 decisions about single bins, 1 about ranges with 0 bins so far: ")
    assert "2 decisions match none of the bins in the tables so far: " in result.stderr
    line, last = done("labels", "list").stdout.splitlines()
    assert "1 IFCB134 from 2023-08-10T00:00:00 to 2023-08-10T23:59:59  bad (context) by ann" in line
    assert line.endswith(": beads")
    assert last.startswith("1 single bins: ")
    store = LabelStore(tmp_path / "home" / "labels.sqlite")
    assert [store.decisions().get(pid) for pid in (PIDS[0], PIDS[14], PIDS[-1])] == ["bad", None, "bad"]
    done("labels", "withdraw", 1)
    assert store.decisions() == {PIDS[-1]: "bad"}
    assert "no range number 9" in error_of("labels", "withdraw", 9)


# What is left out


@pytest.fixture
def untidy(archive, tmp_path):
    """The archive, with a bin in a directory of another date, one in lower case, one of beads and one of the future."""
    root = tmp_path / "untidy"
    shutil.copytree(archive, root)
    for pid in PIDS[:3]:
        for path in root.rglob(f"{pid}.*"):
            new = {0: root / "D2019" / path.name, 1: path.with_name(path.name.lower()),
                   2: path.with_name(f"{pid}_beads{path.suffix}")}[PIDS.index(pid)]  # fmt: skip
            new.parent.mkdir(exist_ok=True)
            path.rename(new)
    write_bin(simulate_bin(FUTURE, mean_triggers=80), root)
    return root


def test_every_file_of_a_bin_is_a_row_with_its_reason_whatever_its_name_and_place(untidy):
    result = done("features", untidy, "--output", "f.parquet")
    rows = table(Path("f.parquet"))
    assert set(rows.index) == {*PIDS[:2], f"{PIDS[2]}_beads", *PIDS[3:], HEADER_ONLY, FUTURE}
    assert (rows.loc[PIDS[0], "status"], rows.loc[PIDS[1], "status"]) == ("misplaced", "ok")
    assert "the name is in another case" in rows.loc[PIDS[1], "reason"]
    assert rows.loc[FUTURE, "status"] == "ok"
    assert "the instrument's clock was wrong: 2150-01-01 is in the future" in rows.loc[FUTURE, "reason"]
    assert rows.loc[f"{PIDS[2]}_beads", "status"] == "misnamed"
    for said in (f"{PIDS[0]}  lies in D2019", f"{PIDS[2]}_beads  ", f"rename to {PIDS[2]}",
                 f"{HEADER_ONLY}  the .adc file is missing"):  # fmt: skip
        assert said in result.stderr


def test_what_is_left_out_has_a_verdict_that_says_why(untidy, model):
    rows = scores_of(untidy, model)
    assert rows.loc[f"{PIDS[2]}_beads", "verdict"] == "unreadable"
    assert f"rename to {PIDS[2]}" in rows.loc[f"{PIDS[2]}_beads", "reason"]


def test_an_id_in_another_case_names_its_bin(archive):
    ids = written("ids.txt", PIDS[3].lower())
    assert list(features_of(archive, "--id-file", ids).index) == [PIDS[3]]


def test_the_deployment_lists_what_is_in_no_days_tables(untidy, monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_DATA_DIR", str(untidy))
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IFCB_START_DAY", "2023-08-11")
    *lines, last = done("left-out").stdout.splitlines()
    listed = {line.split()[0]: line for line in lines}
    assert f"{FUTURE}  2150-01-01 is in the future" in listed[FUTURE]
    assert "before the first day 2023-08-11: set IFCB_START_DAY" in listed[PIDS[4]]
    assert "lies in D2019" in listed[PIDS[0]]
    assert last.startswith(f"{len(lines)} left out of all tables: ")
    assert PIDS[-1] not in listed


# The running bin


def test_watching_names_causes_and_checks_and_says_why_a_bin_cannot_be_read(archive, model, tmp_path):
    root = tmp_path / "watched"
    shutil.copytree(archive, root)
    pid = "D20230811T230000_IFCB134"
    for path in write_bin(simulate_bin(pid, mean_triggers=300, fault="air", severity=1.0), root):
        os.utime(path, (0, 0))
    (line,) = done("watch", root, "--model", model, "--once").stdout.splitlines()
    assert f"Suspected cause: {CAUSES['air'].title}" in line
    assert CAUSES["air"].check in line
    (root / f"{pid}.adc").write_bytes(b"no table\n" * 50)
    (line,) = done("watch", root, "--model", model, "--once").stdout.splitlines()
    assert "running" in line
    assert "50 of 50 ADC lines unusable" in line
    os.utime(root / f"{pid}.adc", (0, 0))
    (line,) = done("watch", root, "--model", model, "--once").stdout.splitlines()
    assert "unreadable" in line
    assert "50 of 50 ADC lines unusable" in line


def test_watching_once_tells_of_the_latest_bin(archive, model):
    (line,) = done("watch", archive, "--model", model, "--once").stdout.splitlines()
    assert line.startswith(f"{max(PIDS)} ended ")
    assert "triggers  severity" in line


# Demo and serving, whose own tests are elsewhere


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(serving, "check_before_serving", lambda *ports: made.append(("check", *ports)))
    monkeypatch.setattr(demo, "prepare", lambda _environment, _echo: made.append("prepare") or "settings")
    monkeypatch.setattr(demo, "run", lambda settings, _echo: made.append(("run", settings)))
    monkeypatch.setattr(
        serving, "serve_until_stopped", lambda settings, *ports: made.append(("serve", settings, *ports[:2]))
    )
    return made


def test_the_demo_runs_and_then_serves_unless_told_not_to(calls):
    done("demo", "--no-serve")
    assert calls == ["prepare", ("run", "settings")]
    calls.clear()
    done("demo", "--dagster-port", 3456)
    # What serving needs is looked for before minutes are spent on bins.
    assert calls == [("check", 3456, 8501), "prepare", ("run", "settings"), ("serve", "settings", 3456, 8501)]


def test_serve_takes_its_settings_from_the_environment(calls, monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    done("serve", "--app-port", 8888)
    ((what, settings, *ports),) = calls
    assert (what, settings.home, ports) == ("serve", tmp_path / "home", [3000, 8888])
    monkeypatch.setenv("IFCB_READER", "other")
    assert "IFCB_READER" in error_of("serve")


# As a program


#: Ctrl-C works as in a terminal, also where the tests themselves run in the background and ignore it.
PROGRAM = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from ifcb_flow_pipeline.cli import main; main(prog_name='ifcb-flow')",
]


#: Reading a bin begins with reading a pipe.
SLOW_READING = (
    "import signal; from pathlib import Path; from ifcb_flow_pipeline.store.archive import Archive; "
    "read = Archive.read_bin; Archive.read_bin = lambda *a: Path({pipe!r}).read_bytes() and None or read(*a);"
)


def test_errors_leave_the_program_on_stderr_with_their_exit_code(model, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, code in ((["train", "empty"], 1), (["train", "nowhere"], 2)):
        ended = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == code
        assert ended.stdout == ""
        assert ended.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in ended.stderr


def test_progress_goes_to_the_terminal_and_not_to_stdout(archive):
    terminal, their_end = pty.openpty()
    termios.tcsetwinsize(their_end, (24, 100))
    try:
        arguments = [*PROGRAM, "features", str(archive), "--output", "f.csv", "--chunk-size", "5"]
        ended = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=their_end, text=True, check=True)
        shown = os.read(terminal, 100_000).decode()
    finally:
        os.close(terminal)
        os.close(their_end)
    assert ended.stdout == "29 bins: f.csv\n"
    assert "Reading bins" in shown
    assert "29" in shown
    assert "1 of 29 bins have no features" in shown


@pytest.mark.parametrize("n_jobs", ["1", "2"])
def test_ctrl_c_leaves_the_old_file_and_a_code_that_is_not_zero(tmp_path, n_jobs):
    root, output = tmp_path / "archive", tmp_path / "out" / "f.csv"
    root.mkdir()
    output.parent.mkdir()
    output.write_text("old")
    (root / f"{PIDS[0]}.adc").write_bytes(b"")
    # Reading a pipe takes until its other end is closed: so long the program is at work.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    slow = PROGRAM[-1].replace("import signal;", SLOW_READING.format(pipe=str(pipe)))
    arguments = [*PROGRAM[:-1], slow, "features", str(root), "--output", str(output), "--n-jobs", n_jobs]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            other_end = when_read(pipe, program)
            program.send_signal(signal.SIGINT)
            os.close(other_end)
            stdout, stderr = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 1
    assert stdout == ""
    assert stderr.split() == ["Aborted!"]
    assert output.read_text() == "old"
    assert list(output.parent.iterdir()) == [output]


def when_read(pipe: Path, program: subprocess.Popen) -> int:
    """The writing end of a pipe, as soon as the program reads it."""
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        with suppress(subprocess.TimeoutExpired):
            program.wait(timeout=0.05)
            pytest.fail(f"the program ended: {program.communicate()}")


# Real bins


@pytest.mark.samples
def test_the_real_bins_give_the_statuses_that_their_files_deserve(samples):
    found = features_of(samples / "archive")
    assert len(found) == 25
    by_status = {status: set(rows.index) for status, rows in found.groupby("status")}
    assert {status: len(pids) for status, pids in by_status.items()} == {"ok": 16, "too_few_points": 5, "no_adc": 4}
    assert all(pid.startswith("IFCB1_2006_") for pid in by_status["no_adc"])
    assert found.loc["D20130526T095207_IFCB013", "reason"].startswith("19 images, features need 30")


@pytest.mark.samples
@pytest.mark.parametrize(
    ("triggers", "golden"), [("images", "features_images_only.csv"), ("all", "features_all_triggers.csv")]
)
def test_the_real_bins_have_the_features_that_the_replaced_tool_gives_them(samples, samples_golden, triggers, golden):
    expected = pd.read_csv(samples_golden / golden).set_index("pid")
    found = features_of(samples / "archive", "--triggers", triggers)
    assert set(expected.index) == set(found.index[found["status"] != "no_adc"])
    assert len(expected) == 21
    names = [name for name in FEATURE_NAMES if name in expected.columns]
    assert len(names) >= 26
    for pid, row in expected.iterrows():
        assert found.loc[pid, "n_points"] == row["n_points"]
        if found.loc[pid, "status"] == "ok":
            assert_same_features(found.loc[pid, names].to_dict(), row[names].to_dict())
        else:
            assert found.loc[pid, "status"] == "too_few_points"
            assert row[names].isna().all()


@pytest.mark.samples
def test_odd_files_are_rows_with_their_reasons(samples, model):
    odd = samples / "odd"
    usual = scores_of(odd, model)
    assert usual["status"].value_counts().to_dict() == {"empty": 3, "too_few_points": 1}
    everything = scores_of(odd, model, "--exclude", "")
    assert set(everything.index) - set(usual.index) == {"IFCB5_2006_001_121212"}
    assert everything["status"].value_counts().to_dict() == {"empty": 4, "too_few_points": 1}
    assert everything.loc["D20150411T205456_IFCB012", "reason"] == "the .adc file has no lines"
    assert everything["reason"].str.len().gt(0).all()
    # Bins with few points or none are judged by their counts and by rules.
    assert set(everything["verdict"]) <= {"bad", "watch"}
    assert everything["reasons"].str.len().gt(0).all()

"""Files of scores in the review app: ours and ifcb-flow-metric's, with the clouds of their bins."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app import data
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.scores_review import ScoresError, read_scores
from ifcb_flow_pipeline.simulate.archive import bin_directory, simulate_bin, write_bin
from ifcb_flow_pipeline_tests.app.reviewed import open_page, said

PIDS = [f"D20240101T0{hour}0000_IFCB134" for hour in range(4)]
GONE = "D20240101T090000_IFCB134"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for pid in PIDS:
        root = tmp_path / "archive"
        write_bin(simulate_bin(pid, mean_triggers=60), bin_directory(root, pid))
    return tmp_path / "archive"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["review", *map(str, arguments), "--no-open"])
    assert result.exit_code == code, result.output
    return result.output


def test_scores_of_ifcb_flow_metric_open_with_their_clouds(archive, tmp_path, monkeypatch):
    scores = written(tmp_path, "pid,anomaly_score", *(f"{pid},{-0.4 - 0.1 * i}" for i, pid in enumerate([*PIDS, GONE])))
    home = tmp_path / "home"
    assert "5 bins of" in run(scores, "--data", archive, "--home", home)
    monkeypatch.setenv("IFCB_FLOW_HOME", str(home))
    monkeypatch.setenv("IFCB_DATA_DIR", str(archive))
    rows = data.read_scored(data.stores()).rows.set_index("pid")
    # The lowest score is the most anomalous.
    assert rows["severity"].loc[[*PIDS, GONE]].is_monotonic_increasing
    assert rows["verdict"].loc[GONE] == "watch"
    assert set(rows["verdict"].loc[PIDS]) == {"ok"}
    app = open_page("bin", bin=PIDS[2])
    assert "triggers, " in said(app)
    # Opened once more, it is made anew, and decisions stay where they are.
    assert "4 of them in" in run(scores, "--data", archive, "--home", home)


def test_scores_of_ours_keep_their_severities_verdicts_and_reasons(tmp_path):
    lines = [f"{PIDS[0]},83.5,bad,air,Bubbles.,-0.7", f"{PIDS[1]},3.5,ok,,,-0.4", f"{PIDS[2]},,not_judged,,,"]
    scores = written(tmp_path, "pid,severity,verdict,cause,reasons,anomaly_score", *lines)
    first, second, third = read_scores(scores).rows
    assert (first["severity"], first["verdict"], first["cause"], first["reasons"]) == (83.5, "bad", "air", "Bubbles.")
    assert (second["verdict"], second["threshold"]) == ("ok", 50.0)
    assert third["verdict"] == "not_judged"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["bin,score", "a,1"], "needs bins with the columns pid, and severity or anomaly_score"),
        (["pid,anomaly_score"], "needs bins with the columns pid"),
        (["pid,anomaly_score", "nonsense,-0.4"], "line 2"),
        (["pid,anomaly_score", f"{PIDS[0]},low"], "line 2: anomaly_score is 'low', which is no number"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused_with_its_line(tmp_path, lines, message):
    with pytest.raises(ScoresError, match=message):
        read_scores(written(tmp_path, *lines))


def test_the_folder_of_a_deployment_is_left_alone(archive, tmp_path):
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    scores = written(tmp_path, "pid,anomaly_score", f"{PIDS[0]},-0.4")
    assert "has other things in it" in run(scores, "--data", archive, "--home", home, code=1)
    assert not (home / "tables").exists()

"""Two score files side by side: what counts as a score file, and what the summary says of it."""

import numpy as np
import pytest

from ifcb_flow_pipeline.comparison import ScoreFileError, compare_scores, read_scores

PNG = b"\x89PNG\r\n\x1a\n"

#: As ifcb-flow-metric writes them: two columns, four decimals, nan where there are no features.
THEIRS = (
    "pid,anomaly_score\nD20230810T000000_IFCB1,-0.6000\nD20230810T010000_IFCB1,-0.4000\nD20230810T020000_IFCB1,nan\n"
)

OURS = (
    "pid,anomaly_score,instrument,status,reason\n"
    "D20230810T000000_IFCB1,-0.9,IFCB1,ok,\n"
    "D20230810T010000_IFCB1,-0.5,IFCB1,ok,\n"
    "D20230810T020000_IFCB1,-0.4,IFCB1,ok,\n"
    'D20230810T030000_IFCB1,,IFCB1,too_few_points,"6 images, features need 30"\n'
)


def written(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(summary: str) -> dict[str, list[str]]:
    """The summary by the name of its rows; the first line are the names of the files."""
    return {line.split()[0]: line.split()[1:] for line in summary.splitlines()[1:]}


@pytest.fixture
def both(tmp_path):
    return written(tmp_path, "theirs.csv", THEIRS), written(tmp_path, "ours.csv", OURS)


def test_the_scores_of_either_program_are_read_and_missing_ones_are_nan(both):
    np.testing.assert_array_equal(read_scores(both[0]), [-0.6, -0.4, np.nan])
    np.testing.assert_array_equal(read_scores(both[1]), [-0.9, -0.5, -0.4, np.nan])


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_score_files_that_windows_programs_saved_are_read(tmp_path, start, end):
    path = written(tmp_path, "s.csv", start + THEIRS.replace("\n", end).encode())
    np.testing.assert_array_equal(read_scores(path), [-0.6, -0.4, np.nan])


def test_the_summary_describes_the_bins_that_have_a_score(both):
    summary, _ = compare_scores(both, ("theirs", "ours"), "title")
    assert summary.splitlines()[0].split() == ["theirs", "ours"]
    assert rows_of(summary) == {
        "bins": ["3", "4"],
        "scored": ["2", "3"],
        "mean": ["-0.5000", "-0.6000"],
        # of -0.6 and -0.4: 0.1; of -0.9, -0.5 and -0.4: the root of (0.09 + 0.01 + 0.04) / 3
        "std": ["0.1000", "0.2160"],
        "min": ["-0.6000", "-0.9000"],
        "25%": ["-0.5500", "-0.7000"],
        "median": ["-0.5000", "-0.5000"],
        "75%": ["-0.4500", "-0.4500"],
        "max": ["-0.4000", "-0.4000"],
    }


def test_the_picture_is_a_png_that_shows_the_scores_the_names_and_the_title(both):
    _, picture = compare_scores(both, ("theirs", "ours"), "title")
    assert picture.startswith(PNG)
    for paths, names, title in [
        (both[::-1], ("theirs", "ours"), "title"),
        (both, ("theirs", "mine"), "title"),
        (both, ("theirs", "ours"), "other"),
    ]:
        assert compare_scores(paths, names, title)[1] != picture


def test_two_files_of_one_name_stay_two_columns(both):
    summary, _ = compare_scores(both, ("scores", "scores"), "title")
    assert summary.splitlines()[0].split() == ["scores", "(1)", "scores", "(2)"]
    assert rows_of(summary)["bins"] == ["3", "4"]


@pytest.mark.parametrize("text", ["pid,anomaly_score\n", "pid,anomaly_score\na,nan\nb,\n"], ids=["no rows", "no score"])
def test_a_file_without_any_score_is_compared_as_such(both, tmp_path, text):
    empty = written(tmp_path, "empty.csv", text)
    for paths in [(both[0], empty), (empty, both[0]), (empty, empty)]:
        summary, picture = compare_scores(paths, ("a", "b"), "title")
        assert picture.startswith(PNG)
        counts = ["0" if path == empty else "2" for path in paths]
        assert rows_of(summary)["scored"] == counts
    assert "nan" not in summary.lower()


@pytest.mark.parametrize("sign", ["$", "$$", "a$^$b", "\\frac", "<b>", "Ångström µm", "%s {0}"])
def test_any_name_and_title_can_be_drawn(both, sign):
    # Text between two dollar signs was taken for a formula, and a file name is none.
    summary, picture = compare_scores(both, (sign, f"{sign}2"), sign)
    assert picture.startswith(PNG)
    assert summary.splitlines()[0].split() == [*sign.split(), *f"{sign}2".split()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"pid,score\na,-0.5\n",
        b"pid,anomaly_score\na,high\n",
        PNG + bytes(range(256)),
        "pid,anomaly_score\na,-0.5\n".encode("utf-16"),
    ],
    ids=["empty", "blank", "no column", "words", "picture", "UTF-16"],
)
def test_a_file_that_is_no_score_table_is_named(both, tmp_path, content):
    path = written(tmp_path, "broken.csv", content)
    for paths in [(both[0], path), (path, both[0])]:
        with pytest.raises(ScoreFileError, match=r"broken\.csv is no score table.*anomaly_score"):
            compare_scores(paths, ("a", "b"), "title")

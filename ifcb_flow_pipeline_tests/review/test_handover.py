"""Files for other programs: what the IFCB dashboard accepts, and nothing that a spreadsheet would run."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.review.handover import (
    MAX_COMMENT,
    MAX_UPLOAD_BYTES,
    Decided,
    Found,
    HandoverError,
    csv_of,
    dashboard_files,
    label_rows,
    missing,
    plan,
    read_bin,
    read_export,
)
from ifcb_flow_pipeline.store.csv_files import harmless
from ifcb_flow_pipeline.store.labels import Decision, Label
from ifcb_flow_pipeline.store.sent import Sent
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, LEFT_OUT, RAW_BINS

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: Headers by which the dashboard finds the bin, and those that rewrite its place, time or run.
REWRITES = {"id", "lid", "bin", "bin_id", "sample", "sample_id", "filename", "latitude", "lat", "y", "longitude", "lon",
            "lng", "lg", "x", "depth", "dep", "z", "date", "timestamp", "datetime", "ml_analyzed", "cruise", "cast",
            "niskin", "bottle", "sampletype", "sample_type"}  # fmt: skip


def decided(number: int = 0, decision: Decision = "bad", note: str = "", tags: tuple[str, ...] = (), cause: str = ""):
    pid = f"D20260301T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}_IFCB101"
    return Decided(Label(pid, decision, tags, note, "Ada", AT, "triage", number + 1), cause)


def files_of(*decisions: Decided, sent: Sequence[Sent] = (), max_bytes: int = MAX_UPLOAD_BYTES) -> list[bytes]:
    return [file.content for file in dashboard_files(plan(decisions, sent).send, max_bytes)]


def was_sent(one: Decided, *, confirmed: bool = True) -> Sent:
    (row,) = plan([one], []).send
    return Sent(1, row, AT, confirmed)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_columns_are_exactly_those_that_the_dashboard_takes_without_rewriting_anything():
    (content,) = files_of(decided(cause="air"), decided(1))
    header = content.decode().splitlines()[0].split(",")
    assert header == ["pid", "tag1", "comment", "skip"]
    assert not REWRITES & set(header)


def test_a_bad_bin_is_skipped_with_the_tag_of_its_cause_and_none_of_the_reviewers_words():
    (content,) = files_of(decided(0, "bad", "from 10 min on", ("bubbles",), "air"))
    assert rows(content) == [
        {
            "pid": decided().label.pid,
            "tag1": "qc_flow_air",
            "comment": "Marked bad by Ada, 2026-03-01 12:00: from 10 min on",
            "skip": "skip",
        }
    ]


def test_good_and_unsure_bins_that_we_never_skipped_are_no_rows():
    assert files_of(decided(0, "good", cause="air"), decided(1, "unsure")) == []
    assert plan([decided(0, "good"), decided(1, "unsure")], []).left == [decided(i).label.pid for i in (0, 1)]


def test_noskip_is_for_bins_of_which_the_record_says_that_we_skipped_them():
    sent = [was_sent(decided(0, cause="air")), was_sent(decided(1), confirmed=False)]
    (content,) = files_of(decided(0, "good"), decided(1, "good"), sent=sent)
    (row,) = rows(content)
    assert (row["pid"], row["tag1"], row["skip"]) == (decided().label.pid, "qc_flow_withdrawn", "noskip")
    assert row["comment"] == "Marked good by Ada, 2026-03-01 12:00"


def test_a_withdrawn_decision_is_told_with_what_was_said_before():
    (row,) = plan([], [was_sent(decided())]).send
    assert (row.skip, row.tags, row.label) == ("noskip", ("qc_flow_withdrawn",), None)
    assert row.comment == "Withdrawn: Marked bad by Ada, 2026-03-01 12:00"


def test_a_withdrawal_that_was_told_lifts_no_skip_again():
    told = Sent(2, plan([], [was_sent(decided())]).send[0], AT, confirmed=True)
    (row,) = plan([], [was_sent(decided()), told]).send
    assert row.skip == ""


def test_a_comment_counts_as_a_whole_only():
    row = was_sent(decided()).row
    there = Found(skip=True, tags=frozenset(), comments=f"first; {row.comment}")
    assert missing(row, there) == []
    assert missing(row, replace(there, comments=f"Withdrawn: {row.comment}")) == ["comment"]
    assert missing(row, replace(there, skip=False, comments=row.comment)) == ["skip"]


#: As recorded from WHOIGit/ifcbdb at 8aa49fe, shortened to two bins.
RECORDED = (
    "dataset,pid,sample_time,ifcb,ml_analyzed,latitude,longitude,depth,cruise,cast,niskin,sample_type,n_images,tag1,"
    "comment_summary,trigger_selection,skip\n"
    "samples,D20220522T000439_IFCB134,2022-05-22 00:04:39+00:00,134,4.860635326244212,,,,,,,Normal,7,,,2,0\n"
    "samples,D20220522T003051_IFCB134,2022-05-22 00:30:51+00:00,134,2.981272289134838,,,,,,,Normal,2,qc_flow_air,"
    '"bad for Ann on 2026-11-29, severity 93",2,1\n'
)


def test_what_a_real_dashboard_says_of_bins_is_read():
    assert read_export(RECORDED) == {
        "D20220522T000439_IFCB134": Found(skip=False, tags=frozenset(), comments=""),
        "D20220522T003051_IFCB134": Found(True, frozenset({"qc_flow_air"}), "bad for Ann on 2026-11-29, severity 93"),
    }
    with pytest.raises(HandoverError, match="another version"):
        read_export("pid,n_images\n")


def test_what_a_real_dashboard_says_of_one_bin_is_read():
    text = "bad for Ann on 2026-11-29, severity 93"
    comments = [["2026-11-29T03:17:03.511Z", text, None, 1, None], ["2026-11-29T03:18:03.511Z", "x", None, 2, None]]
    said = {"tags": ["qc_flow_air"], "comments": comments, "skip": True, "size": 34748}
    assert read_bin(said) == Found(True, frozenset({"qc_flow_air"}), f"{text}; x")
    with pytest.raises(HandoverError, match="another version"):
        read_bin({"tags": []})


@pytest.mark.parametrize("word", ["nan", "NA", "None", "null", "n/a", "Sheath flow"])
def test_a_cause_that_the_dashboard_would_not_keep_as_it_is_is_refused(word):
    with pytest.raises(HandoverError, match="cannot be a tag"):
        plan([decided(cause=word)], [])


def test_every_cause_can_be_a_tag():
    assert len(plan([decided(i, cause=cause) for i, cause in enumerate(CAUSES)], []).send) == len(CAUSES)


def test_nothing_decided_makes_no_file():
    assert files_of() == []


def test_many_decisions_are_split_into_files_that_each_have_the_header_and_no_bin_twice():
    files = files_of(*(decided(i, note="n" * 200) for i in range(100)), max_bytes=5000)
    assert len(files) > 4
    assert all(len(content) <= 5000 for content in files)
    pids = [row["pid"] for content in files for row in rows(content)]
    assert pids == [decided(i).label.pid for i in range(100)]


def test_a_note_over_several_lines_with_commas_and_quotes_is_one_cell_of_one_line():
    (content,) = files_of(decided(note='a, "b"\nc'))
    assert len(content.decode().splitlines()) == 2
    assert rows(content)[0]["comment"].endswith(': a, "b" c')


def test_a_long_note_is_cut():
    (content,) = files_of(decided(note="x" * 2000))
    assert len(rows(content)[0]["comment"]) == MAX_COMMENT


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_what_a_spreadsheet_would_run_is_marked_as_text(text):
    assert harmless(text) == f"'{text}"
    assert harmless(f"a{text}") == f"a{text}"


def test_a_table_keeps_its_numbers_and_times_and_its_texts_are_harmless():
    table = pd.DataFrame({
        "note": ["=cmd()", "fine", None],
        "word": pd.Categorical(["@a", "b", "b"]),
        "value": [-1.5, 2.0, None],
        "at": pd.to_datetime([AT, AT, AT]),
    })  # fmt: skip
    content = csv_of(table)
    back = pd.read_csv(io.BytesIO(content), parse_dates=["at"])
    assert back["note"].tolist()[:2] == ["'=cmd()", "fine"]
    assert back["word"].tolist() == ["'@a", "b", "b"]
    assert back["value"].tolist()[:2] == [-1.5, 2.0]
    assert (back["at"] == pd.Timestamp(AT)).all()
    assert table["note"].iloc[0] == "=cmd()"


def test_decisions_are_a_table_in_order_of_bin():
    labels = {one.label.pid: one.label for one in (decided(5, tags=("a", "b")), decided(2, "good"))}
    table = label_rows(labels)
    assert table["pid"].tolist() == sorted(labels)
    assert table["tags"].tolist() == ["", "a b"]
    assert label_rows({}).columns.tolist()[0] == "pid"


@pytest.mark.parametrize("text", ["clog\r=1+1", "clog\r\n@SUM(A1)", "a\n+1", "a\n\t=1", "=1", "a\r-2"])
def test_no_line_of_a_cell_is_a_formula_and_no_row_breaks_in_two(text):
    content = csv_of(pd.DataFrame({"note": [text], "=name": ["b"]})).decode()
    assert "\r" not in content
    [row] = csv.DictReader(io.StringIO(content))
    assert list(row) == ["note", "'=name"]
    assert not any(line.startswith(("=", "+", "-", "@", "\t")) for line in row["note"].split("\n"))
    assert len(pd.read_csv(io.StringIO(content))) == 1


#: What may be in a directory's name, a header or a note.
EVIL = st.text(st.sampled_from("=+-@\t\r\n;,'\"a1 \u2028\x0b\x00"), max_size=12)


def cells_of(content: bytes, separator: str) -> list[str]:
    """All cells, as a spreadsheet finds them that separates them so."""
    return [cell for row in csv.reader(io.StringIO(content.decode()), delimiter=separator) for cell in row]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("table", [RAW_BINS, BIN_FEATURES, BIN_SCORES, LEFT_OUT], ids=lambda table: table.name)
@settings(deadline=None, max_examples=30)
@given(texts=st.lists(EVIL, min_size=2, max_size=2))
def test_no_cell_of_any_table_that_is_handed_out_is_a_formula(table, texts):
    is_text = {
        field.name: pa.types.is_string(field.type) or pa.types.is_dictionary(field.type) for field in table.schema
    }
    rows = [{name: text for name in is_text if is_text[name]} for text in texts]
    content = csv_of(pa.Table.from_pylist(rows, schema=table.schema).to_pandas())
    for separator in (",", ";"):
        for cell in cells_of(content, separator):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or is_number(cell), repr(cell)
    back = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [set(row) for row in back] == [set(table.schema.names)] * 2


@settings(deadline=None, max_examples=30)
@given(note=EVIL, reviewer=EVIL.filter(lambda text: bool(text.strip())))
def test_no_cell_of_decisions_and_of_the_dashboards_file_is_a_formula(note, reviewer):
    one = decided(1)
    label = replace(one.label, note=note, reviewer=reviewer)
    contents = [csv_of(label_rows({label.pid: label})), *files_of(Decided(label, "bubbles"))]
    for content in contents:
        for separator in (",", ";"):
            for cell in cells_of(content, separator):
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")), repr(cell)

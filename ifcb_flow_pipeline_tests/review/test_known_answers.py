import pytest

from ifcb_flow_pipeline.review.known_answers import KnownAnswersError, known_answers

PID = "D20260301T000000_IFCB101"


@pytest.mark.parametrize(
    "text", [f"pid,answer\n{PID},bad\n", f"bin,note,skip\n{PID},x,Skip\n", f"PID,Label\n{PID}, 1 \n"]
)
def test_answers_are_read_by_the_names_of_their_columns(text: str):
    assert known_answers(text.encode()) == {PID: "bad"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pid\nx\n", "columns pid and answer"),
        (b"", "columns pid and answer"),
        (f"pid,answer\n{PID},perhaps\n".encode(), "line 2: 'perhaps'"),
        (b"pid,answer\nnonsense,bad\n", "line 2: 'nonsense'"),
        (b"\xff\xfe", "not a CSV file"),
    ],
)
def test_what_is_no_table_of_answers_is_refused_with_the_line(content: bytes, message: str):
    with pytest.raises(KnownAnswersError, match=message):
        known_answers(content)

"""People's labels of images: only added to, the latest of each kind counts, and they leave and come back as CSV."""

from datetime import UTC, datetime, timedelta

import pytest

from ifcb_flow_pipeline.store.image_labels import ImageLabel, ImageLabelStore, labels_csv, latest, read_image_labels
from ifcb_flow_pipeline.store.labels import Label, LabelError, LabelStore
from ifcb_flow_pipeline.store.records import RecordError

PID = "D20260301T060000_IFCB101"
AT = datetime(2026, 3, 5, tzinfo=UTC)


def label(roi=7, kind="fault", name="defocus", reviewer="Ada", hours=0):
    return ImageLabel(PID, roi, kind, name, reviewer, AT + timedelta(hours=hours))


@pytest.fixture
def store(tmp_path):
    return ImageLabelStore(tmp_path / "labels.sqlite")


def test_the_latest_label_of_each_kind_counts_and_a_withdrawn_one_does_not(store):
    store.add(label(name="clean"))
    store.add(label(kind="class", name="Tripos"))
    last = store.add(label(name="bubble", hours=1))
    assert {kind: one.label for kind, one in latest(store.of_bin(PID))[7].items()} == {
        "fault": "bubble",
        "class": "Tripos",
    }
    store.withdraw(last, "Ada", AT)
    assert [(one.kind, one.label) for one in store.current()] == [("class", "Tripos"), ("fault", "clean")]
    with pytest.raises(LabelError, match="no label number 99"):
        store.withdraw(99, "Ada", AT)


def test_labels_of_images_and_decisions_about_bins_share_a_file_and_do_not_meet(store):
    decisions = LabelStore(store.path)
    decisions.add([Label(PID, "bad", (), "", "Ada", AT, "triage")])
    assert store.current() == []
    store.add(label())
    assert decisions.current()[PID].decision == "bad"
    assert [one.roi for one in store.of_bin(PID)] == [7]


def test_a_file_of_the_version_before_is_read_and_takes_labels(store):
    LabelStore(store.path).add([Label(PID, "bad", (), "", "Ada", AT, "triage")])
    import sqlite3

    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE image_withdrawal")
        connection.execute("DROP TABLE image_label")
        connection.execute("PRAGMA user_version = 2")
    assert store.current() == []
    store.add(label())
    assert len(store.current()) == 1
    assert PID in LabelStore(store.path).current()


def test_nothing_is_changed_or_removed(store):
    import sqlite3

    store.add(label())
    with sqlite3.connect(store.path) as connection, pytest.raises(sqlite3.IntegrityError, match="only added"):
        connection.execute("DELETE FROM image_label")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"roi": 0}, "counted from 1"),
        ({"name": "focus"}, "the fault is 'focus'; it must be clean or one of defocus"),
        ({"kind": "class", "name": "../x"}, "the class is"),
        ({"kind": "class", "name": "x" * 81}, "the class is"),
        ({"kind": "species"}, "kind of a label"),
        ({"reviewer": "  "}, "reviewer's name"),
    ],
)
def test_what_cannot_be_a_label_is_refused_with_what_is_wrong(values, message):
    with pytest.raises(LabelError, match=message):
        label(**values)


def test_labels_come_back_from_csv_as_they_were(store, tmp_path):
    store.add(label(reviewer="=Ada()"))
    store.add(label(roi=2, kind="class", name="Tripos muelleri"))
    path = tmp_path / "labels.csv"
    path.write_text(labels_csv(store.current()), encoding="utf-8")
    assert "'=Ada()" in path.read_text()
    found = read_image_labels(path)
    assert [(one.roi, one.kind, one.label, one.at) for one in found] == [
        (2, "class", "Tripos muelleri", AT),
        (7, "fault", "defocus", AT),
    ]
    assert [one.label for one in read_image_labels(store.path)] == ["Tripos muelleri", "defocus"]


@pytest.mark.parametrize("line", [f"{PID},x,fault,clean,Ada,{AT.isoformat()}", f"{PID},1,fault,blur,Ada,2026-03-05"])
def test_a_damaged_csv_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "labels.csv"
    path.write_text(f"pid,roi,kind,label,reviewer,at\n{line}\n")
    with pytest.raises(RecordError, match=r"labels\.csv, line 2: a label needs pid, roi"):
        read_image_labels(path)

"""The hand-over of decisions to an IFCB dashboard: nothing of others is lifted, and nothing is believed unseen."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.dashboard import Dashboard, DashboardError, Outcome, hand_over, look
from ifcb_flow_pipeline.review.handover import Decided, HandoverError
from ifcb_flow_pipeline.store.labels import Decision, Label, LabelStore
from ifcb_flow_pipeline.store.sent import SENT_FILE, SentStore
from ifcb_flow_pipeline_tests import fake_dashboard
from ifcb_flow_pipeline_tests.fake_dashboard import PASSWORD, USER, Bin, State

AT = datetime(2026, 11, 29, 14, 3, tzinfo=UTC)
PIDS = [f"D2026{1 + i // 12:02}{1 + i % 12:02}T003051_IFCB134" for i in range(44)]
PID, OTHER, THIRD = PIDS[:3]


@pytest.fixture
def there() -> Iterator[State]:
    with fake_dashboard.running() as state:
        state.bins = {pid: Bin() for pid in PIDS}
        yield state


@pytest.fixture
def store(tmp_path: Path) -> SentStore:
    return SentStore(tmp_path / SENT_FILE)


def decided(decision: Decision, *pids: str, who: str = "Ada", cause: str = "") -> list[Decided]:
    return [Decided(Label(pid, decision, ("beads",), "", who, AT, "triage", 7), cause) for pid in pids]


def dashboard(there: State, **settings) -> Dashboard:
    return Dashboard(there.url, sleep=lambda _: None, **settings)


def handed(there: State, decisions: Sequence[Decided], store: SentStore, **settings) -> Outcome:
    found = dashboard(there, **settings)
    plan, before = look(found, decisions, store)
    found.login(USER, PASSWORD)
    return hand_over(found, plan, before, store)


def pids_of(rows) -> list[str]:
    return [row.pid for row in rows]


# What others did stays


def test_no_skip_that_others_have_set_is_lifted_by_any_pass(there, store):
    foreign = PIDS[:25]
    for pid in foreign:
        there.bins[pid] = Bin(skip=True, tags={"beads"})
    for decision in ("good", "bad", "good", "unsure", "bad"):
        handed(there, decided(decision, *PIDS, who=f"Ada after {decision}"), store)
        assert [pid for pid in foreign if not there.bins[pid].skip] == []
    handed(there, [], store)
    assert [pid for pid in foreign if not there.bins[pid].skip] == []
    assert not any(there.bins[pid].skip for pid in PIDS[25:])


def test_a_good_bin_that_we_never_skipped_is_not_written_at_all(there, store):
    outcome = handed(there, decided("good", *PIDS), store)
    assert there.files == []
    assert outcome.plan.left == PIDS
    assert outcome.complete


def test_a_skip_of_others_that_came_after_ours_was_lifted_stays(there, store):
    handed(there, decided("bad", PID), store)
    handed(there, decided("good", PID), store)
    assert not there.bins[PID].skip
    there.bins[PID].skip = True
    assert handed(there, decided("good", PID), store).complete
    assert there.bins[PID].skip


def test_a_skip_of_others_that_came_where_ours_was_lifted_by_hand_stays(there, store):
    handed(there, decided("bad", PID), store)
    there.bins[PID].skip = False
    handed(there, decided("good", PID), store)
    assert store.rows(there.url)[-1].row.skip == ""
    there.bins[PID].skip = True
    handed(there, decided("good", PID), store)
    assert there.bins[PID].skip


def test_what_was_sent_to_one_dashboard_says_nothing_of_another(there, store):
    handed(there, decided("bad", PID), store)
    with fake_dashboard.running() as other:
        other.bins = {PID: Bin(skip=True)}
        handed(other, decided("good", PID), store)
        assert other.bins[PID].skip


# What we did, and took back


def test_a_bad_bin_is_skipped_with_the_tag_of_its_cause_only_and_a_comment_without_a_severity(there, store):
    outcome = handed(there, decided("bad", PID, cause="air"), store)
    assert there.bins[PID] == Bin(True, {"qc_flow_air"}, ["Marked bad by Ada, 2026-11-29 14:03"])
    assert pids_of(outcome.changed) == [PID]
    [sent] = store.rows(there.url)
    assert (sent.row.pid, sent.row.label, sent.row.skip, sent.row.tags) == (PID, 7, "skip", ("qc_flow_air",))
    assert sent.confirmed


def test_a_second_identical_hand_over_sends_nothing_and_adds_no_comment_even_if_the_cause_changed(there, store):
    handed(there, decided("bad", *PIDS, cause="air"), store)
    n_comments, n_files = there.n_comments(), len(there.files)
    outcome = handed(there, decided("bad", *PIDS, cause="clog"), store)
    assert (there.n_comments(), len(there.files)) == (n_comments, n_files)
    assert pids_of(outcome.plan.unchanged) == PIDS
    assert there.bins[PID].tags == {"qc_flow_air"}


@pytest.mark.parametrize("after", ["good", "unsure", None])
def test_an_undone_decision_is_told_once_with_a_tag_a_comment_and_the_skip_that_was_ours_lifted(there, store, after):
    handed(there, decided("bad", PID, cause="air"), store)
    now = decided(after, PID, who="Bob") if after else []
    outcome = handed(there, now, store)
    assert outcome.n_withdrawn == 1
    assert handed(there, now, store).plan.send == []
    said = f"Marked {after} by Bob, 2026-11-29 14:03" if after else "Withdrawn: Marked bad by Ada, 2026-11-29 14:03"
    tags = {"qc_flow_air", "qc_flow_withdrawn"}
    assert there.bins[PID] == Bin(False, tags, ["Marked bad by Ada, 2026-11-29 14:03", said])


def test_a_bin_tagged_by_an_upload_by_hand_and_found_good_is_told_so_and_stays_skipped(there, store):
    there.bins[PID] = Bin(True, {"qc_flow_air"})
    handed(there, decided("good", PID), store)
    assert there.bins[PID].skip
    assert "qc_flow_withdrawn" in there.bins[PID].tags


def test_a_hand_over_that_broke_off_after_the_upload_is_found_by_the_next(there, store):
    there.down_after_upload = True
    there.bins[OTHER].ours = False
    with pytest.raises(DashboardError, match="503"):
        handed(there, decided("bad", PID, OTHER), store)
    there.down_after_upload = False
    there.bins[OTHER].skip = True  # by others: ours never came
    outcome = handed(there, decided("good", PID, OTHER), store)
    assert (there.bins[PID].skip, there.bins[OTHER].skip) == (False, True)
    assert pids_of(outcome.changed) == [PID]


def test_a_withdrawal_that_broke_off_after_the_upload_lifts_no_skip_that_came_since(there, store):
    handed(there, decided("bad", PID), store)
    there.files.clear()
    there.down_after_upload = True
    with pytest.raises(DashboardError, match="503"):
        handed(there, decided("good", PID), store)
    there.down_after_upload = False
    there.bins[PID].skip = True  # by others
    handed(there, decided("good", PID), store)
    assert there.bins[PID].skip


def test_what_arrived_before_a_hand_over_broke_off_is_confirmed_by_the_next(there, store):
    there.down_after_upload = True
    with pytest.raises(DashboardError, match="503"):
        handed(there, decided("bad", PID), store)
    there.down_after_upload = False
    assert [one.confirmed for one in store.rows(there.url)] == [False]
    assert handed(there, decided("bad", PID), store).plan.send == []
    assert [one.confirmed for one in store.rows(there.url)] == [True]


# Nothing is believed unseen


def test_a_bin_that_the_dashboard_does_not_have_makes_the_hand_over_incomplete(there, store):
    del there.bins[OTHER]
    outcome = handed(there, decided("bad", PID, OTHER), store)
    assert pids_of(outcome.not_found) == [OTHER]
    assert not outcome.complete


def test_every_row_that_does_not_read_back_is_reported(there, store):
    there.bins[PID].ours = False
    gone = "D20260401T000000_IFCB134"
    outcome = handed(there, decided("bad", PID, OTHER, gone), store)
    assert (pids_of(outcome.not_yours), pids_of(outcome.not_found), pids_of(outcome.changed)) == (
        [PID],
        [gone],
        [OTHER],
    )
    assert not outcome.complete
    assert [one.row.pid for one in store.rows(there.url) if one.confirmed] == [OTHER]


def test_an_upload_that_succeeds_and_changes_nothing_is_no_success(there, store):
    for one in there.bins.values():
        one.ours = False
    outcome = handed(there, decided("bad", *PIDS), store)
    assert pids_of(outcome.not_yours) == PIDS
    # A skip that never came is none of ours.
    there.bins[PID].skip = True
    handed(there, decided("good", *PIDS), store)
    assert there.bins[PID].skip


def test_a_row_that_the_dashboard_refuses_is_told_with_its_reason(there, store):
    error = {"row": 3, "message": "no such thing"}
    there.states = [{"state": "PENDING", "info": None}, {"state": "SUCCESS", "info": {"errors": [error], "done": True}}]
    there.bins[PID].ours = there.bins[OTHER].ours = False
    outcome = handed(there, decided("bad", PID, OTHER), store)
    assert [(row.pid, why) for row, why in outcome.failed] == [(OTHER, "no such thing")]
    assert pids_of(outcome.not_yours) == [PID]


def test_an_import_that_takes_its_time_is_waited_for(there, store):
    working = {"state": "PROGRESS", "info": {"bin": PID, "n_modded": 0, "errors": [], "done": False}}
    pauses = []
    found = Dashboard(there.url, sleep=pauses.append)
    plan, before = look(found, decided("bad", PID), store)
    found.login(USER, PASSWORD)
    there.states = [working, working, {"state": "SUCCESS", "info": {"errors": [], "done": True}}]
    hand_over(found, plan, before, store)
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([{"state": "SUCCESS", "info": None}], "failed"),
        ([{"state": "FAILURE", "info": {"errors": []}}], "failed"),
        ([{"state": "PROGRESS", "info": {"errors": []}}], "has not ended after 9"),
    ],
)
def test_an_import_that_fails_or_never_ends_is_told_and_its_rows_are_read_back(there, store, states, message):
    there.bins[PID].ours = False
    there.states = [states[0], states[0]]
    outcome = handed(there, decided("bad", PID), store)
    assert message in outcome.problem
    assert pids_of(row for row, _ in outcome.failed) == [PID]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, "", "<p>Upload already in progress</p>"), "another upload is in progress.*clearcache"),
        ((200, "", "<p>CSV syntax error</p>"), "CSV syntax error"),
        ((200, "", "<p>?</p>"), "does not say why"),
        ((500, "", ""), "broker"),
        ((302, "/secure/", ""), "does not let this user upload"),
        ((302, "/secure/login/?next=/secure/upload-metadata", ""), "has ended the login"),
        ((302, "/secure/upload-metadata", ""), "answers the upload with 302"),
        ((413, "", ""), "answers the upload with 413"),
    ],
)
def test_whatever_else_an_upload_answers_is_told_with_the_remedy(there, store, answer, message):
    there.upload = answer
    found = dashboard(there)
    found.login(USER, PASSWORD)
    with pytest.raises(DashboardError, match=message):
        found.upload(b"pid,tag1,comment,skip\n")
    assert not handed(there, decided("bad", PID), store).complete


# Login and reading


def test_a_wrong_password_is_told_without_it(there):
    with pytest.raises(DashboardError, match="does not know the user ann") as caught:
        dashboard(there).login(USER, "wr0ng")
    assert "wr0ng" not in str(caught.value)


def test_an_upload_without_a_login_says_so(there):
    with pytest.raises(DashboardError, match="has ended the login"):
        dashboard(there).upload(b"")


def test_a_proxys_login_page_is_no_dashboard(there):
    there.proxy = True
    with pytest.raises(DashboardError, match="no form"):
        dashboard(there).login(USER, PASSWORD)
    with pytest.raises(DashboardError, match="instead of 200 application/json"):
        dashboard(there).bins([PID])


def test_an_address_where_nothing_answers_is_told():
    with pytest.raises(DashboardError, match="cannot be reached"):
        Dashboard("http://127.0.0.1:9").bins([PID])


@pytest.mark.parametrize("url", ["http://ifcb.example.org", "ftp://localhost", "http://10.0.0.1:8000"])
def test_a_password_never_goes_readable_over_the_network(url):
    with pytest.raises(DashboardError, match="https"):
        Dashboard(url)


def test_an_address_with_a_password_in_it_is_refused():
    with pytest.raises(DashboardError, match="must not") as caught:
        Dashboard("https://ann:s3cret@ifcb.example.org")
    assert "s3cret" not in str(caught.value)


def test_reading_is_by_get_without_a_login_and_asks_once_for_a_month_of_a_dataset(there):
    assert dashboard(there).bins(PIDS).keys() == set(PIDS)
    assert {line.split()[0] for line in there.asked} == {"GET"}
    assert len(there.asked) == 1 + 2 * 4  # four months in two datasets
    assert not any("secure" in line for line in there.asked)


def test_a_bin_in_no_public_dataset_is_handed_over_as_well(there, store):
    there.bins[PID].listed = False
    there.bins[PID].comments = ["first"]
    assert handed(there, decided("bad", PID, OTHER, cause="air"), store).complete
    assert handed(there, decided("bad", PID, OTHER, cause="air"), store).plan.send == []
    assert there.bins[PID].comments == ["first", "Marked bad by Ada, 2026-11-29 14:03"]


def test_a_cause_that_the_dashboard_would_read_as_an_empty_cell_is_refused(there, store):
    for word in ("nan", "NA", "None", "null", "n/a"):
        with pytest.raises(HandoverError, match=word):
            look(dashboard(there), decided("bad", PID, cause=word), store)


# The command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    monkeypatch.delenv("IFCB_DASHBOARD_URL", raising=False)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    labels = [replace(one.label, id=None) for one in decided("bad", PID, OTHER)]
    LabelStore(tmp_path / "labels.sqlite").add(labels)
    return tmp_path


def run(there: State, *arguments: object, **settings):
    return CliRunner().invoke(main, ["handover", "--dashboard", there.url + "/", *map(str, arguments)], **settings)


def test_the_command_hands_over_and_says_what_came_of_it(there, home):
    done = run(there, "--user", USER, "--password-file", home / "password")
    assert done.exit_code == 0, done.output
    assert "2 sent, 2 changed, 0 unchanged, 0 not found, 0 not yours, 0 failed" in done.output
    again = run(there, "--user", USER, env={"IFCB_DASHBOARD_PASSWORD_FILE": str(home / "password")})
    assert "0 sent, 0 changed, 2 unchanged" in again.output
    assert there.bins[PID].skip


def test_the_command_fails_where_a_row_does_not_read_back_and_names_it(there, home):
    there.bins[PID].ours = False
    del there.bins[OTHER]
    done = run(there, "--user", USER, input=f"{PASSWORD}\n")
    assert done.exit_code == 1
    assert f"{PID}  not yours" in done.output
    assert f"{OTHER}  not found" in done.output
    assert PASSWORD not in done.output
    assert PASSWORD.encode() not in (home / SENT_FILE).read_bytes()


def test_a_dry_run_writes_nothing_and_needs_no_user(there, home):
    done = run(there, "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"{PID}  skip, Marked bad by Ada" in done.output
    assert "2 to be sent" in done.output
    assert {line.split()[0] for line in there.asked} == {"GET"}
    assert not (home / SENT_FILE).exists()


def test_the_command_needs_an_address_and_a_user(there, home):
    assert "--user" in run(there).output
    assert "IFCB_DASHBOARD_URL" in CliRunner().invoke(main, ["handover"]).output

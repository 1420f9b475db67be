"""The HTTP interface, asked over a real connection."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_IMAGE_SCORES, BIN_SCORES, RAW_BINS, Table
from ifcb_flow_pipeline.web.application import application
from ifcb_flow_pipeline.web.server import ServerError, read_token, server
from ifcb_flow_pipeline_tests.web.rows import listed, scored

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is started on it
TOKEN = "0123456789abcdef"  # noqa: S105 - of the tests only


def at(minutes: int, instrument: str = "IFCB101") -> str:
    return format_pid(instrument, datetime(2026, 3, 2, tzinfo=UTC) + timedelta(minutes=minutes))


HEALTHY, BAD, WORSE, UNREADABLE, NOT_JUDGED, NOT_SCORED = at(0), at(30), at(60), at(90), at(0, "IFCB5"), at(120)
SCORES = [
    scored(WORSE, 91.0, "bad", "clog", -0.71, findings=json.dumps([{"feature": "t_y_var", "text": "a reason"}])),
    scored(BAD, 60.0, "bad", "clog", -0.0523),
    scored(HEALTHY, 3.0, "ok", "", -0.4),
    scored(UNREADABLE, 100.0, "unreadable", "", None, status="unreadable", reason="line 3 has 17 cells"),
    scored(NOT_JUDGED, None, "not_judged", "", None),
]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Site:
    url: str
    tables: DailyTables

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        asked = urllib.request.Request(self.url + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def write(self, table: Table, day: date, rows: list[dict[str, Any]]) -> None:
        self.tables.write(table, day, pa.Table.from_pylist(rows, table.schema), Provenance("made"))


@contextmanager
def serving(home: Path, token: str | None = None, now: datetime = NOW) -> Iterator[Site]:
    settings = replace(Settings.from_environment({}), home=home)
    config = uvicorn.Config(application(settings, token, clock=lambda: now), port=0, log_level="warning")
    running = uvicorn.Server(config)
    started = threading.Event()
    start = running.startup

    async def startup(*arguments: Any, **named: Any) -> None:
        await start(*arguments, **named)
        started.set()

    running.startup = startup
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        assert started.wait(60)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}", DailyTables(home / "tables"))
    finally:
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("home")) as running:
        running.write(BIN_SCORES, DAY, SCORES)
        running.write(RAW_BINS, DAY, [listed(row["pid"]) for row in SCORES] + [listed(NOT_SCORED)])
        rows = [
            {"pid": BAD, "focus": 0.4217, "verdict": "bad", "status": "ok", "reason": ""},
            {
                "pid": WORSE,
                "focus": None,
                "verdict": "not_judged",
                "status": "no_roi",
                "reason": "there is no .roi file",
            },
        ]
        running.write(BIN_IMAGE_SCORES, DAY, [dict.fromkeys(BIN_IMAGE_SCORES.schema.names) | row for row in rows])
        yield running


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path) as running:
        yield running


def samples(answer: Answer) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name and the values of its labels, these in the order of their names."""
    families = text_string_to_metric_families(answer.body.decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


# The score of a bin, as WHOI's service answers


def test_a_score_is_a_number_in_a_json_string(site: Site):
    answer = site.get(f"/flow_metric/{BAD}")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", b'"-0.0523"')


def test_clients_that_parse_json_and_clients_that_strip_quotes_read_the_same_number(site: Site):
    answer = site.get(f"/flow_metric/{WORSE}")
    assert float(answer.json) == float(answer.body.decode().strip('"')) == -0.71


def test_who_wants_text_gets_the_bare_number(site: Site):
    answer = site.get(f"/flow_metric/{BAD}", Accept="text/plain;q=0.9, */*;q=0.1")
    assert (answer.status, answer.body) == (200, b"-0.0523")
    assert answer.headers["content-type"].startswith("text/plain")
    assert site.get(f"/flow_metric/{BAD}", Accept="application/json, text/plain, */*").body == b'"-0.0523"'


def test_what_is_no_bins_name_is_refused_and_quoted(site: Site):
    for path in ("/flow_metric/nonsense", "/flow_metric/D20261399T000000_IFCB101", "/api/v1/bins/nonsense"):
        answer = site.get(path)
        assert answer.status == 400
        assert answer.json.keys() == {"error", "detail"}
        assert path.rpartition("/")[2] in answer.json["detail"]


def test_the_focus_of_a_bins_images_is_told_in_the_form_of_its_flow_metric(site: Site) -> None:
    assert site.get(f"/focus_metric/{BAD}").body == b'"0.4217"'
    assert site.get(f"/focus_metric/{BAD}", Accept="text/plain").body == b"0.4217"
    answer = site.get(f"/focus_metric/{WORSE}")
    assert (answer.status, answer.json["status"]) == (404, "no_roi")
    assert answer.json["detail"].endswith("has no images to tell the focus by: there is no .roi file")
    answer = site.get(f"/focus_metric/{NOT_SCORED}")
    assert (answer.status, answer.json) == (404, {"detail": f"{NOT_SCORED} has not had its images looked at yet"})


@pytest.mark.parametrize("path", ["/flow_metric/", "/api/v1/bins/"])
def test_bins_that_are_not_known_and_bins_that_wait_are_told_apart(site: Site, path: str):
    for pid in (at(7), "D20200101T000000_IFCB101"):
        answer = site.get(path + pid)
        assert (answer.status, answer.json) == (404, {"detail": f"there is no bin {pid} in the tables"})
    answer = site.get(path + NOT_SCORED)
    assert (answer.status, answer.json) == (404, {"detail": f"{NOT_SCORED} has not been scored yet"})


def test_bins_without_a_number_say_their_status(site: Site):
    answer = site.get(f"/flow_metric/{UNREADABLE}")
    assert answer.status == 404
    assert answer.json == {
        "detail": f"{UNREADABLE} has no score: line 3 has 17 cells", "status": "unreadable", "verdict": "unreadable",
    }  # fmt: skip
    answer = site.get(f"/flow_metric/{NOT_JUDGED}")
    assert answer.status == 404
    assert answer.json == {"detail": f"{NOT_JUDGED} was not judged", "status": "ok", "verdict": "not_judged"}


# Bins, faults and instruments


def test_a_bin_is_its_row_of_the_scores(site: Site):
    found = site.get(f"/api/v1/bins/{WORSE}").json
    assert list(found) == BIN_SCORES.schema.names
    assert found["start_time"] == "2026-03-02T01:00:00Z"
    assert found["findings"] == [{"feature": "t_y_var", "text": "a reason"}]
    assert (found["severity"], found["verdict"], found["cause"]) == (91.0, "bad", "clog")
    assert site.get(f"/api/v1/bins/{NOT_JUDGED}").json["severity"] is None


def test_faults_are_told_with_whether_they_last(site: Site):
    found = site.get("/api/v1/episodes?ongoing=1").json
    assert (found["first_day"], found["last_day"]) == ("2026-01-31", "2026-03-02")
    assert [(one["first_pid"], one["last_pid"], one["cause"], one["state"]) for one in found["episodes"]] == [
        (BAD, WORSE, "clog", "ongoing")
    ]
    assert site.get("/api/v1/episodes").json == found
    answer = site.get("/api/v1/episodes?ongoing=yes")
    assert (answer.status, answer.json) == (400, {"detail": "ongoing is 'yes'; it must be 0 or 1"})


def test_a_fault_that_is_over_is_listed_but_not_among_those_that_last(tmp_path: Path):
    with serving(tmp_path, now=NOW + timedelta(days=20)) as site:
        site.write(BIN_SCORES, DAY, SCORES)
        assert [one["state"] for one in site.get("/api/v1/episodes?ongoing=0").json["episodes"]] == ["over"]
        assert site.get("/api/v1/episodes?ongoing=1").json["episodes"] == []
        assert ("ifcb_flow_episode_ongoing", "clog", "IFCB101") not in samples(site.get("/metrics"))


def test_instruments_are_listed_with_their_last_bins(site: Site):
    found = site.get("/api/v1/instruments").json
    assert [one["instrument"] for one in found["instruments"]] == ["IFCB101", "IFCB5"]
    first = found["instruments"][0]
    assert (first["last_pid"], first["last_scored"]["pid"]) == (NOT_SCORED, UNREADABLE)
    assert first["bins"] == {"bad": 2, "ok": 1, "unreadable": 1}
    assert found["days_waiting"] == ["2026-03-02"]
    assert found["instruments"][1]["last_scored"]["severity"] is None


def test_without_tables_there_are_no_instruments_and_no_faults(empty: Site):
    assert empty.get("/api/v1/instruments").json["instruments"] == []
    assert empty.get("/api/v1/episodes").json == {"first_day": None, "last_day": None, "episodes": []}
    assert samples(empty.get("/metrics"))[("ifcb_flow_days_waiting",)] == 0


def test_a_day_that_is_written_while_the_program_runs_is_seen(empty: Site):
    assert empty.get(f"/flow_metric/{BAD}").status == 404
    empty.write(BIN_SCORES, DAY, SCORES[2:])
    assert empty.get("/api/v1/episodes").json["episodes"] == []
    empty.write(BIN_SCORES, DAY, SCORES)
    assert len(empty.get("/api/v1/episodes").json["episodes"]) == 1
    assert empty.get(f"/flow_metric/{BAD}").status == 200


def test_a_damaged_day_is_told_and_hides_no_other(empty: Site):
    empty.write(BIN_SCORES, DAY, SCORES)
    empty.write(BIN_SCORES, DAY - timedelta(days=1), SCORES)
    empty.tables.path(BIN_SCORES, DAY).write_bytes(b"no parquet")
    answer = empty.get(f"/flow_metric/{BAD}")
    assert answer.status == 503
    assert "process that day again" in answer.json["detail"]
    found = empty.get("/api/v1/instruments").json
    assert found["days_unreadable"] == ["2026-03-02"]
    assert len(found["instruments"]) == 2
    assert samples(empty.get("/metrics"))[("ifcb_flow_days_unreadable",)] == 1


# Metrics


def test_metrics_are_read_by_the_parser_of_prometheus(site: Site):
    answer = site.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer)
    start = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    assert found[("ifcb_flow_latest_bin_timestamp_seconds", "IFCB101")] == start + 7200
    assert found[("ifcb_flow_latest_scored_bin_timestamp_seconds", "IFCB101")] == start + 5400
    assert found[("ifcb_flow_latest_severity", "IFCB101")] == 100
    assert ("ifcb_flow_latest_severity", "IFCB5") not in found
    assert found[("ifcb_flow_bins", "IFCB101", "bad")] == 2
    assert found[("ifcb_flow_bins", "IFCB101", "watch")] == 0
    assert found[("ifcb_flow_unreadable", "IFCB101")] == 1
    assert found[("ifcb_flow_episode_ongoing", "clog", "IFCB101")] == 1
    assert found[("ifcb_flow_episode_start_timestamp_seconds", "IFCB101")] == start + 1800
    assert found[("ifcb_flow_episode_bad_bins", "IFCB101")] == 2
    assert found[("ifcb_flow_days_waiting",)] == 1
    assert [key for key in found if key[0] == "ifcb_flow_build_info"]


def test_all_metrics_carry_the_prefix_and_say_what_they_are(site: Site):
    for family in text_string_to_metric_families(site.get("/metrics").body.decode()):
        assert family.name.startswith("ifcb_flow_")
        assert family.documentation
        assert family.type == "gauge"


def test_openmetrics_is_answered_to_those_who_ask_for_it(site: Site):
    answer = site.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "ifcb_flow_bins" in {family.name for family in open_metrics(answer.body.decode())}


def test_the_model_in_use_is_named_with_its_age(empty: Site, monkeypatch: pytest.MonkeyPatch):
    card = type("Card", (), {"model_id": "flow-1", "kind": "flow", "created": (NOW - timedelta(days=1)).isoformat()})
    monkeypatch.setattr(ModelStore, "current_id", lambda _: "flow-1")
    monkeypatch.setattr(ModelStore, "card", lambda _: card)
    found = samples(empty.get("/metrics"))
    assert found[("ifcb_flow_model_info", "flow", "flow-1")] == 1
    assert found[("ifcb_flow_model_age_seconds",)] == 86_400


# Health, description, and who may ask


@pytest.mark.parametrize("path", ["/", "/health"])
def test_health_is_answered_as_whois_service_does(site: Site, path: str):
    answer = site.get(path)
    assert (answer.status, answer.json["status"]) == (200, "healthy")
    assert answer.json.keys() == {"status", "version"}


def test_the_description_names_the_routes_that_there_are(site: Site):
    described = site.get("/openapi.json").json
    routes = application(Settings.from_environment({})).routes
    assert set(described["paths"]) == {route.path for route in routes if isinstance(route, Route)}
    assert described == json.loads((files("ifcb_flow_pipeline.web") / "openapi.json").read_text())


def test_the_description_of_answers_names_their_fields(site: Site):
    schemas = site.get("/openapi.json").json["components"]["schemas"]
    assert list(schemas["Bin"]["properties"]) == BIN_SCORES.schema.names
    episode = site.get("/api/v1/episodes").json["episodes"][0]
    assert episode.keys() == schemas["Episode"]["properties"].keys()
    instrument = site.get("/api/v1/instruments").json["instruments"][0]
    assert instrument.keys() == schemas["Instrument"]["properties"].keys()
    assert instrument["last_scored"].keys() == schemas["LastScored"]["properties"].keys()


def test_nothing_can_be_changed(site: Site):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = site.get(f"/api/v1/bins/{BAD}", method)
        assert (answer.status, answer.json) == (405, {"detail": "Method Not Allowed"})
    assert (site.get("/nowhere").status, site.get("/nowhere").json) == (404, {"detail": "Not Found"})


def test_a_page_whose_name_points_to_this_machine_reads_nothing(site: Site):
    assert site.get("/metrics", Host="elsewhere.example").status == 400
    assert site.get("/metrics", Host="localhost:8001").status == 200
    assert site.get("/metrics", Host="[::1]:8001").status == 200


def test_with_a_token_only_those_who_carry_it_read_more_than_the_health(tmp_path: Path):
    with serving(tmp_path, TOKEN) as site:
        assert site.get("/health", Host="ifcb.example").status == 200
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Basic x"}):
            answer = site.get("/metrics", **header)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "token" in answer.json["detail"]
        assert site.get("/metrics", Authorization=f"Bearer {TOKEN}", Host="ifcb.example").status == 200


def test_other_machines_are_listened_to_with_a_token_only(tmp_path: Path):
    settings = Settings.from_environment({})
    for host in (EVERYWHERE, "::", "192.0.2.7", "ifcb.example"):
        with pytest.raises(ServerError, match="--token-file"):
            server(settings, host, 0)
    for host in ("127.0.0.1", "::1", "localhost"):
        server(settings, host, 0)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert server(settings, EVERYWHERE, 0, tmp_path / "token").config.host == EVERYWHERE


@pytest.mark.parametrize("text", ["", "short", "sixteen letters and spaces", "ä" * 20])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(tmp_path: Path, text: str):
    (tmp_path / "token").write_text(text)
    with pytest.raises(ServerError, match="holds no token"):
        read_token(tmp_path / "token")

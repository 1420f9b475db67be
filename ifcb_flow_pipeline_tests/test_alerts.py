"""Alerts on their way: kept, sent, recorded, through kills and failures; nothing of an address is shown."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner

from ifcb_flow_pipeline import alerts
from ifcb_flow_pipeline.alert_settings import AlertSettings, AlertSettingsError, Channel, read_alert_settings
from ifcb_flow_pipeline.alerts import alert_store, look, open_alerts, send_due, sender, watched
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.defs.alerts import alerts as sensor
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.review.alerting import Rules, Watched
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.review import watched_bins
from ifcb_flow_pipeline_tests.review.watched_bins import START, STEP
from ifcb_flow_pipeline_tests.web.rows import listed, scored

LETTERS = "oobbboooobboooo"
SECRET = "s3cret-token"  # noqa: S105 - made up
ALERTS = AlertSettings(
    (Channel("one", "ntfy (number 1 of addresses)", "first", f"ntfy://{SECRET}"),
     Channel("two", "slack (number 2 of addresses)", "first", f"slack://{SECRET}")),
    Rules(remind_after=None),
)  # fmt: skip


class KilledError(BaseException):
    """The process ends here."""


class Network:
    """What arrives where; may be down for a channel, and may kill who sends: before a delivery or right after it."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str]] = []
        self.down: set[str] = set()
        self.kill_before = self.kill_after = 0

    def send(self, channel: Channel, title: str, body: str) -> bool:
        assert body
        if channel.id in self.down:
            return False
        if self.kill_before:
            self.kill_before -= 1
            raise KilledError
        self.arrived.append((channel.id, title))
        if self.kill_after:
            self.kill_after -= 1
            raise KilledError
        return True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "archive").mkdir()
    return Settings.from_environment(
        {"IFCB_FLOW_HOME": str(tmp_path / "home"), "IFCB_DATA_DIR": str(tmp_path / "archive")}
    )


@pytest.fixture(autouse=True)
def disk_with_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the machine that tests may be nearly full."""
    monkeypatch.setattr(alerts.shutil, "disk_usage", lambda _path: SimpleNamespace(total=100, used=50, free=50))


@pytest.fixture
def network() -> Network:
    return Network()


def write_day(settings: Settings, letters: str) -> None:
    """The bins so far, of one day, one a letter every 20 minutes."""
    rows = [
        scored(format_pid("IFCB1", START + i * STEP), 80.0 if letter == "b" else 5.0, {"b": "bad", "o": "ok"}[letter],
               "air" if letter == "b" else "", -0.4)
        for i, letter in enumerate(letters)
    ]  # fmt: skip
    tables = DailyTables(settings.home / "tables")
    for table, made in ((RAW_BINS, [listed(row["pid"]) for row in rows]), (BIN_SCORES, rows)):
        tables.write(table, date(2026, 3, 2), pa.Table.from_pylist(made, table.schema), Provenance(letters))


def live(settings: Settings, network: Network, before_each: Callable[[int], object] | None = None) -> None:
    """A look after every bin; who is killed looks again at once."""
    for n in range(1, len(LETTERS) + 1):
        if before_each:
            before_each(n)
        now = START + n * STEP
        while True:
            try:
                send_due(settings.home, watched_bins.watched(LETTERS[:n], now), ALERTS, network.send, now)
                break
            except KilledError:
                continue


ALL = [f"{word}IFCB1: air bubbles" for word in ("", "Recovered: ", "", "Recovered: ")]


def test_two_faults_are_four_messages_to_each_address_in_their_order(settings, network):
    live(settings, network)
    for channel in ("one", "two"):
        assert [title for to, title in network.arrived if to == channel] == ALL


def test_kills_before_a_delivery_lose_and_repeat_nothing(settings, network):
    def kill(n: int) -> None:
        network.kill_before = 20

    live(settings, network, kill)
    assert Counter(network.arrived) == Counter([(to, title) for to in ("one", "two") for title in ALL])


def test_a_kill_between_a_delivery_and_its_record_repeats_that_delivery_only(settings, network):
    def kill(n: int) -> None:
        network.kill_after = 1 if n == 4 else 0

    live(settings, network, kill)
    assert network.arrived[:3] == [("one", ALL[0]), ("one", ALL[0]), ("two", ALL[0])]
    assert len(network.arrived) == 9


def test_a_kill_before_messages_are_kept_loses_none(settings, network, monkeypatch):
    kept = alerts.AlertStore.add

    def killed(*_args: object) -> None:
        monkeypatch.setattr(alerts.AlertStore, "add", kept)
        raise KilledError

    def kill(n: int) -> None:
        if n in (4, 8):
            monkeypatch.setattr(alerts.AlertStore, "add", killed)

    live(settings, network, kill)
    assert len(network.arrived) == 8


def test_an_address_that_is_down_gets_all_of_it_later_and_holds_up_no_other(settings, network):
    network.down = {"one"}
    live(settings, network)
    assert [to for to, _ in network.arrived] == ["two"] * 4
    network.down = set()
    found = send_due(settings.home, Watched(), ALERTS, network.send, START + 16 * STEP)
    assert (found.n_decided, found.n_delivered) == (0, 4)
    assert [title for to, title in network.arrived if to == "one"] == ALL
    assert send_due(settings.home, Watched(), ALERTS, network.send, START + 16 * STEP).n_delivered == 0


def test_a_failure_is_told_without_the_address(settings, network):
    write_day(settings, "oobb")
    network.down = {"two"}
    said = str(look(settings, ALERTS, network.send, START + 4 * STEP))
    assert said == "1 new messages, 1 delivered; not delivered, to be tried again: slack (number 2 of addresses)"
    assert SECRET not in repr(ALERTS)


def test_an_address_that_is_new_hears_of_nothing_old(settings, network):
    live(settings, network)
    more = AlertSettings((*ALERTS.channels, Channel("three", "json", "first", "")), ALERTS.rules)
    assert send_due(settings.home, Watched(), more, network.send, START + 16 * STEP).n_delivered == 0


def test_nothing_is_sent_while_another_process_looks(settings, network):
    write_day(settings, "oobb")

    def send(channel: Channel, title: str, body: str) -> bool:
        assert str(look(settings, ALERTS, network.send, START + 4 * STEP)) == "another process is looking"
        return True

    assert look(settings, ALERTS, send, START + 4 * STEP).n_delivered == 2
    assert network.arrived == []


def test_an_acknowledged_alert_is_told_apart(settings, network, monkeypatch):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(settings.home))
    write_day(settings, "oobb")
    look(settings, ALERTS, network.send, START + 4 * STEP)
    run = CliRunner().invoke
    assert run(main, ["alerts"]).output == "   1  IFCB1: air bubbles, since 2026-03-02 00:40 UTC, not acknowledged\n"
    assert run(main, ["alerts", "acknowledge", "1", "--who", "ann"]).output == "1 acknowledged\n"
    assert run(main, ["alerts"]).output.endswith("UTC, acknowledged\n")
    assert "no alert that lasts has the number 7" in run(main, ["alerts", "acknowledge", "7"]).output
    assert [thread.acknowledged for thread in open_alerts(alert_store(settings))] == [True]


def test_without_alerts_there_is_nothing_to_list_or_acknowledge(settings, monkeypatch):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(settings.home))
    assert CliRunner().invoke(main, ["alerts"]).output == "nothing that people were alerted of lasts\n"
    assert CliRunner().invoke(main, ["alerts", "acknowledge"]).output == "0 acknowledged\n"
    assert not settings.home.exists()


# What is so now


def test_a_newer_bin_in_the_archive_is_seen_where_an_instrument_seems_silent(settings):
    write_day(settings, "o" * 30)
    assert watched(settings, START + 45 * STEP).unlisted == {}
    for hours in (11, 12, 30):  # one that is listed, one that is not, one of the future
        write_bin(simulate_bin(format_pid("IFCB1", START + timedelta(hours=hours)), mean_triggers=5),
                  settings.archive.root)  # fmt: skip
    write_day(settings, "o" * 34)
    assert watched(settings, START + 50 * STEP).unlisted == {"IFCB1": format_pid("IFCB1", START + timedelta(hours=12))}


def test_an_archive_that_is_gone_hides_no_silence(settings):
    write_day(settings, "o" * 30)
    settings.archive.root.rmdir()
    assert watched(settings, START + 45 * STEP).unlisted == {}


def test_without_a_model_nothing_waits_for_a_verdict(settings):
    write_day(settings, "o" * 3)
    DailyTables(settings.home / "tables").path(BIN_SCORES, date(2026, 3, 2)).unlink()
    assert watched(settings, START).first_waiting is None


# The file of settings


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "alerts.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_says_who_is_alerted_when(tmp_path):
    found = read_alert_settings(written(tmp_path, """
        addresses = ["ntfy://topic", "mailto://u:p@example.org"]
        escalation_addresses = ["slack://a/b/c"]
        quiet_hours = "22:00-06:00"
        daily_digest = "07:30"
        time_zone = "Europe/Helsinki"
        bad_bins = 3
        remind_hours = 0
        escalate_hours = 2
        disk_free_percent = 10
    """))  # fmt: skip
    assert [(one.name, one.audience) for one in found.channels] == [
        ("ntfy (number 1 of addresses)", "first"), ("mailto (number 2 of addresses)", "first"),
        ("slack (number 1 of escalation_addresses)", "second"),
    ]  # fmt: skip
    rules = found.rules
    assert (rules.bad_bins, rules.remind_after, rules.escalate_after) == (3, None, timedelta(hours=2))
    assert (rules.free_share, str(rules.zone), str(rules.digest)) == (0.1, "Europe/Helsinki", "07:30:00")


def test_without_a_second_list_nothing_is_escalated(tmp_path):
    assert read_alert_settings(written(tmp_path, 'addresses = ["ntfy://t"]')).rules == Rules()


@pytest.mark.parametrize(
    ("text", "said"),
    [("addresses = []", "at least one address"), ('addresses = "ntfy://t"', "must be a list"),
     ('adresses = ["a://b"]', "'adresses' is no setting; there are addresses,"),
     ('addresses = ["a://b"]\nbad_bins = "2"', "bad_bins must be a number from 1 on, such as 2"),
     ('addresses = ["a://b"]\nbad_bins = 0', "bad_bins must be a number from 1 on"),
     ('addresses = ["a://b"]\nquiet_hours = "22"', 'quiet_hours must be two times such as "22:00-06:00"'),
     ('addresses = ["a://b"]\ndaily_digest = "seven"', 'daily_digest must have times such as "07:00"'),
     ('addresses = ["a://b"]\ntime_zone = "Mars/Base"', "time_zone must be a name such as Europe/Stockholm"),
     (f'addresses = ["mailto://{SECRET}', "is no TOML file (at end of document)")],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused_by_name_and_without_its_secrets(tmp_path, text, said):
    with pytest.raises(AlertSettingsError) as error:
        read_alert_settings(written(tmp_path, text))
    assert said in str(error.value)
    assert "alerts.toml" in str(error.value)
    assert SECRET not in str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(AlertSettingsError, match=r"none.toml cannot be read .*IFCB_ALERTS_FILE"):
        read_alert_settings(tmp_path / "none.toml")


# Sending


class StandIn(ModuleType):
    """The library as it is called here: takes addresses, says whether the service took a message."""

    sent: ClassVar[list[tuple[str, str, str]]] = []

    @staticmethod
    def Apprise() -> SimpleNamespace:  # noqa: N802 - its name there
        added: list[str] = []

        def add(url: str) -> bool:
            added.append(url)
            return not url.startswith("nonsense")

        def notify(body: str, title: str) -> bool:
            StandIn.sent.append((added[0], title, body))
            return "down" not in added[0]

        return SimpleNamespace(add=add, notify=notify)


@pytest.fixture
def library(monkeypatch) -> type[StandIn]:
    monkeypatch.setitem(sys.modules, "apprise", StandIn("apprise"))
    StandIn.sent.clear()
    return StandIn


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(AlertSettingsError, match=r"ifcb-flow-pipeline\[alerts\]"):
        sender()


def test_an_address_that_no_service_has_is_named_by_its_number(library):
    with pytest.raises(AlertSettingsError, match="nonsense is no address"):
        sender()(Channel("x", "nonsense", "first", f"nonsense://{SECRET}"), "title", "body")


@pytest.mark.parametrize(("address", "code"), [("ntfy://t", 0), ("down://t", 1)])
def test_the_commands_send_what_is_due_and_tests(settings, library, monkeypatch, tmp_path, address, code):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(settings.home))
    monkeypatch.setenv("IFCB_ALERTS_FILE", str(written(tmp_path, f'addresses = ["{address}"]\ndaily_digest = "00:00"')))
    write_day(settings, "ooo")
    result = CliRunner().invoke(main, ["alerts", "--once"])
    assert (result.exit_code, result.output.splitlines()[0][:15]) == (code, "1 new messages,")
    result = CliRunner().invoke(main, ["alerts", "test"])
    assert (result.exit_code, result.output.splitlines()[0].partition(": ")[0]) == (
        code, f"{address[:4]} (number 1 of addresses)"
    )  # fmt: skip
    assert [title[:11] for _, title, _ in library.sent] == ["IFCB digest", "ifcb-flow: "]


def test_without_a_file_the_command_names_the_setting_and_the_sensor_sends_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path))
    monkeypatch.delenv("IFCB_ALERTS_FILE", raising=False)
    assert "set IFCB_ALERTS_FILE" in CliRunner().invoke(main, ["alerts", "--once"]).output
    with dg.build_sensor_context(resources={"deployment": Deployment()}) as context:
        assert sensor(context) == dg.SkipReason("IFCB_ALERTS_FILE is not set: nobody is alerted")


def test_the_sensor_sends_what_is_due(settings, library, monkeypatch, tmp_path):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(settings.home))
    monkeypatch.setenv("IFCB_ALERTS_FILE", str(written(tmp_path, 'addresses = ["ntfy://t"]\ndaily_digest = "00:00"')))
    write_day(settings, "ooo")
    with dg.build_sensor_context(resources={"deployment": Deployment()}) as context:
        assert sensor(context) == dg.SkipReason("1 new messages, 1 delivered")
    assert [address for address, _, _ in library.sent] == ["ntfy://t"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_message_goes_out_through_the_real_library():
    pytest.importorskip("apprise")
    arrived: list[dict] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if len(arrived) == 1 else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    channel = Channel("x", "json", "first", f"json://127.0.0.1:{server.server_port}")
    send = sender()
    try:
        assert [send(channel, "IFCB1: clog", "Flush <it> & wait") for _ in range(2)] == [True, False]
    finally:
        server.shutdown()
        server.server_close()
    assert not send(channel, "IFCB1: clog", "nobody listens any more")
    assert (arrived[0]["title"], arrived[0]["message"]) == ("IFCB1: clog", "Flush <it> & wait")

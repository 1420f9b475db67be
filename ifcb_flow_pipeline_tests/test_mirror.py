"""A copy of a dashboard's dataset and of a bucket: all files equal, none torn, and nothing asked for twice."""

import csv
import io
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
from click.testing import CliRunner

from ifcb_flow_pipeline.bins.pid import format_pid, parse_pid
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.dashboard import Dashboard, DashboardError
from ifcb_flow_pipeline.definitions import defs
from ifcb_flow_pipeline.defs.mirror import mirror_due, mirrored_archive
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.mirror import BucketSource, DashboardSource, Mirrored, MirrorError, mirror
from ifcb_flow_pipeline.store.archive import Archive

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
FIRST = datetime(2026, 1, 30, tzinfo=UTC)
OLD = "IFCB5_2012_028_081515"


class Remote:
    """A dashboard with files. ``odd``: answers in place of the file, by path, each used once.

    From its ``stops_at``-th file on, it answers with half of each file and no more, until it goes on.
    """

    def __init__(self, n_bins: int = 130) -> None:
        pids = [OLD, *(format_pid("IFCB134", FIRST + timedelta(hours=9 * n)) for n in range(n_bins - 1))]
        self.files = {
            f"{pid}.{kind}": f"{pid} {kind}\n".encode() * 40 for pid in pids for kind in ("adc", "hdr", "roi")
        }
        self.asked: list[str] = []
        self.odd: dict[str, list[Callable[[Handler], None]]] = {}
        self.stops_at: int | None = None
        self.stopped, self.goes_on = threading.Event(), threading.Event()
        self.url = ""

    def stop_at(self, number: int) -> None:
        """Count files from here on, and stop at this one."""
        self.stopped.clear()
        self.goes_on.clear()
        self.stops_at = number

    def is_stopping(self) -> bool:
        """Whether this file is one of those that are not answered whole."""
        if self.stops_at is None:
            return False
        self.stops_at -= 1
        return self.stops_at <= 0

    @property
    def pids(self) -> list[str]:
        return sorted({name.partition(".")[0] for name in self.files})

    def source(self, **settings: object) -> DashboardSource:
        return DashboardSource(Dashboard(self.url), "samples", sleep=lambda _: None, **settings)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    remote: Remote

    def do_GET(self) -> None:
        remote, address = self.remote, urlsplit(self.path)
        remote.asked.append(self.path)
        if waiting := remote.odd.get(address.path):
            return waiting.pop(0)(self)
        if address.path == "/api/list_datasets":
            return self.answer(200, "application/json", b'{"datasets": ["others", "samples"]}')
        if address.path == "/api/export_metadata/samples":
            return self.export(parse_qs(address.query))
        content = remote.files.get(address.path.removeprefix("/data/"))
        if content is None:
            return self.answer(404, "text/html; charset=utf-8", b"<title>Page not found</title>")
        if remote.is_stopping():
            return self.half(content)
        return self.answer(200, "text/csv", content)

    def half(self, content: bytes) -> None:
        self.answer(200, "text/csv", content[: len(content) // 2], len(content))
        self.wfile.flush()
        self.remote.stopped.set()
        self.remote.goes_on.wait()

    def export(self, query: dict[str, list[str]]) -> None:
        first, last = (date.fromisoformat(query[name][0]) for name in ("start_date", "end_date"))
        pids = [pid for pid in self.remote.pids if first <= parse_pid(pid).day <= last]
        if not pids:
            return self.answer(404, "text/html; charset=utf-8", b"<title>Page not found</title>")
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["dataset", "pid", "comment_summary", "skip"])
        rows.writerows(["samples", pid, "", 0] for pid in pids)
        return self.answer(200, "text/csv", text.getvalue().encode())

    def answer(self, status: int, kind: str, content: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(remote: Remote) -> Iterator[Remote]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"remote": remote}))
    remote.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield remote
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def remote() -> Iterator[Remote]:
    with serving(Remote(20)) as found:
        yield found


def copied(remote: Remote, folder: Path, now: datetime = NOW, **options: bool) -> Mirrored:
    remote.asked.clear()
    return mirror(remote.source(), folder, now, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def without_images(remote: Remote) -> dict[str, bytes]:
    return {name: content for name, content in remote.files.items() if not name.endswith(".roi")}


# A dashboard


def test_all_files_of_a_dataset_are_equal_and_a_second_run_asks_for_nothing(tmp_path):
    with serving(Remote()) as remote:
        found = copied(remote, tmp_path / "copy")
        assert (found.n_bins, found.n_fetched, found.failures) == (130, 260, ())
        assert files(tmp_path / "copy") == without_images(remote)
        again = copied(remote, tmp_path / "copy", NOW + timedelta(hours=1))
        assert (again.n_fetched, len(remote.asked)) == (0, 2)


def test_the_copy_has_the_layout_of_archives_and_is_read_as_one(remote, tmp_path):
    copied(remote, tmp_path)
    pid = remote.pids[0]
    assert (tmp_path / "D2026" / "D20260130" / f"{pid}.adc").exists()
    assert (tmp_path / "2012" / "IFCB5_2012_028" / f"{OLD}.hdr").exists()
    listed = Archive(tmp_path).scan()
    assert sorted(raw.bin_id.pid for raw in listed.bins) == remote.pids
    assert not any(raw.misplaced for raw in listed.bins)
    assert listed.strays == ()


def test_images_come_only_where_they_are_wanted_and_later_too(remote, tmp_path):
    copied(remote, tmp_path)
    found = copied(remote, tmp_path, NOW + timedelta(days=2), images=True)
    assert found.n_fetched == 20
    assert files(tmp_path) == remote.files


def test_a_new_bin_is_found_by_a_look_at_the_last_days(remote, tmp_path):
    copied(remote, tmp_path)
    pid = format_pid("IFCB134", NOW - timedelta(hours=1))
    remote.files |= {f"{pid}.adc": b"1\n", f"{pid}.hdr": b"h\n"}
    assert copied(remote, tmp_path, NOW + timedelta(minutes=10)).n_fetched == 2
    assert len(remote.asked) == 4


def test_a_bin_of_long_ago_is_found_by_the_daily_look_at_all(remote, tmp_path):
    copied(remote, tmp_path)
    remote.files |= {"D20100101T000000_IFCB1.adc": b"1\n"}
    assert copied(remote, tmp_path, NOW + timedelta(hours=23)).n_fetched == 0
    assert copied(remote, tmp_path, NOW + timedelta(hours=25)).n_fetched == 1


def test_a_new_bin_that_grew_is_fetched_once_more_and_an_equal_file_is_left_alone(remote, tmp_path):
    pid = format_pid("IFCB134", NOW - timedelta(hours=1))
    remote.files |= {f"{pid}.adc": b"1\n", f"{pid}.hdr": b"h\n"}
    copied(remote, tmp_path)
    remote.files[f"{pid}.adc"] = b"1\n2\n"
    header = next(tmp_path.rglob(f"{pid}.hdr"))
    before = header.stat().st_mtime_ns
    assert copied(remote, tmp_path, NOW + timedelta(hours=1)).n_changed == 0
    found = copied(remote, tmp_path, NOW + timedelta(hours=3))
    assert (found.n_fetched, found.n_changed) == (2, 1)
    assert next(tmp_path.rglob(f"{pid}.adc")).read_bytes() == b"1\n2\n"
    assert header.stat().st_mtime_ns == before
    assert copied(remote, tmp_path, NOW + timedelta(hours=6)).n_fetched == 0


def test_a_bin_that_the_dashboard_no_longer_has_stays(remote, tmp_path):
    copied(remote, tmp_path)
    before = files(tmp_path)
    remote.files.clear()
    copied(remote, tmp_path, NOW + timedelta(days=2))
    assert files(tmp_path) == before


def test_a_file_that_is_not_there_is_asked_for_once_a_day(remote, tmp_path):
    del remote.files[f"{OLD}.hdr"]
    assert copied(remote, tmp_path).n_absent == 1
    assert f"{OLD}.adc" in files(tmp_path)
    copied(remote, tmp_path, NOW + timedelta(hours=1))
    assert not [path for path in remote.asked if OLD in path]
    assert copied(remote, tmp_path, NOW + timedelta(days=2)).n_absent == 1


def broken(handler: Handler) -> None:
    handler.answer(200, "text/csv", b"half", length=1000)
    handler.close_connection = True


def login_page(handler: Handler) -> None:
    handler.answer(200, "text/html", b"<html>Please log in to the network</html>")


def busy(handler: Handler) -> None:
    handler.answer(429, "text/html", b"", Retry_After="7")


def failing(handler: Handler) -> None:
    handler.answer(500, "text/html", b"")


@pytest.mark.parametrize(
    ("odd", "said"),
    [(broken, "cannot be reached"), (login_page, "answered with 200 text/html"), (failing, "answered with 500")],
)
def test_a_bin_that_fails_is_a_line_and_hides_no_other_and_comes_with_the_next_run(remote, tmp_path, odd, said):
    remote.odd = {f"/data/{OLD}.adc": [odd] * 5}
    found = copied(remote, tmp_path)
    assert len(found.failures) == 1
    assert found.failures[0].startswith(f"{OLD}: ")
    assert said in found.failures[0]
    assert set(without_images(remote)) - set(files(tmp_path)) == {f"{OLD}.adc"}
    remote.odd.clear()
    assert copied(remote, tmp_path, NOW + timedelta(minutes=1)).n_fetched == 1
    assert files(tmp_path) == without_images(remote)


def test_what_may_pass_is_tried_again_after_the_pause_that_the_server_asks_for(remote, tmp_path):
    waited: list[float] = []
    remote.odd = {f"/data/{OLD}.adc": [busy, broken, failing]}
    source = DashboardSource(Dashboard(remote.url), "samples", sleep=waited.append)
    assert mirror(source, tmp_path, NOW).failures == ()
    assert waited == [7.0, 2.0, 4.0]


def test_a_server_that_goes_down_is_not_asked_for_every_bin(tmp_path):
    with serving(Remote(60)) as remote:
        remote.odd = {f"/data/{pid}.hdr": [failing] * 5 for pid in remote.pids}
        with pytest.raises(MirrorError, match=r"bins in a row failed, the first: .* answered with 500"):
            copied(remote, tmp_path)
        assert len(remote.asked) < 5 * 40


def test_a_dataset_that_is_not_there_is_named_beside_those_that_are(remote, tmp_path):
    with pytest.raises(MirrorError, match="no dataset sample; it has others, samples"):
        mirror(DashboardSource(Dashboard(remote.url), "sample"), tmp_path, NOW)


def test_a_folder_is_the_copy_of_one_source(remote, tmp_path):
    copied(remote, tmp_path)
    with pytest.raises(MirrorError, match=r"is a copy of .* samples, not of .* others"):
        mirror(DashboardSource(Dashboard(remote.url), "others"), tmp_path, NOW)


def test_a_long_list_is_asked_for_in_parts(remote, tmp_path, monkeypatch):
    monkeypatch.setattr("ifcb_flow_pipeline.mirror._MANY_BINS", 5)
    assert copied(remote, tmp_path).n_fetched == 40
    assert Counter("export" in path for path in remote.asked)[True] > 22


def test_plain_http_to_another_machine_will_do_for_reading_but_not_for_passwords():
    Dashboard("http://ifcb.example.org", reads_only=True)
    with pytest.raises(DashboardError, match="use https"):
        Dashboard("http://ifcb.example.org")


def test_a_copy_that_is_killed_is_never_torn_and_goes_on(tmp_path):
    with serving(Remote(40)) as remote:
        program = [sys.executable, "-m", "ifcb_flow_pipeline.cli", "mirror", remote.url, "samples", str(tmp_path)]
        for number in (3, 17, 40):
            before = len(files(tmp_path))
            remote.stop_at(number)
            child = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            assert remote.stopped.wait(60)
            child.send_signal(signal.SIGKILL)
            child.wait()
            remote.goes_on.set()
            there = files(tmp_path)
            assert before <= len(there) < before + number
            assert there == {name: remote.files[name] for name in there}
            assert {name[:-3] for name in there if name.endswith("adc")} <= {
                name[:-3] for name in there if name.endswith("hdr")
            }
        remote.stops_at = None
        result = CliRunner().invoke(main, ["mirror", remote.url, "samples", str(tmp_path)])
        assert (result.exit_code, files(tmp_path)) == (0, without_images(remote))


def test_two_processes_do_not_fill_one_folder(remote, tmp_path):
    class Source:
        name = "x"

        def bins(self, *_: object, **__: object) -> dict:
            with pytest.raises(MirrorError, match="another process is filling"):
                copied(remote, tmp_path)
            return {}

        def fetch(self, _: object) -> None: ...

    mirror(Source(), tmp_path, NOW)


def test_the_command_names_what_failed_and_what_is_wrong(remote, tmp_path):
    remote.odd = {f"/data/{OLD}.adc": [login_page]}
    result = CliRunner().invoke(main, ["mirror", remote.url, "samples", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == "20 bins listed, 39 files fetched, 0 of them changed, 0 not there, 1 bins failed\n"
    assert OLD in result.stderr


@pytest.mark.parametrize("names", [("https://ifcb.example.org",), ("s3://bucket", "samples"), ("nowhere", "samples")])
def test_a_source_that_is_none_is_refused_in_a_line(names, tmp_path):
    result = CliRunner().invoke(main, ["mirror", *names, str(tmp_path / "copy")])
    assert result.exit_code == 1
    assert "s3://BUCKET/PREFIX" in result.output or "must be an address" in result.output
    assert not (tmp_path / "copy").exists()


def test_dagster_copies_where_a_source_is_set_and_one_copy_at_a_time(remote, tmp_path, monkeypatch):
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IFCB_DATA_DIR", str(tmp_path / "copy"))
    monkeypatch.delenv("IFCB_MIRROR", raising=False)

    def asked() -> object:
        with dg.build_sensor_context(instance=instance, resources={"deployment": Deployment()}) as context:
            return mirror_due(context)

    with dg.DagsterInstance.ephemeral() as instance:
        assert asked() == dg.SkipReason("IFCB_MIRROR is not set: the archive is no copy")
        monkeypatch.setenv("IFCB_MIRROR", f"{remote.url} samples")
        assert isinstance(asked(), dg.RunRequest)
        done = dg.materialize([mirrored_archive], instance=instance, resources={"deployment": Deployment()})
        (made,) = done.asset_materializations_for_node("mirrored_archive")
        assert made.metadata["fetched"].value == 40
        assert files(tmp_path / "copy") == without_images(remote)
        instance.create_run_for_job(defs.resolve_job_def("copy_archive"), status=dg.DagsterRunStatus.STARTED)
        assert asked() == dg.SkipReason("a copy is being made")


def test_the_recorded_dashboard_is_copied(tmp_path):
    recorded = Path(__file__).resolve().parents[2] / "shared" / "contracts" / "ifcbdb-8aa49fe.json"
    if not recorded.exists():
        pytest.skip("no recorded exchanges beside the checkout")
    exchanges = json.loads(recorded.read_text(encoding="utf-8"))["exchanges"]
    answers = {one["path"]: one for one in reversed(exchanges) if one["method"] == "GET"}
    whole = answers["/api/export_metadata/samples"]

    class Recorded(Handler):
        def do_GET(self) -> None:
            self.remote.asked.append(self.path)
            address = urlsplit(self.path)
            one = answers.get(self.path, answers["/api/export_metadata/none"])
            if address.path == "/api/export_metadata/samples" and "2022-12-31" in address.query:
                one = whole
            self.answer(one["status"], one["headers"]["Content-Type"], one["body"].encode())

    remote = Remote(0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Recorded,), {"remote": remote}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = DashboardSource(Dashboard(f"http://127.0.0.1:{server.server_port}"), "samples", sleep=lambda _: None)
    found = mirror(source, tmp_path, NOW)
    server.shutdown()
    server.server_close()
    # Of seven bins the files of two were recorded.
    assert (found.n_bins, found.n_fetched, found.failures) == (7, 4, ())
    there = {name: content.decode() for name, content in files(tmp_path).items()}
    assert there == {f"{pid}.{kind}": answers[f"/data/{pid}.{kind}"]["body"]
                     for pid in ("D20220522T003051_IFCB134", OLD) for kind in ("adc", "hdr")}  # fmt: skip


# Object storage


@pytest.fixture
def bucket(monkeypatch) -> Iterator[Callable[[str, bytes | None], None]]:
    """Puts and deletes objects of s3://archive, served in this process."""
    pytest.importorskip("obstore")
    server_of = pytest.importorskip("moto.server")
    from obstore.store import S3Store

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    for name, value in {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "x",
                        "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    from urllib.request import Request, urlopen

    import obstore

    urlopen(Request(f"{endpoint}/archive", method="PUT"), timeout=10).close()
    store = S3Store("archive")

    def change(path: str, content: bytes | None) -> None:
        if content is None:
            obstore.delete(store, path)
        else:
            obstore.put(store, path, content)

    yield change
    server.stop()


def test_a_bucket_is_copied_in_its_own_layout_and_only_what_changed_comes_again(bucket, tmp_path):
    kept = {}
    for n in range(12):
        pid = format_pid("IFCB134", FIRST + timedelta(hours=9 * n))
        for kind in ("adc", "hdr", "roi"):
            kept[f"lab/D2026/{pid}.{kind}"] = f"{pid} {kind}".encode()
    for path, content in kept.items():
        bucket(path, content)
    for other in ("lab/readme.txt", "lab/no-bin.adc", f"elsewhere/{OLD}.adc"):
        bucket(other, b"x")
    source = BucketSource("s3://archive/lab")
    assert mirror(source, tmp_path, NOW).n_fetched == 24
    assert mirror(source, tmp_path, NOW).n_fetched == 0
    there = {
        path.relative_to(tmp_path).as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*.*")
        if path.name[0] != "."
    }
    assert there == {path.removeprefix("lab/"): content for path, content in kept.items() if path[-3:] != "roi"}
    changed = next(iter(kept))
    bucket(changed, b"longer than it was before, by one more row")
    bucket(list(kept)[3], None)
    found = mirror(source, tmp_path, NOW)
    assert (found.n_fetched, found.n_changed) == (1, 1)
    assert (tmp_path / changed.removeprefix("lab/")).read_bytes().startswith(b"longer")
    assert (tmp_path / list(kept)[3].removeprefix("lab/")).exists()


def test_a_bucket_that_cannot_be_listed_is_named(bucket, tmp_path):
    with pytest.raises(MirrorError, match="s3://none/x cannot be listed"):
        mirror(BucketSource("s3://none/x"), tmp_path, NOW)


def test_without_the_library_of_object_storage_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MirrorError, match=r"ifcb-flow-pipeline\[s3\]"):
        BucketSource("s3://archive")


def test_names_that_lead_out_of_the_folder_are_not_followed():
    from pathlib import PurePosixPath

    from ifcb_flow_pipeline.mirror import _is_safe

    assert _is_safe(PurePosixPath("a/b.adc"))
    assert not any(_is_safe(PurePosixPath(path)) for path in ("/a.adc", "../a.adc", "a/../../b.adc", "a/.hidden.adc"))

"""An IFCB dashboard in this process: answers of WHOIGit/ifcbdb at 8aa49fe (June 2026), with bins that remember.

Status, headers and form of the answers are as recorded from a real one; what its import does with a row was seen there.
"""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from ifcb_flow_pipeline.bins.pid import parse_pid

HTML, JSON, CSV = "text/html; charset=utf-8", "application/json", "text/csv"
FORM = '<form><input type="hidden" name="csrfmiddlewaretoken" value="token"></form>'
PROXY = "<html>Please log in to the network</html>"
USER, PASSWORD = "ann", "s3cret pass+word&"


@dataclass
class Bin:
    skip: bool = False
    tags: set[str] = field(default_factory=set)
    comments: list[str] = field(default_factory=list)
    ours: bool = True
    """Whether the user who is logged in is in the bin's team."""
    listed: bool = True
    """Whether it is in a public dataset."""


@dataclass
class State:
    """What the dashboard holds, and what it was asked.

    ``upload``: status, place and page that every upload is answered with; ``states``: what the import says of itself,
    the last of them for ever; where there are none, the truth.
    """

    bins: dict[str, Bin] = field(default_factory=dict)
    upload: tuple[int, str, str] | None = None
    states: list[dict] = field(default_factory=list)
    said: list[dict] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    url: str = ""
    proxy: bool = False
    down_after_upload: bool = False

    def n_comments(self) -> int:
        return sum(len(one.comments) for one in self.bins.values())


class Handler(BaseHTTPRequestHandler):
    state: ClassVar[State]

    def do_GET(self) -> None:
        state, path = self.state, urlsplit(self.path)
        state.asked.append(f"GET {path.path}")
        if state.proxy:
            return self.answer(200, HTML, PROXY)
        if path.path == "/secure/login/":
            return self.answer(200, HTML, FORM, cookie="csrftoken=token; Path=/")
        if path.path.startswith("/api/"):
            return self.public(path.path, path.query)
        if "sessionid=session" not in self.headers.get("Cookie", ""):
            return self.answer(302, HTML, "", f"/secure/login/?next={path.path}")
        if path.path == "/secure/upload-metadata":
            return self.answer(200, HTML, FORM)
        if path.path == "/secure/api/metadata-upload/status":
            return self.answer(200, JSON, json.dumps(state.said.pop(0) if len(state.said) > 1 else state.said[0]))
        return self.answer(404, HTML, "<title>Page not found</title>")

    def public(self, path: str, query: str) -> None:
        if self.state.down_after_upload and self.state.files:
            return self.answer(503, HTML, "")
        if path == "/api/list_datasets":
            return self.answer(200, JSON, '{"datasets": ["others", "samples"]}')
        if path == "/api/export_metadata/samples":
            return self.export(parse_qs(query))
        if one := self.state.bins.get(path.removeprefix("/api/bin/")):
            comments = [["2026-11-29T03:17:03.511Z", text, None, 1, None] for text in one.comments]
            return self.answer(
                200, JSON, json.dumps({"tags": sorted(one.tags), "comments": comments, "skip": one.skip})
            )
        return self.answer(404, HTML, "<title>Page not found</title>")

    def do_POST(self) -> None:
        self.state.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Referer") != self.state.url + self.path or "csrftoken=token" not in self.headers.get(
            "Cookie", ""
        ):
            return self.answer(403, HTML, "CSRF verification failed")
        if self.path == "/secure/login/":
            given = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            if given != {"csrfmiddlewaretoken": "token", "username": USER, "password": PASSWORD}:
                return self.answer(200, HTML, FORM)
            return self.answer(302, HTML, "", "/", cookie="sessionid=session; Path=/")
        if self.state.upload:
            status, place, page = self.state.upload
            return self.answer(status, HTML, page, place)
        content = self.uploaded(body)
        self.state.files.append(content)
        said = self.imported(content)
        self.state.said = list(self.state.states) or [said]
        return self.answer(302, HTML, "", "/secure/upload-metadata?confirm=true")

    def uploaded(self, body: bytes) -> str:
        head = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in message_from_bytes(head + body).get_payload()
        }
        assert parts["csrfmiddlewaretoken"] == b"token"
        return parts["file"].decode()

    def imported(self, content: str) -> dict:
        changed, errors, last = 0, [], ""
        for number, row in enumerate(csv.DictReader(io.StringIO(content)), start=2):
            last, one = row["pid"], self.state.bins.get(row["pid"])
            if one is None:
                errors.append({"row": number, "message": f"'Bin {row['pid']} not found'"})
            elif one.ours:
                changed += 1
                one.skip = {"skip": True, "noskip": False, "": one.skip}[row["skip"]]
                one.tags |= {row[name] for name in row if name.startswith("tag") and row[name]}
                if row["comment"] and row["comment"] not in one.comments:
                    one.comments.append(row["comment"])
        return {"state": "SUCCESS", "info": {"bin": last, "n_modded": changed, "errors": errors, "done": True}}

    def export(self, query: dict[str, list[str]]) -> None:
        first, last = (date.fromisoformat(query[name][0]) for name in ("start_date", "end_date"))
        found = {pid: one for pid, one in self.state.bins.items() if one.listed and first <= parse_pid(pid).day <= last}
        if not found:
            return self.answer(404, HTML, "<title>Page not found</title>")
        n_tags = max(len(one.tags) for one in found.values())
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["dataset", "pid", "sample_time", "ifcb", "n_images", *(f"tag{i + 1}" for i in range(n_tags)),
                       "comment_summary", "trigger_selection", "skip"])  # fmt: skip
        for pid, one in found.items():
            tags = [*sorted(one.tags), *[""] * (n_tags - len(one.tags))]
            number = re.sub(r"\D", "", parse_pid(pid).instrument)
            rows.writerow(["samples", pid, parse_pid(pid).start_time, number, 2, *tags, "; ".join(one.comments), 2,
                           int(one.skip)])  # fmt: skip
        return self.answer(200, CSV, text.getvalue())

    def answer(self, status: int, kind: str, text: str, place: str = "", cookie: str = "") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if place:
            self.send_header("Location", place)
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[State]:
    """A dashboard without bins; its address is in the state."""
    state = State()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

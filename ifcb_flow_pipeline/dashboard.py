"""The IFCB dashboard by HTTP: what it says of bins, and the upload of people's decisions.

Reading is by GET without a login. Writing needs a user's name and password: the dashboard has no tokens. An upload that
reports success may have done nothing, for a user of no team, say. So all that is sent is read back.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.message import Message
from http.client import HTTPException
from http.cookies import SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.error import URLError
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.days import known_pids
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.handover import (
    WITHDRAWN_TAG,
    Decided,
    Found,
    Plan,
    UploadFile,
    dashboard_files,
    missing,
    plan,
    read_bin,
    read_export,
    standing,
)
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.sent import Row, Sent, SentStore
from ifcb_flow_pipeline.store.tables import BIN_SCORES

_LOGIN = "/secure/login/"
_UPLOAD = "/secure/upload-metadata"
_STATUS = "/secure/api/metadata-upload/status"

_TOKEN = re.compile(r"<input[^>]*name=[\"']csrfmiddlewaretoken[\"'][^>]*value=[\"']([^\"']+)[\"']")

#: What the page says where it refuses a file, and the remedy (ifcbdb, ``dashboard/views.py``, ``upload_metadata``).
_REFUSALS = {
    "already in progress": "another upload is in progress: try again later; where none is, the dashboard's operators "
    "free it with `manage.py clearcache`",
    "CSV syntax error": "CSV syntax error",
    "need to specify bin ID column": "it misses the column of bins",
}

#: Seconds between looks at a running upload, growing up to the second.
_PAUSES = (0.5, 5.0)


class DashboardError(FlowError):
    """A dashboard that cannot be reached, or that refuses; the message says what it answered and the remedy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of a dashboard to one request; redirects are not followed."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def place(self) -> SplitResult:
        """Where the answer sends its reader."""
        return urlsplit(self.headers.get("Location", ""))


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The dashboard at an address without a slash at its end. Raises DashboardError for one that is not safe.

    ``reads_only``: nobody will log in, so that plain HTTP will do. ``timeout``: seconds for one request.
    ``patience``: seconds for the import of one file. ``sleep``: how to wait.
    """

    url: str
    timeout: float = 60.0
    patience: float = 900.0
    sleep: Callable[[float], None] = time.sleep
    reads_only: bool = False
    _opener: OpenerDirector = field(init=False, repr=False)
    _cookies: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        local = _is_local(address.hostname or "")
        if address.scheme != "https" and not (address.scheme == "http" and (local or self.reads_only)):
            raise DashboardError(f"{self.url} would send the password readable on its way: use https://")
        if address.username or address.password:
            raise DashboardError("the address of the dashboard must not have a user or a password in it")
        # Without handlers of redirects and errors: where a redirect goes tells whether an upload was taken.
        opener = OpenerDirector()
        for handler in (ProxyHandler({} if local else None), HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        object.__setattr__(self, "_opener", opener)

    def bins(self, pids: Iterable[str]) -> dict[str, Found]:
        """What the dashboard says of these bins, by pid, without those that it does not have.

        Raises DashboardError where it cannot be asked, HandoverError where it answers something else.
        """
        datasets = self.datasets()
        found: dict[str, Found] = {}
        for wanted, first, last in _by_month(pids):
            for dataset in datasets:
                if wanted <= found.keys():
                    break
                there = self.exported(dataset, first - timedelta(days=1), last + timedelta(days=1))
                found.update((pid, there[pid]) for pid in wanted & there.keys())
            # Those in no public dataset, or with another time, one by one.
            for pid in wanted - found.keys():
                answer = self._get(f"/api/bin/{pid}", "application/json", or_404=True)
                if answer.status != 404:
                    found[pid] = read_bin(self._parsed(answer))
        return found

    def datasets(self) -> list[str]:
        """The names of the public datasets. Raises DashboardError where it cannot be asked."""
        return [str(name) for name in self._json("/api/list_datasets").get("datasets") or []]

    def exported(self, dataset: str, first: date, last: date) -> dict[str, Found]:
        """What it says of the bins of a dataset of these days, both included, by pid; 500,000 rows at most.

        Raises DashboardError where it cannot be asked, HandoverError where it answers something else.
        """
        days = urlencode({"start_date": first, "end_date": last})
        answer = self._get(f"/api/export_metadata/{quote(dataset, safe='')}?{days}", "text/csv", or_404=True)
        return {} if answer.status == 404 else read_export(answer.text)  # no bins in these days

    def read(self, path: str) -> Answer:
        """Its answer to a GET, whatever it is. Raises DashboardError where it cannot be reached or breaks off."""
        return self._ask(path)

    def login(self, user: str, password: str) -> None:
        """Log in. Raises DashboardError where the dashboard does not let this user in."""
        form = self._get(_LOGIN, "text/html")
        fields = {"csrfmiddlewaretoken": _token(form), "username": user, "password": password}
        answer = self._ask(_LOGIN, urlencode(fields).encode(), "application/x-www-form-urlencoded")
        if answer.status == 200:
            raise DashboardError(f"{self.url} does not know the user {user} with this password")
        if answer.status != 302:
            raise DashboardError(f"{self.url} answers a login with {answer.status}")

    def upload(self, content: bytes) -> dict[int, str]:
        """Have the dashboard import a file of metadata, and wait for the end: its errors by row, of which the header is
        the first. Raises DashboardError where it does not import.

        How many bins it says that it changed is not asked: what it shows of them afterwards is.
        """
        form = self._ask(_UPLOAD)
        self._check_allowed(form)
        body, content_type = _multipart(_token(form), content)
        answer = self._ask(_UPLOAD, body, content_type)
        self._check_allowed(answer)
        if answer.status == 200:
            said = [why for words, why in _REFUSALS.items() if words.lower() in answer.text.lower()]
            raise DashboardError(f"{self.url} refuses the file: {said[0] if said else 'it does not say why'}")
        if answer.status == 500:
            raise DashboardError(
                f"{self.url} fails at the upload (500), as where its message broker is down: tell its operators, who "
                "free later uploads with `manage.py clearcache`"
            )
        if answer.status != 302 or not answer.place.path.endswith(_UPLOAD) or answer.place.query != "confirm=true":
            raise DashboardError(f"{self.url} answers the upload with {answer.status} {answer.place.geturl()}")
        return self._imported()

    def _check_allowed(self, answer: Answer) -> None:
        if answer.status == 302 and answer.place.path.endswith(_LOGIN):
            raise DashboardError(f"{self.url} has ended the login, or takes no cookies: log in again")
        if answer.status == 302 and answer.place.path.endswith("/secure/"):
            raise DashboardError(f"{self.url} does not let this user upload metadata: ask for the right, or for a team")

    def _imported(self) -> dict[int, str]:
        pause, waited = _PAUSES[0], 0.0
        while True:
            status = self._json(_STATUS)
            state, info = status.get("state"), status.get("info") or {}
            if state == "SUCCESS" and info:
                return {int(one["row"]): str(one["message"]) for one in info.get("errors") or []}
            if state in ("SUCCESS", "FAILURE"):
                raise DashboardError(f"the import by {self.url} failed ({state})")
            if waited >= self.patience:
                raise DashboardError(f"the import by {self.url} has not ended after {waited:.0f} s ({state})")
            self.sleep(pause)
            waited += pause
            pause = min(2 * pause, _PAUSES[1])

    def _json(self, path: str) -> dict[str, Any]:
        return self._parsed(self._get(path, "application/json"))

    def _parsed(self, answer: Answer) -> dict[str, Any]:
        try:
            said = json.loads(answer.text)
        except ValueError as error:
            raise DashboardError(f"{self.url} answers no JSON: is it an IFCB dashboard?") from error
        return said if isinstance(said, dict) else {}

    def _get(self, path: str, kind: str, *, or_404: bool = False) -> Answer:
        answer = self._ask(path)
        if or_404 and answer.status == 404:
            return answer
        # The page of a proxy that wants a login is 200, too.
        if answer.status != 200 or answer.headers.get_content_type() != kind:
            found = f"{answer.status} {answer.headers.get_content_type()}"
            raise DashboardError(f"{self.url}{path} answers {found} instead of 200 {kind}: is it an IFCB dashboard?")
        return answer

    def _ask(self, path: str, body: bytes | None = None, content_type: str = "") -> Answer:
        headers = {"Referer": self.url + path, "Content-Type": content_type} if body is not None else {}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        request = Request(self.url + path, body, headers)  # noqa: S310 - http and https only, see above
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                # All requests go to this one place, so all its cookies go with each of them.
                for line in answer.headers.get_all("Set-Cookie", []):
                    self._cookies.update((name, one.coded_value) for name, one in SimpleCookie(line).items())
                return Answer(answer.status, answer.headers, answer.read())
        except (URLError, HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise DashboardError(f"{self.url}{path} cannot be reached ({reason!s}): is the address right?") from error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a hand-over.

    ``plan``: what was to be told. ``changed``: rows that were sent and read back. ``not_yours``: rows that were sent
    and changed nothing, without an error: bins of others' teams. ``not_found``: rows about bins that the dashboard does
    not have. ``failed``: other rows that do not read back, each with the reason. ``problem``: why the hand-over ended
    early; empty where it did not.
    """

    plan: Plan
    changed: list[Row] = field(default_factory=list)
    not_found: list[Row] = field(default_factory=list)
    not_yours: list[Row] = field(default_factory=list)
    failed: list[tuple[Row, str]] = field(default_factory=list)
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether the dashboard shows all that it was to be told."""
        return not (self.not_found or self.not_yours or self.failed or self.problem)

    @property
    def n_withdrawn(self) -> int:
        """Rows that told of a decision taken back."""
        return sum(WITHDRAWN_TAG in row.tags for row in self.changed)


def decided_bins(
    tables: DailyTables, decisions: Decisions, recorded: Iterable[str], *, with_suspicion: bool
) -> list[Decided]:
    """All decisions about bins of the tables, about bins that are ``recorded`` as handed over, and about single bins,
    with the causes that the model suspects where wanted. Raises StoreError for a table that cannot be used.
    """
    labels = decisions.resolved({*known_pids(tables, decisions), *recorded})
    causes: dict[str, str] = {}
    for day in {parse_pid(pid).day for pid in labels} if with_suspicion else ():
        rows = tables.read(BIN_SCORES, day, ["pid", "cause"])
        if rows is not None:
            causes.update(zip(rows["pid"].to_pylist(), rows["cause"].to_pylist(), strict=True))
    return [Decided(label, causes.get(pid) or "") for pid, label in labels.items()]


def look(dashboard: Dashboard, decided: Sequence[Decided], store: SentStore) -> tuple[Plan, dict[str, Found]]:
    """What the dashboard is to be told, and what it says of the bins now. Rows of an earlier hand-over that broke off
    are confirmed where they arrived.
    """
    sent = store.rows(dashboard.url)
    found = dashboard.bins({*(one.label.pid for one in decided), *(one.row.pid for one in sent)})
    arrived = [one.id for one in standing(sent, found).values() if not one.confirmed]
    store.confirm(arrived, datetime.now(tz=UTC))
    return plan(decided, sent, found), found


def hand_over(dashboard: Dashboard, wanted: Plan, before: Mapping[str, Found], store: SentStore) -> Outcome:
    """Upload the rows of a plan as the user who is logged in, and read them back.

    ``before``: what the dashboard said of the bins when the plan was made. Each file is kept in ``store`` before it is
    sent. Raises DashboardError where the dashboard cannot be read back; the next hand-over then finds what arrived.
    """
    problem = ""
    kept: list[Sent] = []
    errors: dict[str, str] = {}
    for file in dashboard_files(wanted.send):
        now = datetime.now(tz=UTC)
        numbers = store.add(dashboard.url, file.rows, now)
        kept += [Sent(number, row, now, confirmed=False) for number, row in zip(numbers, file.rows, strict=True)]
        try:
            errors |= _errors(file, dashboard.upload(file.content))
        except DashboardError as error:
            problem = str(error)
            break
    outcome = Outcome(wanted, not_found=list(wanted.not_found), problem=problem)
    after = dashboard.bins({row.pid for row in wanted.send}) if wanted.send else {}
    for row in wanted.send:
        _sort(outcome, row, before[row.pid], after.get(row.pid), errors.get(row.pid, ""))
    arrived = {row.pid for row in outcome.changed}
    store.confirm([one.id for one in kept if one.row.pid in arrived], datetime.now(tz=UTC))
    return outcome


def _sort(outcome: Outcome, row: Row, before: Found, after: Found | None, error: str) -> None:
    if after is None:
        outcome.not_found.append(row)
    elif not (lacking := missing(row, after)):
        outcome.changed.append(row)
    elif after == before and not (error or outcome.problem):
        outcome.not_yours.append(row)
    else:
        outcome.failed.append((row, error or outcome.problem or f"does not read back: {', '.join(lacking)}"))


def _errors(file: UploadFile, errors: Mapping[int, str]) -> dict[str, str]:
    """Errors by pid; a row number that is none of the file's rows is passed over: its rows are read back anyway."""
    return {
        file.rows[number - 2].pid: message for number, message in errors.items() if 0 <= number - 2 < len(file.rows)
    }


def _by_month(pids: Iterable[str]) -> Iterator[tuple[set[str], date, date]]:
    """Bins of a month each, with the first and the last of their days: an answer is bounded, and so is a URL."""
    months: dict[tuple[int, int], dict[str, date]] = {}
    for pid in pids:
        day = parse_pid(pid).day
        months.setdefault((day.year, day.month), {})[pid] = day
    for days in months.values():
        yield set(days), min(days.values()), max(days.values())


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _token(form: Answer) -> str:
    found = _TOKEN.search(form.text)
    if form.status != 200 or not found:
        raise DashboardError(f"the dashboard shows no form ({form.status}): is it an IFCB dashboard?")
    return found[1]


def _multipart(token: str, content: bytes) -> tuple[bytes, str]:
    """The form of an upload, and its content type."""
    mark = uuid.uuid4().hex
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n{token}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="ifcb-flow.csv"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"

"""The routes; docs/http.md and ``openapi.json`` describe them for users."""

import hmac
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import pyarrow.compute as pc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ifcb_flow_pipeline.bins.pid import BinId, InvalidPidError, parse_pid
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError
from ifcb_flow_pipeline.recent import Recent, RecentBins
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_IMAGE_SCORES, BIN_SCORES, RAW_BINS, Table
from ifcb_flow_pipeline.web.metrics import exposition

#: Names of the machine itself. A page elsewhere whose own name points to this machine must not read anything.
OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

#: Who looks whether the program lives needs no token and learns nothing else.
_OPEN_PATHS = ("/", "/health")


def application(
    settings: Settings,
    token: str | None = None,
    hosts: Collection[str] = OWN_HOSTS,
    clock: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
) -> Starlette:
    """The HTTP interface of a deployment.

    ``token``: what requests must carry, None where anybody on this machine may ask; then ``hosts`` are the names under
    which it may be asked for. ``clock``: the present time, aware.
    """
    stored = _Stored(
        DailyTables(settings.home / "tables"), ModelStore(settings.home / "models"), clock,
        RecentBins(DailyTables(settings.home / "tables")),
    )  # fmt: skip
    allowed = ["*"] if token is not None else sorted(hosts)
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=allowed, www_redirect=False)]
    if token is not None:
        middleware.append(Middleware(_TokenRequired, token=token))
    routes = {
        "/": _health,
        "/health": _health,
        "/openapi.json": _openapi,
        "/flow_metric/{bin_id}": stored.flow_metric,
        "/focus_metric/{bin_id}": stored.focus_metric,
        "/api/v1/bins/{pid}": stored.bin,
        "/api/v1/episodes": stored.episodes,
        "/api/v1/instruments": stored.instruments,
        "/metrics": stored.metrics,
    }
    return Starlette(
        routes=[Route(path, endpoint) for path, endpoint in routes.items()],
        middleware=middleware,
        exception_handlers={
            HTTPException: _refused,
            InvalidPidError: _no_pid,
            StoreError: _not_readable,
            ModelError: _not_readable,
        },
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    tables: DailyTables
    models: ModelStore
    clock: Callable[[], datetime]
    recent: RecentBins

    def flow_metric(self, request: Request) -> Response:
        """The score as WHOI's service gives it: a number in a JSON string; to those who want text, the number."""
        bin_id = parse_pid(request.path_params["bin_id"])
        row = self._row(bin_id, ("pid", "anomaly_score", "verdict", "status", "reason"))
        return _number(request, row, "anomaly_score", "has no score")

    def focus_metric(self, request: Request) -> Response:
        """The sharpness of the bin's images in the same form: HIGHER is sharper."""
        bin_id = parse_pid(request.path_params["bin_id"])
        columns = ("pid", "focus", "verdict", "status", "reason")
        row = self._row(bin_id, columns, BIN_IMAGE_SCORES)
        return _number(request, row, "focus", "has no images to tell the focus by")

    def bin(self, request: Request) -> Response:
        """The bin's row of ``bin_scores``."""
        row = self._row(parse_pid(request.path_params["pid"]), BIN_SCORES.schema.names)
        return JSONResponse(_plain({**row, "findings": json.loads(row["findings"] or "[]")}))

    def episodes(self, request: Request) -> Response:
        """The faults of the last month, by start."""
        recent = self.recent.at(self.clock())
        wanted = request.query_params.get("ongoing", "0")
        if wanted not in ("0", "1"):
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"ongoing is {wanted!r}; it must be 0 or 1")
        found = [asdict(one) for one in recent.episodes if one.ongoing or wanted == "0"]
        return JSONResponse(_plain({**_span(recent), "episodes": found}))

    def instruments(self, _: Request) -> Response:
        """How the instruments are doing, by their last bins."""
        recent = self.recent.at(self.clock())
        days = {"days_waiting": recent.days_waiting, "days_unreadable": recent.days_unreadable}
        return JSONResponse(
            _plain({**_span(recent), **days, "instruments": [asdict(one) for one in recent.instruments]})
        )

    def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        now = self.clock()
        content, kind = exposition(self.recent.at(now), self._card(), now, request.headers.get("accept", ""))
        return Response(content, headers={"content-type": kind})

    def _card(self) -> ModelCard | None:
        return self.models.card() if self.models.current_id() else None

    def _row(self, bin_id: BinId, columns: Collection[str], table: Table = BIN_SCORES) -> dict[str, Any]:
        """Some columns of the bin's row of a table; the day of its identifier tells the file."""
        scores = self.tables.read(table, bin_id.day, list(columns))
        rows = [] if scores is None else scores.filter(pc.field("pid") == bin_id.pid).to_pylist()
        if rows:
            return rows[0]
        listed = self.tables.read(RAW_BINS, bin_id.day, ["pid"])
        if listed is not None and bin_id.pid in listed["pid"].to_pylist():
            what = "been scored" if table is BIN_SCORES else "had its images looked at"
            raise HTTPException(HTTPStatus.NOT_FOUND, f"{bin_id.pid} has not {what} yet")
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no bin {bin_id.pid} in the tables")


@dataclass(frozen=True, slots=True)
class _TokenRequired:
    app: ASGIApp
    token: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _OPEN_PATHS or self._known(Request(scope)):
            await self.app(scope, receive, send)
        else:
            detail = "a token is needed: send it as 'Authorization: Bearer TOKEN'"
            answer = JSONResponse({"detail": detail}, HTTPStatus.UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)

    def _known(self, request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        # In constant time, so that answers do not tell how much of it was right.
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


def _health(_: Request) -> Response:
    return JSONResponse({"status": "healthy", "version": version("ifcb-flow-pipeline")})


def _openapi(_: Request) -> Response:
    return Response((files(__package__ or "") / "openapi.json").read_bytes(), media_type="application/json")


def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _no_pid(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "not a bin identifier", "detail": str(error)}, HTTPStatus.BAD_REQUEST)


def _not_readable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)


def _number(request: Request, row: Mapping[str, Any], column: str, lacking: str) -> Response:
    """A number in a JSON string, or to those who want text the number; where there is none, why."""
    value = row[column]
    if value is None or math.isnan(value):
        found = "was not judged" if column == "anomaly_score" and row["verdict"] == "not_judged" else lacking
        reason = f": {row['reason']}" if row["reason"] else ""
        content = {"detail": f"{row['pid']} {found}{reason}", "status": row["status"], "verdict": row["verdict"]}
        return JSONResponse(content, HTTPStatus.NOT_FOUND)
    number = repr(float(value))
    return PlainTextResponse(number) if _wants_text(request) else JSONResponse(number)


def _wants_text(request: Request) -> bool:
    kinds = {part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    return "text/plain" in kinds and "application/json" not in kinds


def _span(recent: Recent) -> dict[str, Any]:
    return {"first_day": recent.first_day, "last_day": recent.last_day}


def _plain(value: Any) -> Any:
    """As JSON has it: times and days by ISO 8601, null for numbers that are not known."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value

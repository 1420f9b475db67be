"""What is let in to Dagster's page, and what is not."""

import asyncio
from typing import Any

import pytest
from dagster_webserver import cli

from ifcb_flow_pipeline.defs import webserver
from ifcb_flow_pipeline.defs.guard import OWN_HOSTS, Guard, refusal
from ifcb_flow_pipeline.store.settings import allowed_hosts

OWN = {"host": "127.0.0.1:3000"}
MUTATION = b"query=mutation{launchRun}"


def scope(
    kind: str = "http", method: str = "GET", path: str = "/", query: bytes = b"", **headers: str
) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": kind, "method": method, "path": path, "query_string": query, "headers": pairs}


@pytest.mark.parametrize(
    "asked",
    [
        scope(**OWN),
        scope(host="localhost:3000"),
        scope(host="[::1]:3000", origin="http://[::1]:3000"),
        scope(method="POST", path="/graphql", origin="http://127.0.0.1:3000", **OWN),
        scope("websocket", path="/graphql", origin="http://127.0.0.1:3000", **OWN),
        scope(path="/assets", query=b"view=list", **OWN),
        scope(path="/graphql", **OWN),
    ],
)
def test_what_the_page_itself_asks_is_let_in(asked) -> None:
    assert refusal(asked, OWN_HOSTS) == ""


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (scope(host="evil.example"), "IFCB_ALLOWED_HOSTS"),
        (scope(host="evil.example:3000", origin="http://evil.example"), "IFCB_ALLOWED_HOSTS"),
        (scope(), "IFCB_ALLOWED_HOSTS"),
        (scope(host="["), "IFCB_ALLOWED_HOSTS"),
        (scope(method="POST", path="/graphql", origin="http://evil.example", **OWN), "another page"),
        (scope(method="POST", path="/graphql", origin="null", **OWN), "another page"),
        (scope("websocket", path="/graphql", origin="http://evil.example", **OWN), "another page"),
        (scope(path="/graphql", query=MUTATION, **OWN), "POST"),
        (scope(path="/dagster/graphql/", query=MUTATION, **OWN), "POST"),
        (scope(method="HEAD", path="/graphql", query=MUTATION, **OWN), "POST"),
    ],
)
def test_what_a_strange_page_asks_is_not(asked, reason) -> None:
    assert reason in refusal(asked, OWN_HOSTS)


def test_a_page_behind_a_proxy_has_a_name_of_its_own() -> None:
    hosts = OWN_HOSTS | allowed_hosts({"IFCB_ALLOWED_HOSTS": "Dagster.example.org"})
    assert refusal(scope(host="dagster.example.org", origin="https://dagster.example.org"), hosts) == ""
    assert allowed_hosts({}) == frozenset()


@pytest.mark.parametrize("kind", ["http", "websocket", "lifespan"])
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_only_what_is_let_in_reaches_the_server(kind, host) -> None:
    reached, sent = [], []

    async def app(scope, *_) -> None:
        reached.append(scope["type"])

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(Guard(app)(scope(kind, host=host), receive, send))
    if host == "127.0.0.1" or kind == "lifespan":
        assert (reached, sent) == ([kind], [])
    else:
        assert reached == []
        assert sent[0].get("status") == 403 or sent[0]["type"] == "websocket.close"


def test_dagsters_own_command_makes_its_application_where_the_guard_is_put_around_it() -> None:
    assert callable(getattr(cli, webserver._MAKE))

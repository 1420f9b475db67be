"""What stands in front of Dagster's web server: it lets in only what its own page asks.

Dagster takes mutations by GET, from any host and any origin. So any page that an operator looks at could start and stop
jobs (an image whose address is a mutation is enough), or read everything once its own name points to this machine.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_Message = MutableMapping[str, Any]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]

#: Names of the machine itself.
OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


@dataclass(frozen=True, slots=True)
class Guard:
    """An ASGI application around another, ``app``; ``hosts``: names under which its page may be asked for."""

    app: _App
    hosts: Collection[str] = OWN_HOSTS

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Pass on what is allowed; refuse the rest with a status of 403 and the reason."""
        reason = refusal(scope, self.hosts) if scope["type"] in ("http", "websocket") else ""
        if not reason:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": _TEXT})
            await send({"type": "http.response.body", "body": f"{reason}\n".encode()})


def refusal(scope: Mapping[str, Any], hosts: Collection[str]) -> str:
    """Why a request is not let in; empty where it is."""
    headers = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    asked = [value for name, value in headers if name == b"host"]
    if len(asked) != 1 or _host(f"//{asked[0]}") not in hosts:
        return f"not asked for under a name of this page ({', '.join(sorted(hosts))}): add yours to IFCB_ALLOWED_HOSTS"
    if any(_host(value) not in hosts for name, value in headers if name == b"origin"):
        return "another page asks: only this page may"
    by_get = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and bool(scope.get("query_string"))
    if by_get and scope["path"].rstrip("/").endswith("graphql"):
        return "questions and changes are sent by POST"
    return ""


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None

"""Listening: where, and with which token."""

import ipaddress
from collections.abc import Collection
from pathlib import Path

import uvicorn

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.web.application import OWN_HOSTS, application

#: Shorter tokens can be guessed.
MIN_TOKEN_CHARACTERS = 16


class ServerError(FlowError):
    """The interface cannot listen as it was asked to; the message says what to do."""


def server(
    settings: Settings, host: str, port: int, token_file: Path | None = None, names: Collection[str] = ()
) -> uvicorn.Server:
    """A server that has not started. ``names``: further ones under which it may be asked for without a token.

    Raises ServerError where it would listen to other machines without a token, or the token cannot be used.
    """
    token = read_token(token_file) if token_file is not None else None
    if token is None and not _is_own(host):
        raise ServerError(
            f"{host} can be reached from other machines: name a file with a token of {MIN_TOKEN_CHARACTERS} characters "
            "or more (--token-file)"
        )
    served = application(settings, token, OWN_HOSTS | set(names))
    return uvicorn.Server(uvicorn.Config(served, host=host, port=port, log_level="warning", access_log=False))


def read_token(path: Path) -> str:
    """The token that a file holds. Raises ServerError where it is too short or cannot be sent in a header."""
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise ServerError(
            f"{path} holds no token: write {MIN_TOKEN_CHARACTERS} or more letters and digits into it, such as "
            "openssl rand -hex 24 prints"
        )
    return token


def _is_own(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

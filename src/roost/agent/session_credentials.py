"""What a session shows outside: tokens to MCP servers, and secrets to hosts. A feature fills it. No tool, and no model,
reads a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from roost.sandbox.injection import Secret


class Token(msgspec.Struct, omit_defaults=True):
    """The right to call an MCP server. refresh: gets the next one at `url`, from the client `client` that identifies
    itself by `method`. ends: wall time."""

    access: str
    refresh: str = ""
    ends: float | None = None
    url: str = ""
    client: str = ""
    client_secret: str = ""
    method: str = "none"
    resource: str = ""
    scope: str = ""

    def __repr__(self) -> str:
        return "Token()"


class TokenKeeper(Protocol):
    """Keeps the token for one server. id: names it, and changes with it."""

    id: str

    async def load(self) -> Token:
        """Raises `RoostError`."""
        ...

    async def save(self, token: Token) -> None:
        """Keep what took the place of an expired one. Raises `RoostError`."""
        ...


class SessionCredentials:
    """tokens: by the address of a server (`server_key`). variables: of the session's commands, with handles of secrets.
    secrets: by handle, those that the egress proxy puts into requests; changes count at once."""

    def __init__(self) -> None:
        self.tokens: Mapping[str, TokenKeeper] = {}
        self.variables: Mapping[str, str] = {}
        self.secrets: dict[str, Secret] = {}

    def token(self, url: str) -> TokenKeeper | None:
        return self.tokens.get(server_key(url))


def server_key(url: str) -> str:
    """Return what is the same in all ways to write the address of a server."""
    parts = urlsplit(url)
    port = {("https", 443): None, ("http", 80): None}.get((parts.scheme.lower(), parts.port or 0), parts.port)
    host = (parts.hostname or "").lower() + ("" if port is None else f":{port}")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}{query}"

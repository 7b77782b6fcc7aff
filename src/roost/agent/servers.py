"""Servers of tools that an agent may use: the part of its definition that the feature `mcp` reads."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.validated import Validated, listed, option

Transport: TypeAlias = Literal["stdio", "http", "sse"]
Grant: TypeAlias = Literal["browser", "client_credentials"]
Whose: TypeAlias = Literal["home", "session"]
ALL = "*"
"""In `AgentSpec.servers`: every server of the home, and those of the workspace that a person accepted."""
MARK = "__"
"""Between the names of a server and of its tool, in the name under which the model sees it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class OAuth(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """How Roost identifies itself to the authorization server of an MCP server. Without a `client_id` it registers
    itself."""

    grant: Grant = "browser"
    """`browser`: a person signs in (`roost mcp login`). `client_credentials`: the program signs in by itself."""
    client_id: str | None = None
    """A client that was registered before, or the https address of a client metadata document."""
    client_secret: str | None = None
    """The name of a secret in the vault. A private key in PEM (RSA, or EC on P-256) signs and is not sent."""
    issuer: str | None = None
    """The only authorization server that may be used. Default: the one that the server names."""
    scopes: tuple[str, ...] = option(default=(), converter=listed)
    """What to ask for. Default: what the server names."""


class McpServer(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A server of the Model Context Protocol: a program (`command`), or an address (`url`)."""

    name: str
    """The prefix of its tools: at most 32 letters, digits, _ and -."""
    command: str | None = None
    """The program of the server."""
    args: tuple[str, ...] = option(default=(), converter=listed)
    """Arguments of the program. Here, in `env`, `url` and `headers`, `{{secret:NAME}}` is a secret of the vault."""
    env: dict[str, str] = {}
    """Variables of the program."""
    cwd: str | None = None
    """The folder in which the program starts. Default: the workspace."""
    url: str | None = None
    """The address of the server."""
    headers: dict[str, str] = {}
    """Headers of each request."""
    transport: Transport | None = None
    """`stdio`, `http` or `sse`. Default: `stdio` for a command, `http` for an address."""
    oauth: OAuth | None = None
    """How Roost signs in."""
    tools: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the tools to offer. Default: all."""
    without: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the tools not to offer. Default: none."""
    asks: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the tools each call of which a person approves, whatever else allows it."""
    unasked: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the tools that `asks` leaves out."""
    reads: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the tools that only read, by the word of the person who writes this."""
    trust: bool = False
    """Run the program on this machine outside the sandbox, and believe the server that a tool only reads or may be
    repeated."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    """Time limit of a call."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 20.0
    """Time limit to start, and to list the tools."""
    grants: Whose = "home"
    """`home`: it is called with what a person signed in to, or wrote here. `session`: only with credentials of the
    session's vaults, on a connection of the session alone."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or MARK in self.name:
            raise ValueError(
                f"{self.name!r} cannot name a server: use at most 32 letters, digits, _ and -, and no two _ in a row"
            )
        if (self.command is None) == (self.url is None):
            raise ValueError(f"the server {self.name!r} needs a command or a url, and not both")
        if self.command is not None and (self.headers or self.oauth or self.transport not in (None, "stdio")):
            raise ValueError(f"headers, oauth and the transport of the server {self.name!r} belong to a url")
        if self.url is not None and (self.args or self.env or self.cwd or self.transport == "stdio"):
            raise ValueError(f"args, env and cwd of the server {self.name!r} belong to a command")

    @property
    def kind(self) -> Transport:
        """The transport."""
        return self.transport or ("stdio" if self.url is None else "http")

    @property
    def sandboxed(self) -> bool:
        """Whether it runs in the sandbox of each session that uses it."""
        return self.command is not None and not self.trust

    def is_shared(self, *, named: bool) -> bool:
        """Whether sessions share one connection to it, and what it listed. named: a person who may decide for this
        machine wrote its address, so that it may be in a private network."""
        return named and not self.sandboxed and self.grants == "home"

    @property
    def digest(self) -> str:
        """Digest of all that decides how it is reached."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=12).hexdigest()


def server_tool(name: str) -> tuple[str, str] | None:
    """Return the server and the tool that the name of a tool is made of; None for the name of any other."""
    server, mark, tool = name.partition(MARK)
    return (server, tool) if mark and tool and _NAME.fullmatch(server) else None

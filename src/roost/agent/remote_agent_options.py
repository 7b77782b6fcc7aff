"""The option `remote_agents` of an agent: agents of others that it may ask, by A2A."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from roost.policy.gate import Safety
from roost.validated import Validated, listed, option

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


class RemoteAgent(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """An agent of another service, which speaks A2A 1.0."""

    name: str
    """The name of the tool: `ask_NAME`."""
    url: str
    """The address of the agent, or of its card (`….json`)."""
    about: str = ""
    """What it is good for, as the model reads it. Default: its host."""
    secret: str | None = None
    """Name in the vault of its bearer token."""
    private: tuple[str, ...] = option(default=(), converter=listed)
    """Hosts with their port (`127.0.0.1:8080`) that may have addresses that are not public, and may get the token
    without TLS."""
    safety: Safety = "high_risk"
    """Safety of asking it."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 300.0
    """How long a call waits for an answer; a task that takes longer goes on, and the model can wait for it again."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name a remote agent: use letters, digits, _ and -, at most 40")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            raise ValueError(f"url: {self.url!r} is no address such as https://example.com/a2a/clerk")
        for host in self.private:
            if not re.fullmatch(r"[^\s/@]+:\d{1,5}", host):
                raise ValueError(f"private: {host!r} is no host with its port, such as 127.0.0.1:8080")

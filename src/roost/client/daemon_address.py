"""Where a daemon is: its address and the token that it wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from roost.errors import ConfigError, RoostError
from roost.server.daemon_files import Home, word


class Unreachable(RoostError):
    """No daemon answers there."""

    code, status = "unreachable", 503


class Endpoint(msgspec.Struct, frozen=True):
    """`url` has no path of its own. `pid` is known for a daemon of this machine."""

    url: str
    token: str | None = None
    pid: int | None = None

    @property
    def address(self) -> tuple[str, int, bool]:
        """(host, port, whether TLS)."""
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        return parts.hostname or "127.0.0.1", parts.port or (443 if secure else 80), secure


Locate: TypeAlias = Callable[[], Endpoint]
"""Says where the daemon is now; asked again when a connection is lost. Raises `Unreachable` when it is nowhere."""


def at_url(url: str, token: str | None) -> Endpoint:
    """Raises `ConfigError` when this is no URL of a server."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{url!r} is not a server's URL; it looks like 'http://127.0.0.1:7667'")
    return Endpoint(url.rstrip("/"), token)


def of_home(home: Path, token: str | None = None) -> Endpoint:
    """Return the daemon that the home's `daemon.json` names. Whether it runs is known when it answers. A copied home
    names the original's daemon: that one is not believed. Raises `Unreachable`."""
    found = Home(home).daemon()
    if found is None:
        raise Unreachable("no daemon is running. Start one with `roost up -d`")
    return Endpoint(found.url.rstrip("/"), token if token is not None else token_of(home), found.pid)


def token_of(home: Path) -> str | None:
    """The home's token, None when it cannot be read. Raises `ConfigError` when the file holds none."""
    path = home / "token"
    try:
        return word(path.read_bytes(), path) or None
    except OSError:
        return None

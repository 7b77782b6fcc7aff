"""Find a daemon: its address and its token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from roost.client.requests import Unreachable as Unreachable
from roost.errors import ConfigError
from roost.server.daemon_files import Home, word


class Endpoint(msgspec.Struct, frozen=True):
    """A daemon's address. `url` has no path. `pid` is known for a daemon of this machine."""

    url: str
    token: str | None = None
    pid: int | None = None

    @property
    def host(self) -> str:
        """The header `Host` of its requests."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def address(self) -> tuple[str, int, bool]:
        """The address: (host, port, whether TLS)."""
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        return parts.hostname or "127.0.0.1", parts.port or (443 if secure else 80), secure


Locate: TypeAlias = Callable[[], Endpoint]
"""Returns the daemon's present address; called again after a lost connection. Raises `Unreachable` when there is
none."""


def at_url(url: str, token: str | None) -> Endpoint:
    """Return the endpoint at a URL. Raises `ConfigError` when it is no URL of a server."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{url!r} is not a server's URL; it looks like 'http://127.0.0.1:7667'")
    return Endpoint(url.rstrip("/"), token)


def of_home(home: Path, token: str | None = None) -> Endpoint:
    """Return the daemon that the home's `daemon.json` names; it may no longer run. A copied home's file names the
    original's daemon, and is ignored. Raises `Unreachable`."""
    found = Home(home).daemon()
    if found is None:
        raise Unreachable("no daemon is running. Start one with `roost up -d`")
    return Endpoint(found.url.rstrip("/"), token if token is not None else token_of(home), found.pid)


def token_of(home: Path) -> str | None:
    """Return the home's token; None when it cannot be read. Raises `ConfigError` when the file holds none."""
    path = home / "token"
    try:
        return word(path.read_bytes(), path) or None
    except OSError:
        return None

"""The daemon's listening address, and the check of its exposure."""

from __future__ import annotations

import contextlib
import errno
import socket
from urllib.parse import urlsplit

from roost.errors import ConfigError
from roost.server.auth import is_loopback

DEFAULT_PORT = 7667
TOKEN_CHARACTERS = 16
"""Least characters of a token for an address that others reach: 64 bits, if they are random hexadecimal digits."""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def check_exposure(host: str, *, token: str | None, allow_public: bool) -> None:
    """Refuse to listen on an address that others reach, unless `allow_public` is set and a token was chosen that is
    hard to guess. Raises `ConfigError`."""
    if is_loopback(host):
        return
    if token and allow_public:
        if len(token) < TOKEN_CHARACTERS:
            raise ConfigError(
                f"the token has {len(token)} characters, and {host!r} can be reached from other machines: give one of"
                f" at least {TOKEN_CHARACTERS}, for example the output of `openssl rand -hex 32`",
                code="weak_token",
            )
        return
    missing = [] if token else ["choose a token (--token or ROOST_TOKEN)"]
    missing += [] if allow_public else ["add --allow-public"]
    raise ConfigError(
        f"{host!r} can be reached from other machines, and who has the token can run commands here."
        f" If you mean it, {' and '.join(missing)}; otherwise listen on 127.0.0.1",
        code="public_bind",
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any free one. Raises `ConfigError`."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is not a port: give one up to 65535, 0 for any free one", code="cannot_listen")
    try:
        name = host.encode() if host.isascii() else host  # only other names need the tables of IDNA
        family, kind, protocol, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host!r}, port {port}: {error}", code="cannot_listen") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)  # two sockets may be bound to a port, but not both listen: find out now
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken: choose another with --port or ROOST_PORT (0 takes any free one)",
                code="port_taken",
            ) from error
        raise ConfigError(f"cannot listen on {host!r}, port {port}: {error}", code="cannot_listen") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL for clients on this machine."""
    host, port = listener.getsockname()[:2]
    if host in _ANY:
        host = _ANY[host]
    return _url(host, port)


def advertised(listener: socket.socket, given: str | None) -> str:
    """Return the URL for other nodes: `given`, else the listening address. When listening on all addresses, use the one
    by which packets leave the machine. Raises `ConfigError` when `given` is no URL of a server."""
    if given is not None:
        return _checked(given)
    host, port = listener.getsockname()[:2]
    return _url(_way_out(listener.family) or _ANY[host], port) if host in _ANY else _url(host, port)


def _way_out(family: int) -> str | None:
    """Return the machine's outgoing address. Sends nothing: the system only chooses the address that it would send
    from."""
    target = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])
    return None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        fine = fine and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"--advertise {url!r} is not where a node is reached; it looks like 'http://10.0.0.5:7667'")
    return url.rstrip("/")


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

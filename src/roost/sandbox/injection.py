"""Put secrets into requests, and mask them in the answers.

A secret enters a header's value, and a body where its definition allows it; never the request's address, because
servers, proxies and browsers log addresses. It is only sent to its own hosts, over TLS, or without TLS to a host of
this machine where the definition allows it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from urllib.parse import unquote

import msgspec

from roost.sandbox.proxy_request import Refused, Request

_HANDLE = re.compile(rb"\{\{secret:([A-Za-z0-9_.-]{1,128})\}\}")
_NEARLY = re.compile(r"\{\{\s*secret\s*:", re.IGNORECASE)
_ALL = ("*",)
BODY = 1024 * 1024
"""Bytes of a body that is searched for handles. A larger one is forwarded unchanged."""


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A value that replaces `{{secret:NAME}}` in a request to one of `hosts`: globs of names, maybe with a port.
    `header`, `body`: where. `loopback`: a host of this machine gets it without TLS."""

    value: str
    hosts: tuple[str, ...]
    body: bool = False
    loopback: bool = False
    header: bool = True

    def __repr__(self) -> str:
        return f"Secret(hosts={self.hosts!r}, body={self.body!r}, loopback={self.loopback!r})"

    def is_for(self, host: str, port: int) -> bool:
        return any(_fits(glob.strip().lower(), host, port) for glob in self.hosts)


def _fits(glob: str, host: str, port: int) -> bool:
    name, colon, number = glob.rpartition(":")
    if colon and number.isdigit() and (name.startswith("[") or ":" not in name):
        return int(number) == port and fnmatchcase(host, name.strip("[]"))
    return fnmatchcase(host, glob.strip("[]"))


def is_loopback(host: str) -> bool:
    """True when the name or address means this machine by itself, without asking a resolver."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Injection:
    """The secrets of one request. `tls`: the proxy must speak TLS to its host."""

    def __init__(self, secrets: Mapping[str, Secret], request: Request) -> None:
        self._request = request
        fitting = {name: secret for name, secret in secrets.items() if secret.is_for(request.host, request.port)}
        fitting = {} if request.tunnel else _needed(fitting, request)
        self.plain = bool(fitting) and is_loopback(request.host) and all(each.loopback for each in fitting.values())
        self.tls = bool(fitting) and not self.plain
        self._fitting = fitting
        self._put: dict[bytes, None] = {}

    def check(self) -> None:
        """Raises `Refused` when the head asks for a secret that it must not get."""
        request = self._request
        if _NEARLY.search(_decoded(request.path)):
            raise Refused("403 Forbidden", "a secret never goes into an address: send it in a header")
        for name, value in request.headers:
            if _HANDLE.search(name):
                raise Refused("400 Bad Request", "a header of the request is malformed")
            for handle in _HANDLE.findall(value):
                if not self._known(handle.decode()).header:
                    raise Refused("403 Forbidden", f"the secret {handle.decode()!r} goes into bodies, not into headers")

    def _known(self, name: str) -> Secret:
        if name not in self._fitting:
            raise Refused("403 Forbidden", f"the secret {name!r} is not for {self._request.host}:{self._request.port}")
        return self._fitting[name]

    @property
    def in_body(self) -> bool:
        """True when the body must be searched for handles."""
        return any(secret.body for secret in self._fitting.values())

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the request's headers with values in place of the handles. Raises `Refused`."""
        return [(name, self._filled(value, self._fitting)) for name, value in self._request.headers]

    def body(self, data: bytes) -> bytes:
        """Return the body with the allowed values filled in. Other handles stay: a text may mention them."""
        return self._filled(data, {name: secret for name, secret in self._fitting.items() if secret.body})

    def _filled(self, text: bytes, secrets: Mapping[str, Secret]) -> bytes:
        def value(found: re.Match[bytes]) -> bytes:
            secret = secrets.get(found[1].decode())
            if secret is None:
                return found[0]
            made = secret.value.encode()
            self._put[made] = None
            return made

        return _HANDLE.sub(value, text)

    @property
    def masks(self) -> bool:
        """True when a value was put in, so that the answer must be masked."""
        return bool(self._put)

    def mask(self) -> Mask:
        return Mask(self._put)


def _needed(secrets: Mapping[str, Secret], request: Request) -> dict[str, Secret]:
    """Leave out the secrets for all hosts that the request cannot carry: hosts without TLS stay within reach."""
    named = {handle.decode() for _, value in request.headers for handle in _HANDLE.findall(value)}
    return {
        name: secret
        for name, secret in secrets.items()
        if secret.hosts != _ALL or name in named or (secret.body and request.length != 0)
    }


class Mask:
    """Masks values in a stream with asterisks, so that a server that echoes a secret does not reveal it. The length is
    kept, so `Content-Length` stays true. A value that a server encodes, or splits between chunks, is not found."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(values, key=len, reverse=True)
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Return the masked bytes that can be forwarded. A possible start of a value at the end is held back."""
        data = self._rest + data
        for value in self._values:
            data = data.replace(value, b"*" * len(value))
        kept = max((_begun(data, value) for value in self._values), default=0)
        self._rest = data[len(data) - kept :]
        return data[: len(data) - kept]

    def end(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


def _begun(data: bytes, value: bytes) -> int:
    """Return the length of the longest suffix of `data` that is a proper prefix of `value`."""
    return next((size for size in range(min(len(value) - 1, len(data)), 0, -1) if data.endswith(value[:size])), 0)


def _decoded(text: str) -> str:
    """Remove percent encoding, up to three times: deeper encoding hides a handle from servers too."""
    for _ in range(3):
        text = unquote(text)
    return text

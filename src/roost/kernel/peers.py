"""Requests between nodes: the deltas of a session that runs on the other, the release of a session, and the pinning of
a snapshot for a fork.

Except for pinning, nothing durable depends on an answer: the log is the truth, and a node works without peers that do
not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.errors import RoostError
from roost.kernel.delta_hub import Cleared
from roost.log.coordination import Coordination
from roost.log.dispatch import NodeInfo
from roost.log.frames import Delta
from roost.models.http import HttpClient, HttpFailed, HttpResponse

log = logging.getLogger("roost.peers")
SCHEME = "Roost-Node"
VALID_SECONDS = 30.0
"""Seconds for which a signature is valid, by the clock of the receiving node."""
HEARTBEAT = 2.0
"""A stream of deltas sends at least an empty line every so many seconds."""
SKEW = 86_400.0
"""Largest credible difference of clocks, in seconds: otherwise a forged answer could obtain a signature for a far
day."""
_SILENCE = 2.5 * HEARTBEAT
_CONNECT_SECONDS = 2.0
_EVICT_SECONDS = 10.0
_CONNECTIONS = 1024
_LINE_BYTES = 64 * 1024 * 1024
_decode = msgspec.json.Decoder(Delta | Cleared).decode

Piece: TypeAlias = Delta | Cleared


class PeerFailed(RoostError):
    """The other node cannot be asked, or refused. `code` is `not_here` when it does not run the session."""

    code, status = "peer_failed", 502


class Peers(Protocol):
    """The requests that a node may send to others."""

    def deltas(self, node: NodeInfo, session: str) -> AsyncGenerator[list[Piece]]:
        """Stream the deltas of a session from its owner's hub, from the start of the step in progress. An empty list is
        a sign of life. Ends when the session leaves that node. Raises `PeerFailed`."""
        ...

    async def evict(self, node: NodeInfo, session: str) -> bool:
        """Ask a node to release a session: its step in progress is cut as by a crash. Returns False when the node has
        no address, does not answer within 10 s or refuses. Raises nothing."""
        ...

    async def lend(self, node: NodeInfo, session: str, snapshot: str, fork: str) -> bool | None:
        """Ask a node of the session's home to pin a snapshot of its files for its fork. Returns False when it has no
        such snapshot, None when the node has no address or does not answer within 10 s. Raises nothing."""
        ...

    async def close(self) -> None: ...


class Secret:
    """The cluster's key that signs requests between nodes, created by the first node that needs it."""

    def __init__(self, shared: Coordination) -> None:
        self._shared = shared
        self._value: bytes | None = None

    async def value(self) -> bytes:
        """Return the key. Raises `StoreFailed`."""
        if self._value is None:
            made = await self._shared.setting("node_secret", secrets.token_hex(32))
            assert made is not None
            self._value = made.encode()
        return self._value


def sign(secret: bytes, node: str, method: str, path: str, at: float) -> str:
    """Return the `Authorization` header for a request to `node` at wall time `at`: `Roost-Node <seconds>.<HMAC-SHA-256,
    hex>`. It is valid for this node alone, and not after its restart."""
    seconds = str(int(at))
    return f"{SCHEME} {seconds}.{_mac(secret, node, method, path, seconds)}"


def verify(
    secret: bytes, node: str, method: str, path: str, given: str, now: float
) -> Literal["good", "stale", "wrong"]:
    """Check an `Authorization` header. `stale`: signed with our secret, but at a time too far from ours."""
    scheme, _, rest = given.partition(" ")
    seconds, _, mac = rest.strip().partition(".")
    if scheme.lower() != SCHEME.lower() or not (seconds.isascii() and seconds.isdigit() and len(seconds) < 16):
        return "wrong"
    if not hmac.compare_digest(mac.encode("utf-8", "replace"), _mac(secret, node, method, path, seconds).encode()):
        return "wrong"
    return "good" if abs(now - int(seconds)) <= VALID_SECONDS else "stale"


def _mac(secret: bytes, node: str, method: str, path: str, seconds: str) -> str:
    return hmac.new(secret, f"{node}\n{method}\n{path}\n{seconds}".encode(), hashlib.sha256).hexdigest()


class HttpPeers:
    """Send requests to the nodes' internal endpoints, through one pool of connections; nothing is loaded or opened
    before the first request. Implements `Peers`."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._http = HttpClient(connect_timeout=_CONNECT_SECONDS, max_connections=_CONNECTIONS, proxies=False)
        self._skew: dict[str, float] = {}

    async def deltas(self, node: NodeInfo, session: str) -> AsyncGenerator[list[Piece]]:
        try:
            async with self._ask("GET", node, f"/internal/sessions/{session}/deltas") as response:
                rest = b""
                while data := await response.read():
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > _LINE_BYTES:
                        raise PeerFailed(f"node {node.card.id} sends a line without an end")
                    yield [_decode(line) for line in lines if line]
        except (HttpFailed, msgspec.MsgspecError) as error:
            raise PeerFailed(f"node {node.card.id}: {error}") from error

    async def evict(self, node: NodeInfo, session: str) -> bool:
        try:
            async with (
                asyncio.timeout(_EVICT_SECONDS),
                self._ask("POST", node, f"/internal/sessions/{session}/evict", patience=_EVICT_SECONDS) as response,
            ):
                await response.read_all(1024)
        except (RoostError, TimeoutError) as error:
            log.info("session %s: node %s was asked to let go of it and did not: %s", session, node.card.id, error)
            return False
        return True

    async def lend(self, node: NodeInfo, session: str, snapshot: str, fork: str) -> bool | None:
        path = f"/internal/sessions/{session}/lend/{snapshot}/{fork}"
        try:
            async with (
                asyncio.timeout(_EVICT_SECONDS),
                self._ask("POST", node, path, patience=_EVICT_SECONDS) as answer,
            ):
                await answer.read_all(1024)
        except (RoostError, TimeoutError) as error:
            log.info(
                "session %s: node %s was asked for its files and did not give them: %s", session, node.card.id, error
            )
            return False if isinstance(error, PeerFailed) and error.code == "not_here" else None
        return True

    async def prepare(self) -> None:
        """Load what the first request needs. Raises `StoreFailed`."""
        await self._secret.value()
        await self._http.prepare()

    async def close(self) -> None:
        await self._http.close()

    @contextlib.asynccontextmanager
    async def _ask(
        self, method: str, node: NodeInfo, path: str, *, patience: float = _SILENCE
    ) -> AsyncGenerator[HttpResponse]:
        """Send a request and yield a successful response. A node whose clock differs by at most a day refuses with its
        time, and is asked again by that time. Raises `PeerFailed`, `HttpFailed` and `StoreFailed`."""
        url = node.card.url
        if url is None:
            raise PeerFailed(f"node {node.card.id} has no address that others reach")
        for last in (False, True):
            async with self._send(method, node.card.id, url, path, patience) as response:
                if response.status < 300:
                    yield response
                    return
                skew = _skew(response)
                if response.status == 401 and not last and abs(skew - self._skew.get(url, 0)) > VALID_SECONDS / 2:
                    self._skew[url] = skew
                    continue
                raise await _refused(node, response)

    @contextlib.asynccontextmanager
    async def _send(self, method: str, node: str, url: str, path: str, patience: float) -> AsyncGenerator[HttpResponse]:
        at = time.time() + self._skew.get(url, 0)
        headers = {"Authorization": sign(await self._secret.value(), node, method, path, at)}
        async with self._http.stream(method, url.rstrip("/") + path, headers, idle_timeout=patience) as response:
            yield response


def _skew(response: HttpResponse) -> float:
    """Return the seconds by which the other node's clock is ahead of ours; 0 when the value is not credible."""
    with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
        skew = parsedate_to_datetime(response.headers["Date"]).timestamp() - time.time()
        return skew if abs(skew) <= SKEW else 0.0
    return 0.0


async def _refused(node: NodeInfo, response: HttpResponse) -> PeerFailed:
    body = await response.read_all(4096)
    code = "not_here" if response.status == 404 else "peer_failed"
    return PeerFailed(f"node {node.card.id} answered {response.status}: {body[:200]!r}", code=code)

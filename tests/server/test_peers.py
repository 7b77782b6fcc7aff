"""What one node asks of another, over a network that does what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate

import pytest

from roost.kernel.delta_hub import Cleared, Hub
from roost.kernel.peers import HttpPeers, PeerFailed, Secret, sign, verify
from roost.log.dispatch import NodeCard, NodeInfo
from roost.log.frames import Delta
from roost.stores.sqlite.store import open_sqlite

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DELTA = b'{"type":"delta","step":1,"after":3,"kind":"text","offset":0,"text":"hello"}\n'


@pytest.fixture
async def secret(tmp_path) -> AsyncIterator[Secret]:
    store = await open_sqlite(tmp_path / "roost.db")
    yield Secret(store.coordination)
    await store.close()


@pytest.fixture
async def peers(secret: Secret) -> AsyncIterator[HttpPeers]:
    peers = HttpPeers(secret)
    yield peers
    await peers.close()


@pytest.fixture
async def node():
    """Serve one answer after the other, by a function that gets the request's head and the connection."""
    servers: list[asyncio.Server] = []

    async def start(answer: Callable[[str, asyncio.StreamWriter], Awaitable[None]]) -> NodeInfo:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await answer(head, writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        port = servers[-1].sockets[0].getsockname()[1]
        return NodeInfo(NodeCard(id="there", url=f"http://127.0.0.1:{port}"), True, time.time())

    yield start
    for server in servers:
        server.close()
    await asyncio.sleep(0.05)


def says(data: bytes, status: str = "200 OK", clock: float = 0.0):
    async def answer(head: str, writer: asyncio.StreamWriter) -> None:
        date = formatdate(time.time() + clock, usegmt=True)
        writer.write(f"HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()

    return answer


async def heard(peers: HttpPeers, node: NodeInfo) -> list[Delta | Cleared]:
    return [piece async for batch in peers.deltas(node, "ses_1") for piece in batch]


async def test_deltas_come_as_they_were_told(node, peers):
    there = await node(says(b"\n" + DELTA + b'\n{"type":"cleared"}\n' + DELTA))
    delta = Delta(1, 3, "text", 0, "hello")
    assert await heard(peers, there) == [delta, Cleared(), delta]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"not json\n", "200 OK"),
        (b'{"type":"other"}\n', "200 OK"),
        (b'{"type":"delta","step":"x"}\n', "200 OK"),
        (b"\xff\xfe\n", "200 OK"),
        (b'{"code":"not_here"}', "404 Not Found"),
        (b"", "500 Internal Server Error"),
        (b"", "302 Found\r\nLocation: http://127.0.0.1:1/"),
        (b"", "not http"),
    ],
)
async def test_what_is_no_answer_is_a_failure(node, peers, data, status):
    with pytest.raises(PeerFailed) as caught:
        await heard(peers, await node(says(data, status)))
    assert (caught.value.code == "not_here") == status.startswith("404")


async def test_a_node_that_cannot_be_asked(peers):
    gone = NodeInfo(NodeCard(id="gone", url="http://127.0.0.1:1"), True, 0.0)
    for node in (gone, NodeInfo(NodeCard(id="none"), True, 0.0)):
        with pytest.raises(PeerFailed):
            await heard(peers, node)
        assert await peers.evict(node, "ses_1") is False


async def test_a_node_that_falls_silent_is_left(node, peers):
    async def silent(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + DELTA)
        await left.wait()

    left = asyncio.Event()
    started = time.monotonic()
    with pytest.raises(PeerFailed):
        await heard(peers, await node(silent))
    left.set()
    assert 4 < time.monotonic() - started < 60


async def test_nodes_whose_clocks_differ_understand_each_other(node, peers, secret):
    """A node that is an hour ahead, and checks what it is asked by its own clock, which somebody then sets right."""
    checked: list[str] = []
    clock = 3600

    async def ahead(head: str, writer: asyncio.StreamWriter) -> None:
        given = next(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("Authorization:"))
        path = "/internal/sessions/ses_1/evict"
        assert head.startswith(f"POST {path} HTTP/1.1\r\n")
        checked.append(verify(await secret.value(), "there", "POST", path, given, time.time() + clock))
        status = {"good": "204 No Content", "stale": "401 Unauthorized", "wrong": "403 Forbidden"}[checked[-1]]
        await says(b"", status, clock=clock)(head, writer)

    there = await node(ahead)
    assert await peers.evict(there, "ses_1")
    assert await peers.evict(there, "ses_1")
    assert checked == ["stale", "good", "good"]
    clock = 0
    assert await peers.evict(there, "ses_1")
    assert checked[3:] == ["stale", "good"]


async def test_no_clock_is_believed_to_be_years_away(node, peers, secret):
    """Or whoever answers in a node's place would get something signed that is good next year."""
    asked: list[str] = []

    async def far(head: str, writer: asyncio.StreamWriter) -> None:
        asked.append(head)
        await says(b"", "401 Unauthorized", clock=365 * 86_400)(head, writer)

    assert not await peers.evict(await node(far), "ses_1")
    assert len(asked) == 1


async def test_a_refusal_is_no_eviction(node, peers):
    assert not await peers.evict(await node(says(b"", "401 Unauthorized", clock=3600)), "ses_1")
    assert not await peers.evict(await node(says(b"", "503 Service Unavailable")), "ses_1")


def test_a_signature_is_good_for_what_was_signed_and_half_a_minute():
    key, now = b"key", 1_000_000.0
    signed = sign(key, "n", "GET", "/internal/x", now)
    assert verify(key, "n", "GET", "/internal/x", signed, now) == "good"
    assert verify(key, "n", "GET", "/internal/x", signed.lower(), now + 30) == "good"
    assert verify(key, "n", "GET", "/internal/x", signed, now + 31) == "stale"
    assert verify(key, "n", "GET", "/internal/x", signed, now - 31) == "stale"
    later = signed.replace("1000000", "1000031")
    for method, path, given in (
        ("POST", "/internal/x", signed),
        ("GET", "/internal/y", signed),
        ("GET", "/internal/x", later),
        ("GET", "/internal/x", signed[:-1]),
        ("GET", "/internal/x", signed.replace("Roost-Node", "Bearer")),
        ("GET", "/internal/x", "Roost-Node ²³.00"),
        ("GET", "/internal/x", "Roost-Node 1000000.ü"),
        ("GET", "/internal/x", ""),
    ):
        assert verify(key, "n", method, path, given, now) == "wrong", given
    assert verify(key, "m", "GET", "/internal/x", signed, now) == "wrong"
    assert verify(b"other", "n", "GET", "/internal/x", signed, now) == "wrong"


def texts(hub: Hub, listener) -> list[str]:
    return [body.decode().partition('"text":"')[2][:-2] for _, body in hub.take("s", listener)]


def test_what_comes_from_another_node_is_taken_once_and_in_order():
    hub = Hub()
    listener = hub.join("s", asyncio.Event())
    assert texts(hub, listener) == []
    hub.feed("s", Delta(1, 3, "text", 5, "late"))
    hub.feed("s", Delta(1, 3, "text", 0, "he"))
    hub.feed("s", Delta(1, 3, "text", 2, "llo"))
    hub.feed("s", Delta(1, 3, "text", 0, "hello"))
    hub.feed("s", Delta(1, 3, "text", 3, "lo you"))
    hub.feed("s", Delta(1, 3, "text", 99, "lost"))
    hub.feed("s", Delta(1, 2, "text", 0, "of a former owner"))
    assert texts(hub, listener) == ["he", "llo", " you"]
    late = hub.join("s", asyncio.Event())
    assert texts(hub, late) == ["hello you"]
    hub.feed("s", Delta(1, 5, "text", 0, "again"))
    assert texts(hub, late) == ["again"]
    hub.push("s", 1, 7, "text", "here")
    hub.feed("s", Delta(1, 5, "text", 5, " there"))
    hub.forget("s")
    assert texts(hub, hub.join("s", asyncio.Event())) == ["here"]
    assert texts(hub, late) == ["here"]

"""What a client notices of slow and hostile clients of one door, or of several."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from tests.harness.doors.clients import Own
from tests.harness.doors.transport import Cut

from bench.doors.crowd import Daemon, Probe, daemon, turn
from bench.doors.gateway import MODEL

_HUGE = b'{"model":"clerk","messages":[' + b'{"role":"user","content":"a"},' * 500_000 + b'{"role":"user"}]}'
_SECONDS = 10.0


class Target(NamedTuple):
    """A request that begins a stream. body: of a POST; None makes it a GET. frames: what follows the head, of a
    WebSocket."""

    path: str
    body: Any = None
    headers: Sequence[tuple[str, str]] = ()
    frames: bytes = b""

    def head(self, served: Daemon, size: int) -> bytes:
        length = [] if self.body is None else ["content-type: application/json", f"content-length: {size}"]
        lines = [
            f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {served.address.token}",
            *(f"{name}: {value}" for name, value in self.headers),
            *length,
            "",
            "",
        ]
        return "\r\n".join(lines).encode()

    def whole(self, served: Daemon) -> bytes:
        data = b"" if self.body is None else msgspec.json.encode(self.body)
        return self.head(served, len(data)) + data + self.frames


_SSE = ("accept", "text/event-stream")
_SAID = [{"role": "user", "content": "hello"}]
_MANAGED = (("anthropic-version", "2023-06-01"), ("anthropic-beta", "managed-agents-2026-04-01"))
_MODERN: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
_MCP = (
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2026-07-28"),
    ("mcp-method", "tools/call"),
    ("mcp-name", "ask_clerk"),
)


async def _own(served: Daemon) -> Target:
    name = f"hostile-{secrets.token_hex(8)}"
    await served.http.ask("POST", "/sessions", {"agent": "clerk", "id": name})
    return Target(f"/sessions/{name}/messages", {"text": "hello"}, (_SSE,))


async def _websocket(served: Daemon) -> Target:
    name = f"hostile-{secrets.token_hex(8)}"
    await served.http.ask("POST", "/sessions", {"agent": "clerk", "id": name})
    sent = (
        {"id": "1", "op": "subscribe", "args": {"session": name, "after": 0}},
        {"id": "2", "op": "inputs.send", "key": name, "args": {"session": name, "text": "hello"}},
    )
    headers = (
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "roost.v1"),
    )
    return Target("/ws", None, headers, b"".join(_frame(msgspec.json.encode(one)) for one in sent))


def _frame(data: bytes) -> bytes:
    """A text frame of a client. The mask is zero: the bytes stay as they are."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + data


async def _managed(served: Daemon) -> Target:
    made = await served.http.ask("POST", "/v1/environments", {"name": "e"}, _MANAGED)
    body = {"agent": "clerk", "environment_id": made.json["id"]}
    session = (await served.http.ask("POST", "/v1/sessions", body, _MANAGED)).json["id"]
    event = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    await served.http.ask("POST", f"/v1/sessions/{session}/events", {"events": [event]}, _MANAGED)
    return Target(f"/v1/sessions/{session}/events/stream", None, (*_MANAGED, _SSE))


async def _agents_api(served: Daemon) -> Target:
    given = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    body = {"agent": {"model": "clerk"}, "environment": {"type": "none"}, "input": given, "stream": True}
    return Target("/v1/agents/sessions", body, (_SSE,))


async def _conversation(served: Daemon) -> Target:
    made = (await served.http.ask("POST", "/v1/conversations", {})).json["id"]
    return Target("/v1/responses", {"model": "clerk", "stream": True, "input": "hello", "conversation": made})


def _plain(make: Callable[[], Target]) -> Callable[[Daemon], Awaitable[Target]]:
    async def made(_: Daemon) -> Target:
        return make()

    return made


def _a2a() -> Target:
    message = {"messageId": secrets.token_hex(8), "role": "ROLE_USER", "parts": [{"text": "hello"}]}
    return Target("/a2a/clerk/message:stream", {"message": message}, (("a2a-version", "1.0"),))


def _agui() -> Target:
    name, message = secrets.token_hex(8), {"id": "1", "role": "user", "content": "hello"}
    return Target("/ag-ui/clerk", {"threadId": name, "runId": name, "messages": [message]}, (_SSE,))


def _mcp() -> Target:
    params = {"name": "ask_clerk", "arguments": {"message": "hello"}, "_meta": {**_MODERN, "progressToken": "p"}}
    return Target("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, _MCP)


def _gemini() -> Target:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    return Target(f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", body)


def _messages() -> Target:
    body = {"model": "clerk", "stream": True, "max_tokens": 100, "messages": _SAID}
    return Target("/v1/messages", body, (_MANAGED[0],))


DOORS: Mapping[str, Callable[[Daemon], Awaitable[Target]]] = {
    "own": _own,
    "openai.chat": _plain(
        lambda: Target("/v1/chat/completions", {"model": "clerk", "stream": True, "messages": _SAID})
    ),
    "openai.responses": _plain(lambda: Target("/v1/responses", {"model": "clerk", "stream": True, "input": "hello"})),
    "openai.conversations": _conversation,
    "anthropic": _plain(_messages),
    "gemini": _plain(_gemini),
    "agui": _plain(_agui),
    "a2a": _plain(_a2a),
    "mcp": _plain(_mcp),
    "websocket": _websocket,
    "managed": _managed,
    "openai_agents": _agents_api,
    "termo": _plain(lambda: Target("/termo/clerk/api/send", {"message": "hello", "stream": True})),
    "agentruntime": _plain(lambda: Target("/agentruntime/sessions", {"name": "n", "model": "clerk"})),
}


async def _raw(served: Daemon, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(served.address.host, served.address.port, limit=1024)
    writer.write(data)
    return reader, writer


Attack = Callable[[Daemon, Sequence[str]], Coroutine[Any, Any, None]]
"""The doors take turns."""


async def nothing(served: Daemon, doors: Sequence[str]) -> None:
    await asyncio.sleep(_SECONDS)


async def reads_nothing(served: Daemon, doors: Sequence[str], count: int = 100) -> None:
    """Streams are opened, and nothing of them is read."""
    links = [await _raw(served, (await _target(served, doors, number)).whole(served)) for number in range(count)]
    await asyncio.sleep(_SECONDS)
    _drop(links)


async def reads_slowly(served: Daemon, doors: Sequence[str], count: int = 100) -> None:
    """Streams are read at a byte a second."""

    async def one(number: int) -> None:
        reader, writer = await _raw(served, (await _target(served, doors, number)).whole(served))
        try:
            for _ in range(int(_SECONDS)):
                await reader.read(1)
                await asyncio.sleep(1)
        finally:
            writer.transport.abort()

    await _for_a_while(one(number) for number in range(count))


async def half_a_body(served: Daemon, doors: Sequence[str], count: int = 200) -> None:
    """Requests come to half, and no further: half of a body, or of a head."""
    links: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for number in range(count):
        target = await _target(served, doors, number)
        head = target.head(served, 1000)
        links.append(await _raw(served, head[:-2] if target.body is None else head + b'{"model":'))
    await asyncio.sleep(_SECONDS)
    _drop(links)


async def huge_bodies(served: Daemon, doors: Sequence[str], count: int = 8) -> None:
    """Clients send bodies of 15 MB of small objects, again and again."""

    async def one(number: int) -> None:
        target = (await _target(served, doors, number))._replace(body=True)
        while True:
            with contextlib.suppress(Cut, OSError, AssertionError):
                reader, writer = await _raw(served, target.head(served, len(_HUGE)) + _HUGE)
                await reader.read(100)
                writer.transport.abort()

    await _for_a_while(one(number) for number in range(count))


async def flood(served: Daemon, doors: Sequence[str], count: int = 50) -> None:
    """Clients send malformed requests as fast as they are answered."""

    async def one(number: int) -> None:
        target = (await _target(served, doors, number))._replace(body=True)
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await _raw(served, target.head(served, 2) + b"[]")
                await reader.read(100)
                writer.transport.abort()

    await _for_a_while(one(number) for number in range(count))


async def all_at_once(served: Daemon, doors: Sequence[str]) -> None:
    """25 clients read nothing, 25 a byte a second, 25 send half a request, and 10 malformed ones."""
    await asyncio.gather(
        reads_nothing(served, doors, 25),
        reads_slowly(served, doors, 25),
        half_a_body(served, doors, 25),
        flood(served, doors, 10),
    )


ATTACKS: Mapping[str, Attack] = {
    "none": nothing,
    "reads nothing": reads_nothing,
    "a byte a second": reads_slowly,
    "half a body": half_a_body,
    "huge bodies": huge_bodies,
    "flood of bad requests": flood,
}


async def _target(served: Daemon, doors: Sequence[str], number: int) -> Target:
    return await DOORS[doors[number % len(doors)]](served)


async def _for_a_while(clients: Any) -> None:
    running = [asyncio.create_task(one) for one in clients]
    done, _ = await asyncio.wait(running, timeout=_SECONDS)
    for task in running:
        task.cancel()
    for task in done:
        task.result()


def _drop(links: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in links:
        writer.transport.abort()


async def noticed(attack: Attack, doors: Sequence[str]) -> tuple[float, float, float]:
    """Return what another client notices of an attack: its median and longest request, in ms, and the daemon's peak of
    memory, in MiB."""
    async with daemon(pace=0.5) as served:
        await turn(served, Own("clerk", "warm"))
        probe = await Probe.start(served)
        await attack(served, doors)
        return (*await probe.end(), served.peak)

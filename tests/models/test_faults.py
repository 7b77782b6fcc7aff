"""Every fault at every point of every wire's answer: one end, the whole answer or a typed failure, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text, ToolCall
from roost.models.http import HttpClient, HttpFailed
from roost.models.http_model import MAX_ANSWER, HttpModel
from roost.models.request import CallDelta, Completed, Failed, ModelEvent, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires import WIRES, wire
from roost.runtime import Runtime, TurnFailed
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, FaultKind, Reply, Script
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call
from roost.tools.function import tool

Make = Callable[..., HttpModel]
SAID = "Grüße, 世界 😀! and more"
ANSWER = Reply(text=SAID, thinking="hm", calls=(Call("look", {"path": "ä/b"}), Call("go", {"n": 1})), piece=7)
KNOWN = {"connection", "timeout", "malformed", "empty", "overloaded", "rate_limited", "bad_request", "refused"}
WHOLE = ("tool_calls", SAID, [("look", {"path": "ä/b"}), ("go", {"n": 1})])
WAYS = (*WIRES, "minimax text")
_FAULT = re.compile(r"fault (\w+) (-?\d+);")


def reply(body: dict[str, Any]) -> Reply:
    """The fault that the user names."""
    found = _FAULT.search(json.dumps(body, ensure_ascii=False))
    if found is None:
        return ANSWER
    kind, at = cast(FaultKind, found[1]), int(found[2])
    seconds = 0.2 if kind == "trickle" else 60
    return msgspec.structs.replace(ANSWER, fault=Fault(kind=kind, at=at, seconds=seconds, size=200_000))


def meaning(end: Completed) -> tuple[Any, ...]:
    text = "".join(part.text for part in end.parts if isinstance(part, Text))
    return end.stop, text, [(p.name, json.loads(p.arguments)) for p in end.parts if isinstance(p, ToolCall)]


def judged(kind: str, events: list[ModelEvent], end: Completed | Failed) -> bool:
    """Whether it is whole. Nothing was said that is not of the answer."""
    assert SAID.startswith("".join(event.text for event in events if isinstance(event, TextDelta)))
    assert {event.name for event in events if isinstance(event, CallDelta)} <= {"look", "go", None}
    if isinstance(end, Completed):
        assert meaning(end) == WHOLE
        return True
    assert end.error.code in KNOWN, end.error
    assert end.error.retryable, (kind, end.error)
    return False


def points(writes: list[bytes]) -> list[int]:
    """Every boundary of a frame and its neighbours, and some in the midst."""
    places, passed = {0, 1, 2}, 0
    for number, write in enumerate(writes):
        if number % 3 == 0:
            places.add(passed + len(write) // 2)
        passed += len(write)
        places |= {passed - 1, passed, passed + 1}
    return sorted(place for place in places if place <= passed)


@pytest.fixture
async def quick() -> AsyncIterator[HttpClient]:
    """For servers that say nothing more."""
    client = HttpClient(idle_timeout=0.4)
    yield client
    await client.close()


@pytest.fixture
async def steady() -> AsyncIterator[HttpClient]:
    client = HttpClient(idle_timeout=60.0)
    yield client
    await client.close()


def made(server: ProviderServer, kind: str, client: HttpClient) -> HttpModel:
    name, _, interface = kind.partition(" ")
    spoken = wire(name, {"interface": interface} if interface else None)
    return HttpModel(model="scripted", endpoint=Endpoint(base_url=server.url), wire=spoken, client=client)


async def outcomes(
    model: HttpModel, faults: list[tuple[str, int]], *, stream: bool = True
) -> dict[tuple[str, int], tuple[bool, str]]:
    """(whether it was whole, else the code) of each."""
    places = asyncio.Semaphore(16)

    async def one(kind: str, at: int) -> tuple[bool, str]:
        async with places, asyncio.timeout(60):
            events, end = await run(model, ask(user(f"fault {kind} {at};"), stream=stream))
        return judged(kind, events, end), end.error.code if isinstance(end, Failed) else ""

    return dict(zip(faults, await asyncio.gather(*(one(kind, at) for kind, at in faults)), strict=True))


async def lengths(server: ProviderServer, model: HttpModel, *, stream: bool) -> list[bytes]:
    """The writes of the answer to a request that differs from those with a fault in nothing that it shows."""
    assert meaning(await completed(model, ask(user("fault none 0 "), stream=stream))) == WHOLE
    return server.provider.writes


def is_sent_again(fault: str, at: int) -> bool:
    """Whether the client may ask again at once: a kept connection died before a byte of the answer."""
    return fault in ("reset", "close") and at == 0


CODES = {
    "reset": {"connection"},
    "close": {"connection"},
    "short": {"malformed", "empty"},
    "malformed": {"malformed"},
    "error": {"overloaded"},
    "stall": {"timeout"},
}


@pytest.mark.parametrize("kind", WAYS)
async def test_a_stream_that_breaks_at_any_point(kind: str, steady: HttpClient, quick: HttpClient) -> None:
    with ProviderServer(reply) as server:
        model = made(server, kind, steady)
        writes = await lengths(server, model, stream=True)
        places = points(writes)
        found = await outcomes(model, [(fault, at) for fault in ("reset", "close", "short") for at in places])
        found |= await outcomes(model, [(fault, at) for fault in ("malformed", "error") for at in places[::3]])
        found |= await outcomes(made(server, kind, quick), [("stall", at) for at in places[:: len(places) // 12]])
        assert server.stats.violations == 0, server.stats.reasons
    for (fault, at), (whole, code) in found.items():
        assert whole or code in CODES[fault], (fault, at, code)
        # Half a stream is never a whole one; of the last frame only its end may be missing.
        late = at > sum(map(len, writes)) / 2
        assert not whole or fault in ("malformed", "error") or late or is_sent_again(fault, at), (fault, at)
    for fault in ("reset", "close", "short"):
        assert {whole for (one, _), (whole, _) in found.items() if one == fault} == {True, False}, fault


@pytest.mark.parametrize("kind", WAYS)
async def test_a_document_that_breaks_at_any_point(kind: str, steady: HttpClient, quick: HttpClient) -> None:
    with ProviderServer(reply) as server:
        model = made(server, kind, steady)
        size = sum(map(len, await lengths(server, model, stream=False)))
        places = [0, 1, 2, *range(7, size - 2, max(1, size // 12)), size - 2, size - 1]
        faults = [(fault, at) for fault in ("reset", "close", "short", "malformed") for at in places]
        found = await outcomes(model, [*faults, ("error", 0)], stream=False)
        waits = [("stall", at) for at in (0, 1, size // 2, size - 1)]
        found |= await outcomes(made(server, kind, quick), waits, stream=False)
    for (fault, at), (whole, code) in found.items():
        if not is_sent_again(fault, at):
            assert not whole, (fault, at)
            assert code in CODES[fault] or (fault, at) == ("short", 0), (fault, at, code)


ODD: list[tuple[FaultKind, int, set[str]]] = [
    *(("head", at, {"connection", "malformed"}) for at in (1, 9, 15, 17, 40, 90)),
    ("empty", 0, {"empty"}),
    ("html", 0, {"malformed"}),
    ("no_finish", 0, {"malformed"}),
    *((fault, 0, {""}) for fault in ("plain", "json", "stream", "trickle")),
    ("flood", 300, {""}),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", WAYS)
async def test_what_else_may_come(kind: str, stream: bool, steady: HttpClient) -> None:
    with ProviderServer(reply) as server:
        found = await outcomes(made(server, kind, steady), [(fault, at) for fault, at, _ in ODD], stream=stream)
    for fault, at, codes in ODD:
        assert found[fault, at][1] in codes, (fault, at, found[fault, at])


STATUSES: list[tuple[Fault, str, bool, tuple[float, float] | None]] = [
    (Fault(kind="status", status=429), "rate_limited", True, None),
    (Fault(kind="status", status=429, retry_after="7"), "rate_limited", True, (7, 7)),
    (Fault(kind="status", status=429, retry_date=90), "rate_limited", True, (80, 90)),
    (Fault(kind="status", status=429, retry_date=-90), "rate_limited", True, (0, 0)),
    *((Fault(kind="status", status=status), "overloaded", True, None) for status in (500, 502, 503, 529)),
    (Fault(kind="status", status=503, retry_after="2"), "overloaded", True, (2, 2)),
    (Fault(kind="status", status=401, message="no key"), "auth", False, None),
    (Fault(kind="redirect", message="http://127.0.0.1:9/elsewhere"), "bad_request", False, None),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", WIRES)
async def test_refusals(kind: str, stream: bool, steady: HttpClient) -> None:
    faults = iter(STATUSES)
    with ProviderServer(lambda _: Reply(text="no", fault=next(faults)[0])) as server:
        model = made(server, kind, steady)
        for fault, code, retryable, after in STATUSES:
            error = (await failed(model, ask(stream=stream))).error
            assert (error.code, error.retryable) == (code, retryable), (fault, error)
            found = error.retry_after
            assert (found is None) == (after is None)
            assert after is None or found is None or after[0] <= found <= after[1]


@pytest.mark.parametrize("kind", WIRES)
async def test_a_slow_reader_slows_the_server(kind: str, steady: HttpClient) -> None:
    """What is not read is not taken: neither side heaps up what the other sends."""
    text, size = SAID * 40, 48 << 20
    faults: list[Fault | None] = [None]
    with ProviderServer(lambda _: Reply(text=text, piece=7, fault=faults[-1])) as server:
        model = made(server, kind, steady)
        await completed(model)
        faults.append(Fault(kind="flood", at=sum(map(len, server.provider.writes)) // 3, size=size))
        before = server.stats.sent
        said: list[str] = []
        end: ModelEvent | None = None
        async with contextlib.aclosing(model.stream(ask())) as stream:
            async for event in stream:
                end = event
                if isinstance(event, TextDelta):
                    said.append(event.text)
                if len(said) == 1:
                    stuck = -1
                    async with asyncio.timeout(30):
                        while server.stats.sent != stuck:
                            stuck = server.stats.sent
                            await asyncio.sleep(0.3)
                    assert stuck < before + (12 << 20)
        assert isinstance(end, Completed)
        assert "".join(said) == text
        assert server.stats.sent > size


async def test_a_refusal_before_a_large_request_is_read(steady: HttpClient) -> None:
    head = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    gone = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await asyncio.sleep(0.1)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}/v1")
        model = HttpModel(model="m", endpoint=endpoint, wire=wire("openai_chat"), client=steady)
        error = (await asyncio.wait_for(failed(model, ask(user("x" * (12 << 20)))), 60)).error
        await gone.wait()
    assert error.code in ("context_overflow", "connection")


async def test_a_connection_that_the_server_closed_is_not_taken_again(steady: HttpClient) -> None:
    """As llama.cpp's server does after a stream, without having said so."""
    body = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    closed = threading.Semaphore(0)

    def serve(listener: socket.socket) -> None:
        for _ in range(5):
            line, _ = listener.accept()
            with line:
                while not line.recv(65536).endswith(b"}"):
                    pass
                line.sendall(answer)
            closed.release()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        model = HttpModel(model="m", endpoint=endpoint, wire=wire("openai_chat"), client=steady)
        for _ in range(5):
            _, end = await run(model)
            assert isinstance(end, Completed), end
            # Without the loop: it must not have seen it before the next call.
            assert closed.acquire(timeout=30)
        thread.join()


async def test_a_flood_without_end_is_a_failure(steady: HttpClient) -> None:
    flood = Fault(kind="flood", at=100, size=MAX_ANSWER + (8 << 20))
    with ProviderServer(lambda _: Reply(text=SAID, fault=flood)) as server:
        error = (await failed(made(server, "openai_chat", steady))).error
    assert (error.code, error.retryable) == ("oversized", False)


@pytest.mark.parametrize("kind", WIRES)
async def test_a_server_that_does_not_read_is_left(kind: str, quick: HttpClient, steady: HttpClient) -> None:
    with ProviderServer(Script(deaf=1 << 20)) as server:
        large_one, small_one = made(server, kind, quick), made(server, kind, steady)
        async with asyncio.timeout(60):
            large, (_, small) = await asyncio.gather(failed(large_one, ask(user("x" * (12 << 20)))), run(small_one))
    assert (large.error.code, large.error.retryable) == ("timeout", True)
    assert isinstance(small, Completed)


@pytest.mark.parametrize("kind", WIRES)
async def test_the_provider_counts_what_it_served(kind: str, steady: HttpClient) -> None:
    with ProviderServer(reply) as server:
        model = made(server, kind, steady)
        size = sum(map(len, await lengths(server, model, stream=True)))
        served = server.stats.served["scripted"]
        assert (served.calls, served.cut, served.input, served.output) == (1, 0, 100, 20)
        await outcomes(model, [("reset", size // 2), ("reset", 0), ("status", 0)])
        assert (served.calls, served.cut, served.input) == (2, 1, 200)
        assert 28 <= served.output <= 32


@pytest.mark.parametrize("kind", WAYS)
async def test_no_half_answer_is_in_the_log(kind: str, tmp_path: Path, steady: HttpClient) -> None:
    """Through the kernel: what the log calls completed is whole, whatever the provider does."""

    @tool(replay="safe", safety="read_only")
    async def look(path: str = "") -> str:
        """Look."""
        return "seen"

    @tool(replay="safe", safety="read_only")
    async def go(n: int = 0) -> str:
        """Go."""
        return "gone"

    def script(body: dict[str, Any]) -> Reply:
        found = reply(body)
        return found if found.fault and "seen" not in json.dumps(body) else Reply(text="done")

    faults = [("reset", 500), ("close", 900), ("short", 700), ("malformed", 600), ("error", 400), ("no_finish", 0)]
    with ProviderServer(script) as server:
        agent = Agent("a", model=made(server, kind, steady), tools=[look, go], permissions="all")
        runtime = Runtime(tmp_path, agents=[agent], config=KernelConfig(linger=0.05, scan=0.2))
        await runtime.start()
        try:
            for fault, at in faults:
                session = await runtime.session("a")
                with contextlib.suppress(TurnFailed):
                    assert await asyncio.wait_for(session.ask(f"fault {fault} {at};"), 30) == "done"
                log = [record.event for record in await runtime.sessions.history(session.id)]
                whole = [event for event in log if isinstance(event, ev.ModelCompleted)]
                first = [meaning(Completed(event.parts, event.stop)) for event in whole[:1]]
                assert first in ([WHOLE], []), (fault, log)
        finally:
            await runtime.stop(grace=0.2)


async def test_a_request_that_a_server_has_worked_on_is_not_sent_again() -> None:
    """A kept connection that ends late was not dead when the request went out: to send it again would be paid twice."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head)
                if len(seen) > 1:
                    await asyncio.sleep(1.5)
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = HttpClient()
    async with client.stream("POST", url, {}, b"{}") as response:
        assert await response.read_all(10) == b"ok"
    with pytest.raises(HttpFailed):
        async with client.stream("POST", url, {}, b"{}"):
            pass
    assert len(seen) == 2
    await client.close()
    server.close()

"""Whatever the provider does, the stream ends in the full answer or in a typed failure; it never hangs or raises."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from roost.log.content import Text, ToolCall
from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Failed
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.stub.dialects.base import Asked
from roost.stub.dialects.openai_chat import DIALECT
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Call

Chat = Callable[..., HttpModel]
ANSWER = Reply(text="Grüße, 世界 😀! " * 3, calls=(Call("look", {"path": "ä/b"}), Call("go", {"n": 1})), piece=7)
FRAMES = DIALECT.frames(ANSWER, Asked("scripted", True, [{}, {}], {"stream_options": {"include_usage": True}}))
SIZE = sum(map(len, FRAMES))
FINISHED = sum(map(len, FRAMES[:-2]))
POSITIONS = [0, 1, 5, 60, 150, SIZE // 2, SIZE // 2 + 1, FINISHED - 1, FINISHED, FINISHED + 3, SIZE - 16, SIZE - 1]


def whole(end: Completed | Failed) -> bool:
    if not isinstance(end, Completed):
        return False
    calls = [part for part in end.parts if isinstance(part, ToolCall)]
    assert end.parts[0] == Text(ANSWER.text)
    assert [(call.name, call.arguments) for call in calls] == [("look", '{"path":"ä/b"}'), ("go", '{"n":1}')]
    return True


def serve(**fault: Any) -> ProviderServer:
    return ProviderServer(lambda _: Reply(**{**_fields(ANSWER), "fault": Fault(**fault)}))


def _fields(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


@pytest.mark.parametrize("kind", ["reset", "close", "stall", "malformed"])
async def test_a_fault_at_a_byte_gives_the_whole_answer_or_a_typed_failure(kind: str, chat: Chat) -> None:
    code = {"reset": "connection", "close": "connection", "stall": "timeout", "malformed": "malformed"}[kind]
    positions = [60, SIZE // 2, FINISHED + 3] if kind == "stall" else POSITIONS
    outcomes: set[bool] = set()
    faults = iter([Fault(kind=kind, at=at) for at in positions])  # type: ignore[arg-type]
    with ProviderServer(lambda _: Reply(**{**_fields(ANSWER), "fault": next(faults)})) as server:
        for at in positions:
            _, end = await asyncio.wait_for(run(chat(server.url, patience=0.6 if kind == "stall" else 60.0)), 60)
            outcomes.add(whole(end))
            if isinstance(end, Failed):
                assert (end.error.code, end.error.retryable) == (code, True)
                assert at < FINISHED, "the answer was whole"
    assert outcomes == {True, False}


async def test_a_retry_after_a_reset_gets_the_answer(chat: Chat) -> None:
    with serve(kind="reset", at=100, times=1) as server:
        model = chat(server.url)
        assert (await failed(model)).error.code == "connection"
        assert whole(await completed(model))


@pytest.mark.parametrize("kind", ["plain", "json", "trickle"])
async def test_odd_but_whole_answers_are_taken(kind: str, chat: Chat) -> None:
    with serve(kind=kind, seconds=0.5) as server:
        end = await completed(chat(server.url))
    assert whole(end)
    assert end.usage.input == 100


@pytest.mark.parametrize(("kind", "code"), [("empty", "empty"), ("html", "malformed"), ("no_finish", "malformed")])
async def test_what_is_no_answer_is_a_failure(kind: str, code: str, chat: Chat) -> None:
    with serve(kind=kind) as server:
        error = (await failed(chat(server.url))).error
    assert (error.code, error.retryable) == (code, True)
    if kind == "html":
        assert "text/html" in error.message


STATUSES = [
    (401, "no", "auth", False),
    (403, "no", "auth", False),
    (402, "no credits", "quota", False),
    (404, "no such model", "bad_request", False),
    (400, "bad field", "bad_request", False),
    (400, "This model's maximum context length is 8192 tokens.", "context_overflow", False),
    (400, "exceed_context_size_error: request exceeds the available context size", "context_overflow", False),
    (413, "too big", "context_overflow", False),
    (400, "The response was filtered: content_filter", "refused", False),
    (429, "slow down", "rate_limited", True),
    (429, "You exceeded your current quota", "quota", False),
    (408, "late", "timeout", True),
    (500, "oops", "overloaded", True),
    (503, "busy", "overloaded", True),
    (529, "overloaded", "overloaded", True),
    (307, "moved", "bad_request", False),
]


@pytest.mark.parametrize(("status", "message", "code", "retryable"), STATUSES)
async def test_a_status_has_a_stable_code(status: int, message: str, code: str, retryable: bool, chat: Chat) -> None:
    with serve(kind="status", status=status, message=message) as server:
        error = (await failed(chat(server.url))).error
    assert (error.code, error.retryable) == (code, retryable)
    assert message in error.message
    assert str(status) in error.message


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), ("0.5", 0.5, 0.5), ("soon", None, None), ("-3", None, None), ("nan", None, None), (None, None, None)],
)
async def test_retry_after(header: str | None, low: float | None, high: float | None, chat: Chat) -> None:
    with serve(kind="status", status=429, retry_after=header) as server:
        after = (await failed(chat(server.url))).error.retry_after
    assert after == low if low is None or high is None or after is None else low <= after <= high


async def test_retry_after_as_a_date(chat: Chat) -> None:
    from email.utils import formatdate

    with serve(kind="status", status=503, retry_after=formatdate(time.time() + 90, usegmt=True)) as server:
        after = (await failed(chat(server.url))).error.retry_after
    assert after is not None
    assert 80 < after <= 90


async def test_refused_connections_and_bad_urls(chat: Chat) -> None:
    refused = (await failed(chat("http://127.0.0.1:9/v1"))).error
    assert (refused.code, refused.retryable) == ("connection", True)
    for url in ("http://", "ftp://127.0.0.1/v1", "http://127.0.0.1:port/v1", "nothing"):
        error = (await failed(chat(url))).error
        assert (error.code, error.retryable) == ("connection", False), url


async def test_a_key_that_the_server_repeats_is_hidden(chat: Chat) -> None:
    key = "sk-very-secret"
    with serve(kind="status", status=401, message=f"Incorrect key {key}") as server:
        model = chat(server.url, key=key)
        error = (await failed(model)).error
        assert server.provider.headers["authorization"] == f"Bearer {key}"
    assert key not in error.message
    assert key not in repr(model)


async def test_a_key_that_no_header_can_carry_fails_as_data(chat: Chat) -> None:
    with ProviderServer() as server:
        error = (await failed(chat(server.url, key="a\r\nX: b"))).error
    assert not error.retryable
    assert "X: b" not in error.message


async def cancelled(server: ProviderServer) -> float:
    start = time.monotonic()
    while not server.stats.left:
        assert time.monotonic() - start < 30, "the server still serves"
        await asyncio.sleep(0.01)
    return time.monotonic() - start


@pytest.mark.parametrize("at", [1, 400])
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_leaving_in_mid_stream_closes_the_connection_at_once(how: str, at: int) -> None:
    client = HttpClient(idle_timeout=30)
    with serve(kind="stall", at=at) as server:
        stream = HttpModel(
            model="m", endpoint=Endpoint(base_url=server.url), wire=wire("openai_chat"), client=client
        ).stream(ask())

        async def read() -> None:
            async with contextlib.aclosing(stream):
                async for _ in stream:
                    if how == "close":
                        return

        task = asyncio.create_task(read())
        async with asyncio.timeout(60):
            while not server.stats.requests:
                await asyncio.sleep(0.01)
        leaves = how == "close" and at > 1
        await asyncio.wait({task}, timeout=60 if leaves else 0.3)
        assert task.done() == leaves
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        assert await cancelled(server) < 30
    await client.close()


async def test_a_server_that_never_begins_is_a_timeout(chat: Chat) -> None:
    with ProviderServer(lambda _: Reply(text="late", delay=60)) as server:
        error = (await failed(chat(server.url, patience=0.6))).error
        assert (error.code, error.retryable) == ("timeout", True)
        assert await cancelled(server) < 30


async def test_connections_are_used_again(client: HttpClient, chat: Chat) -> None:
    with ProviderServer(lambda _: Reply(text="hi")) as server:
        model = chat(server.url)
        for _ in range(5):
            await completed(model)
        assert server.stats.connections == 1

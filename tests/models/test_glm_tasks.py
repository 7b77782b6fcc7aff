"""GLM's answers as tasks: handed in, and fetched when they are made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from roost.log.content import ErrorData, Text
from roost.models.compile import compiler
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Profile, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.stub.dialects.glm import TASKS
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]


def polls() -> int:
    return next(reversed(TASKS.tasks.values())).polls


async def test_a_task_is_asked_about_until_it_is_done(model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="done at last", piece=4, pace=0.15), key="k") as server:
        made = model(server.url, "glm", key="k", **{"async": True, "poll": 0.05})
        started = time.monotonic()
        deltas, end = await run(made, ask(stream=False))
        assert time.monotonic() - started > 0.7
        assert isinstance(end, Completed)
        assert (end.parts, deltas) == ((Text("done at last"),), [TextDelta("done at last")])
        assert polls() > 5
        assert "stream" not in server.provider.bodies[-1]
        handed_in = len(TASKS.tasks)
        await completed(made, ask())
        assert len(TASKS.tasks) == handed_in, "a stream is no task"
        assert (
            await failed(model(server.url, "glm", key="no", **{"async": True}), ask(stream=False))
        ).error.code == "auth"


async def test_a_task_that_fails(model: Make) -> None:
    async def error(reply: Reply, **options: Any) -> ErrorData:
        with ProviderServer(lambda _: reply) as server:
            made = model(server.url, "glm", **{"async": True, "poll": 0.05, **options})
            return (await failed(made, ask(stream=False))).error

    refused = await error(Reply(text="no", error=ErrorData("1301", "unsafe")))
    assert (refused.code, refused.retryable) == ("refused", False)
    assert "unsafe" in refused.message
    assert "(request req-" in refused.message
    late = await error(Reply(text="never", pace=60), wait=0.2)
    assert (late.code, late.retryable) == ("timeout", True)
    fault = Fault(kind="status", status=429, message="1302: slow down", retry_after="3")
    assert await error(Reply(fault=fault)) == ErrorData("rate_limited", "scripted answered 429: slow down", True, 3.0)


async def test_leaving_a_task_in_the_midst_asks_no_more(model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="x", pace=60)) as server:
        made = model(server.url, "glm", **{"async": True, "poll": 0.05})
        before = len(TASKS.tasks)
        task = asyncio.create_task(completed(made, ask(stream=False)))
        async with asyncio.timeout(60):
            while len(TASKS.tasks) == before or polls() < 2:
                await asyncio.sleep(0.02)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        asked = -1
        async with asyncio.timeout(30):  # one that was under way may still arrive
            while polls() != asked:
                asked = polls()
                await asyncio.sleep(0.3)


class Shaky:
    """A server that answers each request with the next of `replies`, a status and a document; None breaks off."""

    def __init__(self, *replies: tuple[int, dict[str, Any]] | None) -> None:
        self.asked: list[str] = []
        self._replies = iter(replies)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.partition(" HTTP")[0])
        length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
        await reader.readexactly(int(length or 0))
        if (reply := next(self._replies)) is not None:
            body = json.dumps(reply[1]).encode()
            lines = (f"HTTP/1.1 {reply[0]} X", "Content-Type: application/json", f"Content-Length: {len(body)}")
            writer.write("\r\n".join((*lines, "Connection: close", "", "")).encode() + body)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def shaky(*replies: tuple[int, dict[str, Any]] | None) -> AsyncIterator[tuple[str, Shaky]]:
    server = Shaky(*replies)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", server


WAIT: tuple[int, dict[str, Any]] = (200, {"id": "7", "task_status": "PROCESSING"})
BUSY: tuple[int, dict[str, Any]] = (429, {"error": {"code": "1302", "message": "slow down"}})
MADE = {"index": 0, "message": {"content": "done"}, "finish_reason": "stop"}
DONE: tuple[int, dict[str, Any]] = (200, {"id": "8", "task_status": "SUCCESS", "choices": [MADE]})
ASYNC: dict[str, Any] = {"async": True, "poll": 0.02}


async def test_a_task_is_not_handed_in_twice_because_asking_about_it_failed(model: Make) -> None:
    async with shaky(WAIT, BUSY, None, WAIT, (503, {}), DONE) as (url, server):
        end = await completed(model(url, "glm", **ASYNC), ask(stream=False))
        assert end.parts == (Text("done"),)
        first, *rest = server.asked
        assert first == "POST /api/paas/v4/async/chat/completions"
        assert rest == ["GET /api/paas/v4/async-result/7"] * 5
    async with shaky(WAIT, *[BUSY] * 6) as (url, server):
        error = (await failed(model(url, "glm", **ASYNC), ask(stream=False))).error
        assert (error.code, len(server.asked)) == ("rate_limited", 7)
    async with shaky(WAIT, (400, {"error": {"code": "1214", "message": "no such id"}})) as (url, server):
        error = (await failed(model(url, "glm", **ASYNC), ask(stream=False))).error
        assert (error.code, len(server.asked)) == ("bad_request", 2)
    async with shaky(BUSY) as (url, server):
        error = (await failed(model(url, "glm", **ASYNC), ask(stream=False))).error
        assert (error.code, len(server.asked)) == ("rate_limited", 1)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"task_status": "PROCESSING"}, "malformed"),
        ({"task_status": "FAIL", "id": "7"}, "overloaded"),
        ({"error": {"code": "1113", "message": "no money"}}, "quota"),
        ({}, "malformed"),
    ],
)
async def test_what_is_no_task_is_a_failure(said: Any, code: str, raw: Raw, model: Make) -> None:
    url = await raw(said, kind="application/json")
    assert (await failed(model(url, "glm", **{"async": True}), ask(stream=False))).error.code == code


@pytest.mark.parametrize("name", ["//evil.example/x", "../../../secret", "a?b=c", "https://evil.example/"])
async def test_a_task_s_name_leads_nowhere_else(name: str) -> None:
    made, prompt = wire("glm", {"async": True}), compiler("default").compile(ask(), Profile())
    endpoint = Endpoint(base_url="https://glm.example/api/coding/paas/v4", key="k")
    first = made.call(prompt, "m", Profile(), endpoint, stream=False)
    answer = made.answer(prompt, Profile(), where="m")
    answer.whole(json.dumps({"id": name, "task_status": "PROCESSING"}).encode())
    assert answer.follow is not None
    call = answer.follow.behind(first)
    root = "https://glm.example/api/coding/paas/v4"
    assert first.url == f"{root}/async/chat/completions"
    assert call.url.startswith(f"{root}/async-result/")
    assert "/" not in call.url.removeprefix(f"{root}/async-result/")
    assert call.headers["Authorization"] == "Bearer k"
    assert (call.method, call.body) == ("GET", None)

"""Event streams: every event once, from any position, at the reader's own speed."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any, cast

import pytest
from starlette.types import Send

from roost.agent.definition import Agent
from roost.models.request import ModelEvent, Progress, Request
from roost.runtime import Runtime
from roost.server.app import build_app
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.sessions import STREAMS
from roost.server.stream import Stream
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

SLOW = Answer(text="".join(f"word{i} " for i in range(60)), pace=0.01, piece=12)


def turns(served, count):
    session = served.session()
    for number in range(count):
        served.say(session, f"hello {number}")
    return session


def test_resume_after_every_event_has_no_gap_and_no_duplicate(serve):
    served = serve(ScriptedModel(by_step([Answer(calls=(Call("look", {"what": "it"}),)), "done"])))
    session = turns(served, 3)
    whole = [(entry["seq"], entry["event"]) for entry in served.history(session)]
    for position in range(len(whole) + 1):
        if position == len(whole):
            served.post(f"/sessions/{session}/messages", {"text": "more"})
        with served.events(session, 0 if position % 2 else position, Last_Event_ID=str(position)) as stream:
            got = []
            for event in stream:
                got.append((event.id, event.data))
                if len(got) + position >= len(whole) + (position == len(whole)):
                    break
        assert got[: len(whole) - position] == whole[position:]
        assert [number for number, _ in got] == list(range(position + 1, position + 1 + len(got)))


def test_resume_while_the_turn_runs(serve):
    """Hop from connection to connection during one turn: the events of all together are the log."""
    served = serve(
        ScriptedModel(
            by_step(
                [Answer(text="a" * 40, pace=0.005, calls=(Call("look", {"what": str(i)}),)) for i in range(12)]
                + ["done"]
            )
        )
    )
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    got: list[tuple[int, Any]] = []
    hops = 0
    while not got or got[-1][1]["type"] != "turn.completed":
        hops += 1
        with served.events(session, Last_Event_ID=str(got[-1][0] if got else 0)) as stream:
            for _, event in zip(range(hops % 4 + 1), stream, strict=False):
                if event.id is not None:
                    got.append((event.id, event.data))
                if event.kind == "turn.completed":
                    break
    assert hops > 5
    assert got == [(entry["seq"], entry["event"]) for entry in served.history(session)]


def test_a_reader_that_joins_in_the_middle_of_a_step_has_all_of_its_text(serve):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    texts: dict[int, str] = {}

    def keep(data):
        have = texts.get(data["step"], "")
        assert data["offset"] <= len(have), "a piece is missing"
        texts[data["step"]] = (
            have[: data["offset"]] + data["text"] if len(have) < data["offset"] + len(data["text"]) else have
        )

    last, hops, done = 0, 0, False
    while not done:
        hops += 1
        with served.events(session, last) as stream:
            for _, event in zip(range(7), stream, strict=False):
                last = event.id or last
                if event.kind == "delta":
                    keep(event.data)
                if event.kind == "model.completed":
                    done = True
                    break
    assert hops > 3
    assert texts == {1: SLOW.text}


def test_deltas_can_be_left_out(serve):
    served = serve(ScriptedModel(lambda _: SLOW))
    session = served.session()
    path = f"/sessions/{session}/messages?deltas=0"
    with served.stream("POST", path, {"text": "go"}) as stream:
        assert "delta" not in {event.kind for event in stream}
    with served.stream("GET", f"/sessions/{session}/events?deltas=false") as stream:
        assert "delta" not in {event.kind for event in stream.until("turn.completed")}


@pytest.mark.parametrize(
    ("last", "status", "code"),
    [
        ("99", 409, "ahead_of_log"),
        ("x", 422, "invalid"),
        ("-1", 422, "invalid"),
        ("", 422, "invalid"),
        ("9" * 30, 422, "invalid"),
    ],
)
def test_a_position_that_is_not_there(shared, last, status, code):
    session = shared.session()
    answer = shared.request("GET", f"/sessions/{session}/events", Accept="text/event-stream", Last_Event_ID=last)
    assert (answer.status, answer.code) == (status, code)


def test_a_stream_of_no_session(shared):
    answer = shared.request("GET", "/sessions/nobody/events", Accept="text/event-stream")
    assert (answer.status, answer.code) == (404, "not_found")


def test_a_reader_that_does_not_read_slows_nobody(serve):
    big = ScriptedModel(lambda _: Answer(text="x" * 200_000, piece=5000), deltas=True)
    served = serve(big)
    session = served.session()
    request = (
        f"GET /sessions/{session}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {served.token}\r\n\r\n"
    ).encode()
    lazy: list[socket.socket] = []
    for _ in range(10):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(request)
        lazy.append(sock)
    started = time.monotonic()
    for number in range(6):
        assert served.say(session, str(number))[-1].data["outcome"] == "answered"
    assert time.monotonic() - started < 60
    sock = lazy[0]
    sock.settimeout(60)
    got = b""
    while got.count(b"event: turn.completed") < 6:
        piece = sock.recv(1 << 20)
        assert piece, "a slow reader was thrown out too early"
        got += piece
    ids = [int(line[4:]) for line in got.split(b"\n") if line.startswith(b"id: ")]
    assert ids == list(range(1, ids[-1] + 1))
    for sock in lazy:
        sock.close()


async def test_a_hundred_readers_each_have_every_event(serve):
    served = serve(ScriptedModel(lambda _: "yes"))
    session = await asyncio.to_thread(turns, served, 1)
    start = served.get(f"/sessions/{session}")["info"]["head"]
    count = 20

    async def read() -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 20)
        writer.write(
            f"GET /sessions/{session}/events?after={start} HTTP/1.1\r\nHost: localhost\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {served.token}\r\n\r\n".encode()
        )
        ids: list[int] = []
        completed = 0
        while completed < count:
            line = await reader.readline()
            if line.startswith(b"id: "):
                ids.append(int(line[4:]))
            completed += line.startswith(b"event: turn.completed")
        writer.close()
        await writer.wait_closed()
        return ids

    readers = [asyncio.create_task(read()) for _ in range(100)]
    for number in range(count):
        await asyncio.to_thread(served.say, session, str(number))
    seen = await asyncio.gather(*readers)
    last = len(served.history(session))
    assert all(ids == list(range(start + 1, last + 1)) for ids in seen)


def test_readers_that_leave_leave_nothing_behind(serve, wait):
    served = serve()
    session = turns(served, 1)
    for _ in range(30):
        with served.events(session) as stream:
            stream.until("turn.completed")
    wait(lambda: asyncio.run_coroutine_threadsafe(_tasks(), served.loop).result(5) < 20)


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_events_carry_the_bytes_of_the_log(serve):
    served = serve()
    session = served.session(title='quote " and \\ line', labels={"ü": "☃"})
    with served.events(session) as stream:
        event = next(iter(stream))
    (entry,) = served.history(session)
    assert event.data == entry["event"]
    assert json.loads(json.dumps(event.data))["title"] == 'quote " and \\ line'


class Slow(Stream):
    """To a reader that takes each of three chunks `seconds` after it was sent, or never."""

    patience = 1.0

    def __init__(self, seconds: float | None) -> None:
        self.streams: set[Stream] = set()
        super().__init__(cast(Api, self), "s", self.streams)
        self.seconds, self.taken, self.aborted = seconds, 0, False
        self.transport = self

    async def pump(self, send: Send) -> Problem | None:
        for _ in range(3):
            await self.give(send, b"x")
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""

    def abort(self) -> None:
        self.aborted = True

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message.get("more_body"):
            await (asyncio.Event().wait() if self.seconds is None else asyncio.sleep(self.seconds))
            self.taken += 1

    async def receive(self) -> MutableMapping[str, Any]:
        return await asyncio.get_running_loop().create_future()


async def test_a_reader_that_takes_nothing_is_cut_off_and_one_that_is_slow_is_not():
    for seconds, taken in ((None, 0), (0.4, 3)):
        slow = Slow(seconds)
        await asyncio.wait_for(slow({"method": "GET", "path": "/"}, slow.receive, slow.send), 30)
        assert (slow.aborted, slow.taken, slow.streams) == (seconds is None, taken, set())


async def test_a_message_that_nobody_can_follow_is_not_taken(tmp_path):
    agent = Agent("clerk", model=ScriptedModel(lambda _: "yes"))
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        app, api = build_app(runtime, token=None)
        session = await runtime.session("clerk", id="one")

        async def ask(method: str, path: str, body: bytes = b"") -> list[MutableMapping[str, Any]]:
            said: list[MutableMapping[str, Any]] = []
            asked = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> MutableMapping[str, Any]:
                return next(asked, None) or await asyncio.get_running_loop().create_future()

            async def send(message: MutableMapping[str, Any]) -> None:
                said.append(message)

            headers = [
                (b"host", b"localhost"),
                (b"accept", b"text/event-stream"),
                (b"content-type", b"application/json"),
            ]
            scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
            await app(scope, receive, send)
            return said

        readers = [asyncio.create_task(ask("GET", "/sessions/one/events")) for _ in range(STREAMS)]
        while len(api.streams) < STREAMS:
            await asyncio.sleep(0.01)
        refused = await ask("POST", "/sessions/one/messages", b'{"text":"hello"}')
        assert (refused[0]["status"], json.loads(refused[1]["body"])["code"]) == (503, "too_many_streams")
        info = (await session.inspect()).info
        assert (info.head, info.pending) == (1, 0), "a request that is refused changed nothing"
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        heard = await ask("POST", "/sessions/one/messages", b'{"text":"hello"}')
        assert (heard[0]["status"], api.streams) == (200, set())


class Reading(ScriptedModel):
    """Says how far it is before it answers, and answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__(lambda _: "done")
        self.go_on = asyncio.Event()

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        yield Progress("loading")
        yield Progress("reading", 10, 40)
        async with asyncio.timeout(60):
            await self.go_on.wait()
        async for event in super().stream(request):
            yield event


def test_progress_of_a_step_is_streamed_and_not_kept(serve):
    model = Reading()
    served = serve(model)
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    with served.events(session) as stream:
        seen = stream.until("progress")
        while seen[-1].data["stage"] != "reading":
            seen += stream.until("progress")
        assert seen[-1].id is None
        started = next(event for event in seen if event.kind == "model.started")
        assert seen[-1].data == {
            "type": "progress", "step": 1, "after": started.id, "stage": "reading", "done": 10, "total": 40,
        }  # fmt: skip
        with served.events(session) as late:
            assert late.until("progress")[-1].data["stage"] == "reading"
        served.loop.call_soon_threadsafe(model.go_on.set)
        rest = stream.until("turn.completed")
    assert not any(event.kind == "progress" for event in rest)
    assert not any(entry["event"]["type"] == "progress" for entry in served.history(session))

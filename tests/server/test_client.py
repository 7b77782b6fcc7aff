"""`roost.Client` and its blocking twin: of a daemon over a socket, and of an application in this process."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost import Agent, Client, Runtime, SyncClient
from roost.api.session_contents import event_of
from roost.client.app_transport import AppTransport, LoopTransport
from roost.client.frames import Logged
from roost.client.http1 import BadResponse, ResponseReader
from roost.client.requests import ApiError, Request, Unreachable
from roost.errors import Conflict, Invalid, NotFound
from roost.log import events as ev
from roost.log.frames import Delta
from roost.log.schedule_events import ScheduleSpec
from roost.log.session_info import Decision
from roost.log.session_views import WaitingCall
from roost.operation import Operation
from roost.server.app import build_app
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.function import tool

ROOT = Path(__file__).parents[2]


@tool(replay="never", safety="destructive")
async def demolish(what: str) -> str:
    """Needs an approval."""
    return f"demolished {what}"


def clerk() -> Agent:
    script = by_step([Answer(calls=(Call("demolish", {"what": "the shed"}),)), "It is gone."])
    return Agent("clerk", model=ScriptedModel(script, deltas=True), tools=[demolish])


def echo() -> Agent:
    return Agent("echo", model=ScriptedModel(lambda _: "forty-two", deltas=True))


@pytest.fixture(params=["daemon", "application"])
async def client(request, serve, tmp_path) -> AsyncIterator[Client]:
    if request.param == "daemon":
        served = serve(agents=[clerk(), echo()])
        async with Client.at(served.url, token=served.token) as client:
            yield client
    else:
        async with Runtime(tmp_path / "home", agents=[clerk(), echo()]) as runtime:
            app, _ = build_app(runtime, token=None)
            async with Client(AppTransport(app)) as client:
                yield client


async def test_ask_gives_the_answer_its_pieces_and_what_a_person_decides(client):
    made = await client.sessions.create("clerk", title="shed", labels={"user": "ann"})
    assert (made.agent, made.title, made.labels) == ("clerk", "shed", {"user": "ann"})
    asked: list[WaitingCall] = []
    pieces: list[str] = []

    async def decide(call: WaitingCall) -> Decision:
        asked.append(call)
        return "approve"

    answer = await client.ask(made.id, "clear the garden", on_delta=pieces.append, on_approval=decide)
    assert (answer.text, answer.outcome, "".join(pieces)) == ("It is gone.", "answered", "It is gone.")
    assert [(call.tool, call.session) for call in asked] == [("demolish", made.id)]
    outputs = [str(message) for message in (await client.sessions.messages(made.id)).messages]
    assert any("demolished the shed" in one for one in outputs)


async def test_a_stream_has_each_event_once_and_the_deltas_between_them(client):
    session = (await client.sessions.create("echo")).id
    await client.inputs.send(session, "what is it?")
    events: list[ev.Event] = []
    said = ""
    async for item in client.stream(session):
        if isinstance(item, Delta):
            said = said[: item.offset] + item.text
        elif isinstance(item, Logged):
            assert item.seq == len(events) + 1
            events.append(item.event)
            if isinstance(item.event, ev.TurnCompleted):
                break
    page = await client.sessions.events(session)
    assert [event_of(entry) for entry in page.events] == events
    assert said in ("forty-two", "")  # a reader that comes late gets the message alone


async def test_an_error_is_of_the_class_and_the_code_of_the_daemons_own(client):
    with pytest.raises(NotFound) as missing:
        await client.sessions.inspect("ses_none")
    assert (type(missing.value).__mro__[1], missing.value.status) == (ApiError, 404)
    with pytest.raises(Invalid, match="empty"):
        await client.inputs.send((await client.sessions.create("echo", id="one")).id, " ")
    with pytest.raises(Conflict):
        await client.sessions.create("echo", id="one")
    with pytest.raises(TypeError, match="agent"):
        await client.sessions.create()
    with pytest.raises(TypeError, match="colour"):
        await client.sessions.create("echo", colour="red")


async def test_every_room_answers(client):
    session = (await client.sessions.create("echo", id="a:b")).id
    await client.inputs.set_timer(session, "tea", "drink", in_=3600)
    await client.compaction.pin(session, "rule", "be brief")
    async with asyncio.timeout(60):
        while not (view := await client.sessions.inspect(session)).pins:
            await asyncio.sleep(0.02)
    assert ("tea" in view.timers, view.pins) == (True, {"rule": "be brief"})
    schedule = await client.schedules.set(session, "daily", ScheduleSpec(text="report", cron="0 7 * * *"))
    assert schedule.name == "daily"
    assert [one.name for one in (await client.schedules.list()).schedules] == ["daily"]
    assert (await client.schedules.delete(session, "daily")).status == "done"
    learned = await client.memory.add("user:ann", "likes tea", key="drink")
    assert [fact.id for fact in (await client.memory.list(space="user:*")).facts] == [learned.fact.id]
    assert (await client.checkpoints.make(session, "start")).label == "start"
    assert [one.label for one in (await client.checkpoints.list(session)).checkpoints] == ["start"]
    assert {setting.key for setting in (await client.configuration.get()).settings} >= {"linger"}
    assert (await client.costs.get()).shares == []
    assert "echo" in [agent.name for agent in (await client.node.agents()).agents]
    assert (await client.node.health()).status == "ok"
    assert (await client.sessions.control(session, "pause")).state == "paused"
    assert (await client.sessions.find(state="paused")).sessions[0].id == session
    await client.sessions.delete(session)
    assert (await client.sessions.find()).sessions == []


async def test_a_session_goes_out_and_comes_in_as_a_file(client):
    session = (await client.sessions.create("echo")).id
    await client.ask(session, "what is it?")
    file = await client.exchange.export(session)
    chunks = [chunk async for chunk in file.chunks]
    assert (file.report["format"], sum(map(len, chunks))) == ("roost", file.size)

    async def content() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    brought = await client.exchange.load(content(), id="copy", key="once")
    assert (brought.session.id, brought.duplicate) == ("copy", False)
    assert (await client.exchange.load(content(), id="copy", key="once")).duplicate


async def test_the_blocking_twin_does_the_same_over_a_socket_and_in_this_process(serve, tmp_path):
    served = serve(agents=[clerk(), echo()])
    await asyncio.to_thread(_blocking, SyncClient.at(served.url, token=served.token))
    async with Runtime(tmp_path / "other", agents=[clerk(), echo()]) as runtime:
        app, _ = build_app(runtime, token=None)
        transport = LoopTransport(AppTransport(app), asyncio.get_running_loop())
        await asyncio.to_thread(_blocking, SyncClient(transport))


def _blocking(client: SyncClient) -> None:
    with client:
        session = client.sessions.create("clerk").id
        answer = client.ask(session, "clear the garden", on_approval=lambda call: "approve")
        assert answer.text == "It is gone."
        items = client.stream(session)
        assert next(item.event for item in items if isinstance(item, Logged)).agent == "clerk"
        items.close()
        file = client.exchange.export(session, format="transcript")
        assert b"It is gone." in b"".join(file.chunks)
        with pytest.raises(NotFound):
            client.sessions.inspect("ses_none")
        brought = client.exchange.load(iter(list(client.exchange.export(session).chunks)), id="copy")
        assert brought.session.id == "copy"


def test_closing_a_blocking_client_ends_the_stream_that_another_thread_reads(serve):
    served = serve(agents=[echo()])
    with SyncClient.of(served.home) as client:
        session = client.sessions.create("echo").id
    reader, begun, seen = SyncClient.of(served.home), threading.Event(), []

    def read() -> None:
        for frame in reader.frames(session):
            seen.append(frame.seq)
            begun.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(30)
    reader.close()
    thread.join(30)
    assert (thread.is_alive(), seen) == (False, [1])


async def test_a_stream_goes_on_where_the_daemon_is_back(serve, tmp_path):
    served = serve(agents=[echo()], port=0)
    gaps: list[bool] = []
    async with Client.of(served.home) as client:
        session = (await client.sessions.create("echo")).id
        await client.ask(session, "one")
        head = (await client.sessions.inspect(session)).info.head
        frames = client.frames(session, deltas=False, on_gap=gaps.append)
        seen = [(await anext(frames)).seq for _ in range(head)]
        await asyncio.to_thread(served.stop)
        serve(agents=[echo()])
        async with Client.of(served.home) as other:
            await other.inputs.send(session, "two")
        seen.append((await anext(frames)).seq)
        await frames.aclose()
    assert seen == [*range(1, head + 2)]
    assert gaps == [True, False]


def _get(path: str) -> Request:
    return Request(Operation(_get, "GET", path), {}, path, {}, None, True)


async def test_a_response_that_is_closed_twice_leaves_its_connection_to_the_next(serve):
    served = serve(agents=[echo()])
    async with Client.at(served.url, token=served.token) as client:
        first = await client.transport.send(_get("/agents"))
        body = b"".join([chunk async for chunk in first.chunks()])
        second = await client.transport.send(_get("/agents"))
        first.close()
        third = await client.transport.send(_get("/sessions"))
        assert b'"sessions"' in b"".join([chunk async for chunk in third.chunks()])
        assert b"".join([chunk async for chunk in second.chunks()]) == body


def test_so_does_one_of_the_blocking_client(serve):
    served = serve(agents=[echo()])
    with SyncClient.at(served.url, token=served.token) as client:
        first = client.transport.send(_get("/agents"))
        body = b"".join(first.chunks())
        second = client.transport.send(_get("/agents"))
        first.close()
        third = client.transport.send(_get("/sessions"))
        assert b'"sessions"' in b"".join(third.chunks())
        assert b"".join(second.chunks()) == body


async def test_nobody_at_the_address_is_said_so(tmp_path):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{place.getsockname()[1]}"
    with pytest.raises(Unreachable, match="roost up"):
        await Client.at(url).node.health()
    with pytest.raises(Unreachable, match="no daemon is running"):
        SyncClient.of(tmp_path).node.health()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_response_is_read_however_it_is_cut(size):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Y:  z \r\n\r\n"
    whole = head + b"4;a=b\r\nfour\r\na\r\n0123456789\r\n0\r\n\r\n"
    reader, body = ResponseReader(), b""
    for at in range(0, len(whole), size):
        body += reader.feed(whole[at : at + size])
    assert (reader.status, body, reader.done, reader.reusable) == (200, b"four0123456789", True, True)
    assert reader.headers["x-y"] == "z"


@pytest.mark.parametrize(
    "wrong",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
    ],
)
def test_what_is_no_whole_response_is_refused(wrong):
    reader = ResponseReader()
    with pytest.raises(BadResponse):
        assert reader.feed(wrong) + reader.feed(b"") is None


def test_the_blocking_client_is_the_one_that_the_rows_make():
    subprocess.run([sys.executable, "-m", "tools.sync_client", "--check"], check=True, cwd=ROOT)


def test_a_stream_that_outlives_the_event_loop_ends() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    client = SyncClient(LoopTransport(AppTransport(lambda scope, receive, send: asyncio.sleep(0)), loop))
    assert list(client.frames("ses_1", known=True)) == []
    with pytest.raises(Unreachable, match="the client is closed"):
        client.node.health()

"""Sessions as files of Roost's own format: out of one runtime, into another, on every store."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.agent.fold import apply
from roost.agent.state import State
from roost.errors import Conflict, Invalid, NotFound, RoostError
from roost.features.exchange.files_archive import take_files
from roost.kernel.check import check
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.content import Text, ToolMessage
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.base import Tool

from .support import FAST, Traces, asleep, calling, place, running, until


def agent(answers: list[Answer | str], tools: list[Tool] | None = None) -> Agent:
    return Agent("a", model=ScriptedModel(answers), tools=tools or [], permissions="all")


async def _talk(home: Path, path: Path) -> tuple[str, list[bytes]]:
    """A session of two turns, exported: its id and its log."""
    traces = Traces()
    clerk = agent([calling("look"), "one", "two"], traces.tools())
    async with running(home, clerk) as runtime:
        session = await runtime.session("a", title="talk", labels={"k": "v"})
        assert await session.ask("first") == "one"
        assert await session.ask("second") == "two"
        await asleep(runtime, session)
        report = await runtime.exchange.write(session.id, path)
        log = [record.body for record in await runtime.sessions.history(session.id)]
        assert report.events == len(log)
        return session.id, log


async def test_what_goes_out_comes_in_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    id, log = await _talk(tmp_path / "one", file)
    lines = file.read_bytes().splitlines()
    header = json.loads(lines[0])
    assert (header["roost"], header["id"], header["title"], header["events"]) == ("session", id, "talk", len(log))
    assert lines[1:] == [b'{"seq":%d,"event":%b}' % (seq, body) for seq, body in enumerate(log, 1)]

    model = ScriptedModel(["three"])
    async with running(tmp_path / "two", Agent("other", model=model)) as runtime:
        brought = await runtime.exchange.read(file, id="ses_in", agent="other")
        assert (brought.session.id, brought.session.title, brought.session.agent) == ("ses_in", "talk", "other")
        assert brought.report.events == len(log)
        session = runtime.open("ses_in")
        view = await session.inspect()
        assert (view.turns, view.info.phase, view.info.labels) == (2, "idle", {"k": "v"})
        assert view.usage.input == 0  # it was paid there
        new = [record.body for record in await runtime.sessions.history("ses_in")]
        assert new[1 : len(log)] == log[1:]  # all positions are as they were
        assert await session.ask("third") == "three"
        (request,) = model.requests
        said = [part.text for message in request.messages for part in message.parts if isinstance(part, Text)]
        assert [word for word in said if word in ("first", "one", "second", "two", "third")] == [
            "first", "one", "second", "two", "third",
        ]  # fmt: skip
        assert any(isinstance(message, ToolMessage) for message in request.messages)
        await asleep(runtime, session)
        checked = await check(place.url or tmp_path / "two" / "roost.db")
        assert checked.faults == []


async def test_whose_it_is_is_not_for_the_file_to_say(tmp_path: Path) -> None:
    """Nor for a label further down in it: memory and other agents go by the label."""
    file = tmp_path / "talk.jsonl"
    async with running(tmp_path / "one", agent(["one"])) as runtime:
        session = await runtime.session("a", labels={"user": "ann", "k": "v"})
        assert await session.ask("first") == "one"
        await runtime.exchange.write(session.id, file)
    async with running(tmp_path / "two", agent(["two"])) as runtime:
        brought = await runtime.exchange.read(file, agent="a", key="x")
        assert (brought.session.labels, brought.report.left_out) == ({"k": "v"}, {"label user": 1})
        created = (await runtime.sessions.history(brought.session.id))[0].event
        assert isinstance(created, ev.SessionCreated)
        assert created.labels == {"k": "v"}
        named = await runtime.exchange.read(file, agent="a", user="bob")
        assert (named.session.labels, named.report.left_out) == ({"k": "v", "user": "bob"}, {})
        with pytest.raises(Conflict, match="the user None and not 'bob'"):
            await runtime.exchange.read(file, agent="a", user="bob", key="x")


async def test_a_file_brings_its_own_definition(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    async with running(tmp_path / "one", Agent("clerk", instructions="Be a clerk.", tools=["read_file"])) as runtime:
        info = await runtime.sessions.create("clerk")
        await runtime.exchange.write(info.id, file)
    async with running(tmp_path / "two") as runtime:
        brought = await runtime.exchange.read(file)
        assert brought.session.agent == "clerk"
        created = (await runtime.sessions.history(brought.session.id))[0].event
        assert isinstance(created, ev.SessionCreated)
        assert b"Be a clerk." in bytes(created.spec)


async def test_what_was_running_is_over_and_runs_not_again(tmp_path: Path) -> None:
    file, traces = tmp_path / "talk.jsonl", Traces()
    async with running(tmp_path / "one", agent([calling("safe", "look")], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        await runtime.sessions.set_timer(session.id, "t", 4e9, "wake")
        await traces.started.wait()
        await until(session, ev.TimerSet)
        await runtime.exchange.write(session.id, file)
        traces.gate.set()
        await until(session, ev.TurnCompleted)
    before = list(traces.began)
    clerk = agent(["again"], traces.tools())
    async with running(tmp_path / "two", clerk) as runtime:
        brought = await runtime.exchange.read(file, agent="a")
        session = runtime.open(brought.session.id)
        outcomes: list[str] = []
        async with asyncio.timeout(30):
            while len(outcomes) < 2:
                await asyncio.sleep(0.02)
                log = [record.event for record in await runtime.sessions.history(session.id)]
                outcomes = [event.outcome for event in log if isinstance(event, ev.ToolCompleted)]
        await asleep(runtime, session)
        assert "interrupted" in outcomes
        assert len(outcomes) == 2
        assert traces.began == before
        view = await session.inspect()
        assert (view.info.state, view.info.phase, dict(view.timers)) == ("running", "idle", {})
        assert await session.ask("and now?") == "again"


async def test_once_for_a_key_and_not_over_another(tmp_path: Path) -> None:
    file, other = tmp_path / "talk.jsonl", tmp_path / "other.jsonl"
    await _talk(tmp_path / "one", file)
    other.write_bytes(file.read_bytes().replace(b"second", b"zweite"))
    async with running(tmp_path / "two", agent(["x"])) as runtime:
        both = await asyncio.gather(*(runtime.exchange.read(file, agent="a", key="k") for _ in range(2)))
        first = both[0].session.id
        assert {one.session.id for one in both} == {first}
        again = await runtime.exchange.read(file, agent="a", key="k")
        assert (again.session.id, again.duplicate) == (first, True)
        assert (await runtime.exchange.read(file, title="talk", key="k")).duplicate  # as the file says itself
        assert (await runtime.exchange.read(file, title="", key="k")).duplicate
        for given in ({"agent": "b"}, {"title": "other"}, {"workspace": str(tmp_path)}):
            with pytest.raises(Conflict, match=f"the {next(iter(given))} .* and not") as refused:
                await runtime.exchange.read(file, key="k", **given)
            assert refused.value.code == "idempotency_mismatch"
        with pytest.raises(Conflict) as refused:
            await runtime.exchange.read(other, agent="a", key="k")
        assert refused.value.code == "idempotency_mismatch"
        with pytest.raises(Conflict) as refused:
            await runtime.exchange.read(other, agent="a", id=first)
        assert refused.value.code == "session_exists"
        assert (await runtime.exchange.read(file, agent="a")).session.id != first


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_is_wrong_is_named_by_its_line_and_leaves_nothing(tmp_path: Path) -> None:
    file, wrong = tmp_path / "talk.jsonl", tmp_path / "wrong.jsonl"
    await _talk(tmp_path / "one", file)
    lines = file.read_bytes().splitlines(keepends=True)
    cases: list[tuple[list[bytes], str]] = [
        ([], "the file is empty"),
        (lines[:-1], "cut off"),
        ([*lines[:-1], lines[-1][:20]], f"line {len(lines)}, the last one, is cut off in the middle"),
        ([lines[0][:20]], "line 1, the last one, is cut off in the middle"),
        ([lines[0].replace(b'"id":', b'"no":'), *lines[1:]], "line 1: the field `id` is missing"),
        (
            [lines[0].replace(b'"events":', b'"events":"x","no":'), *lines[1:]],
            "line 1: `events` is text, where a whole",
        ),
        ([*lines[:3], *lines[4:]], "line 4 is event 4, where event 3 follows"),
        ([*lines[:3], b'{"seq":3,"event":{"type":"mystery","at":1}}\n', *lines[4:]], "of the kind 'mystery', which"),
        (
            [*lines[:3], b"nonsense\n", *lines[4:]],
            "line 4 is not JSON from character 1 on: 'nonsense'. Expected is an ev",
        ),
        ([*lines[:3], lines[3][:20] + b"\n", *lines[4:]], "line 4 is not JSON: it ends before it is whole"),
        ([*lines[:3], b'["x"]\n', *lines[4:]], "line 4 is a list, and not an object. Expected is an event, {"),
        ([*lines[:3], b"\xff\xfe\n", *lines[4:]], "line 4 is not text in UTF-8"),
        ([*lines[:3], b'{"event":{}}\n', *lines[4:]], "line 4: the field `seq` is missing. Expected is an event, {"),
        ([*lines[:3], b'{"seq":3,"event":{"at":1}}\n', *lines[4:]], "line 4: the field `type` is missing"),
        (
            [*lines[:3], b'{"seq":3,"event":{"type":"turn.started","turn":"x"}}\n'],
            "line 4: `turn` is text, where a whole",
        ),
        (
            [*lines[:3], b'{"seq":3,"event":{"type":"turn.started"}}\n'],
            "is missing. Expected is the event 'turn.started' as",
        ),
        ([*lines[:3], b'{"seq":3,"event":{"type":"turn.started","at":NaN}}\n'], "line 4 is not JSON: it has NaN"),
        ([lines[0].replace(b'"format":', b'"format":9'), *lines[1:]], "a newer Roost wrote this"),
        ([lines[0], *lines[2:]], "line 2 is event 2, where event 1 follows"),
        ([*lines, b'{"checkpoint":{"seq":999,"made_at":1,"cause":"manual"}}\n'], "a checkpoint is of an event"),
        ([*lines, b'{"checkpoint":{"seq":1,"cause":"manual"}}\n'], "the field `checkpoint.made_at` is missing"),
        ([b"plain text\n"], "line 1 is not JSON from character 1 on: 'plain text'. Expected is one JSON object a line"),
        ([b"{\n", b'"roost": "session"\n'], "line 1 is not a whole object: the file is one JSON text over many lines"),
        ([b"\x1f\x8b\x08\x00\n"], "line 1 is packed: unpack the file"),
        ([b'{"talk":1,"more":2}\n'], "line 1 has the fields 'talk', 'more'. Roost's begin with"),
        ([b"[" * 100_000 + b"\n"], "line 1 is nested too deeply"),
    ]
    async with running(tmp_path / "two", agent(["x"])) as runtime:
        for content, words in cases:
            wrong.write_bytes(b"".join(content))
            with pytest.raises(Invalid) as refused:
                await runtime.exchange.read(wrong, agent="a", id="ses_wrong")
            assert words in str(refused.value), words
            assert "msgspec" not in str(refused.value)
        with pytest.raises(RoostError):
            await runtime.sessions.get("ses_wrong")
        assert (await runtime.exchange.read(file, agent="a", id="ses_wrong")).session.id == "ses_wrong"


async def test_cut_off_there_is_nothing_and_the_next_try_takes_its_place(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    await _talk(tmp_path / "one", file)
    lines = file.read_bytes().splitlines(keepends=True)
    count = len(lines) - 1
    more = b'{"seq":%d,"event":{"type":"emitted","name":"x","data":"' + b"y" * 500 + b'","at":2.0}}\n'
    header = lines[0].replace(b'"events":%d' % count, b'"events":4999')
    file.write_bytes(b"".join([header, *lines[1:], *(more % number for number in range(count + 1, 5000))]))
    async with running(tmp_path / "two", agent(["x"])) as runtime:
        for moment in (0.02, 0.15, 0.3):
            task = asyncio.create_task(runtime.exchange.read(file, id="ses_cut", agent="a", key="k"))
            await asyncio.sleep(moment)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                break
            with pytest.raises(RoostError):
                await runtime.sessions.get("ses_cut")
        brought = await runtime.exchange.read(file, id="ses_cut", agent="a", key="k")
        assert brought.session.head > 4999
        session = runtime.open("ses_cut")
        assert await session.ask("go on") == "x"
        await asleep(runtime, session)
        assert (await check(place.url or tmp_path / "two" / "roost.db")).faults == []


async def test_rollbacks_and_checkpoints_keep_their_positions(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    async with running(tmp_path / "one", agent(["one", "two", "three"])) as runtime:
        session = await runtime.session("a")
        await session.ask("first")
        made = await runtime.checkpoints.make(session.id, label="good")
        await session.ask("second")
        await runtime.checkpoints.rollback(session.id, "good")
        await session.ask("third")
        await asleep(runtime, session)
        there = [str(message.parts) for message in await runtime.sessions.transcript(session.id)]
        await runtime.exchange.write(session.id, file)
    async with running(tmp_path / "two", agent(["four", "five"])) as runtime:
        brought = await runtime.exchange.read(file, agent="a")
        here = [str(message.parts) for message in await runtime.sessions.transcript(brought.session.id)]
        assert here == there
        assert not any("second" in text for text in here)
        kept = (await runtime.checkpoints.list(brought.session.id)).checkpoints
        assert ("good", made.seq) in [(one.label, one.seq) for one in kept]
        session = runtime.open(brought.session.id)
        assert await session.ask("fourth") == "four"
        await runtime.checkpoints.rollback(session.id, "good")
        await asleep(runtime, session)
        assert len(await runtime.sessions.transcript(session.id)) == 2
        journal = runtime.node.store
        assert (await load_state(journal, session.id)).tainted == "import"  # also where it was not in the log yet
        fork = await runtime.checkpoints.fork(session.id, made.seq)
        assert (await load_state(journal, fork.id)).tainted == "import"


def test_a_session_that_was_brought_in_folds_from_any_state() -> None:
    """Total, as all of the fold."""
    state = State()
    apply(state, ev.SessionImported(at=1.0, source="x"))
    assert (state.seq, state.phase) == (1, "idle")


async def test_what_a_person_allowed_there_is_asked_about_here(tmp_path: Path) -> None:
    """A file of a session may be anybody's."""
    file = tmp_path / "talk.jsonl"
    clerk = Agent(
        "a",
        model=ScriptedModel([calling("shell", command="python3 -m this"), "one"]),
        tools=["shell"],
        permissions="ask",
    )
    async with running(tmp_path / "one", clerk) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        await session.approve(asked.call, always=asked.prefixes)
        assert await session.answer(accepted.id) == "one"
        await asleep(runtime, session)
        assert (await load_state(runtime.node.store, session.id)).grants == ["python3 -m this"]
        await runtime.exchange.write(session.id, file)
    async with running(tmp_path / "two", clerk) as runtime:
        brought = await runtime.exchange.read(file, agent="a")
        assert (await load_state(runtime.node.store, brought.session.id)).grants == []


@pytest.mark.parametrize("shared", [False, True], ids=["home", "shared"])
async def test_files_go_out_as_a_tar(tmp_path: Path, shared: bool) -> None:
    """Of the newest snapshot, where nodes share them: the folder may be one that the session has left."""
    write = Answer(calls=(Call("write_file", {"path": "dir/a.txt", "content": "kept"}),))
    clerk = Agent("a", model=ScriptedModel([write, "done"]), tools=["write_file"], permissions="all")
    (tmp_path / "objects").mkdir()
    snapshots = f"file://{tmp_path}/objects" if shared else None
    runtime = Runtime(tmp_path / "home", agents=[clerk], config=FAST, store=place.url, snapshots=snapshots)
    async with runtime:
        empty = await runtime.session("a")
        with pytest.raises(NotFound, match="has no files"):
            await take_files(runtime.node, empty.id, tmp_path / "none.tar")
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        await asleep(runtime, session)
        if shared:
            (runtime.node.resources.private(session.id) / "dir" / "a.txt").write_text("left behind")
        assert await take_files(runtime.node, session.id, tmp_path / "files.tar") == 1
    with tarfile.open(tmp_path / "files.tar") as tar:
        assert tar.getnames() == ["dir", "dir/a.txt"]
        assert (tar.extractfile("dir/a.txt") or pytest.fail("no file")).read() == b"kept"

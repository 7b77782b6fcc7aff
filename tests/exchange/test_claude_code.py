"""Session logs of Claude Code: in, out again, and through Roost to Codex."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from roost.errors import Invalid
from roost.features.compaction.events import ContextCompacted
from roost.log import events as ev
from roost.log.content import AssistantMessage, Image, Text, Thinking, ToolMessage, UserMessage

from .claude_log import FOLDER, SESSION, ClaudeLog, said_in
from .conftest import House, lines_of, write

LINKS = ("parentUuid", "logicalParentUuid", "leafUuid")


def _user(uuid: str | None, parent: str | None, content: Any, **more: Any) -> dict[str, Any]:
    line = {"type": "user", "parentUuid": parent, "message": {"role": "user", "content": content}, "sessionId": "s"}
    return line | ({"uuid": uuid} if uuid else {}) | more


def _answer(uuid: str, parent: str | None, *blocks: dict[str, Any], id: str = "msg_1", **more: Any) -> dict[str, Any]:
    message = {"id": id, "role": "assistant", "model": "claude-opus-5", "content": list(blocks)}
    return {"type": "assistant", "uuid": uuid, "parentUuid": parent, "message": message, "sessionId": "s", **more}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _use(id: str, name: str = "Bash") -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": {}}


def _used(id: str, content: Any = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content}


async def test_thousands_of_lines_there_and_back(house: House, tmp_path: Path) -> None:
    log = ClaudeLog().session(150)
    assert len(log.lines) > 2500
    lines, brought, report = await house.through(log.write(tmp_path / "claude.jsonl"), "claude-code")

    conversation = [line for line in lines if not _is_aside(line, log.aside)]
    assert said_in(conversation) == log.said
    aside = [{name: value for name, value in line.items() if name not in LINKS} for line in lines]
    for line in log.aside:  # what only Claude Code can say came back as it was, but for its links
        assert {name: value for name, value in line.items() if name not in LINKS} in aside
    assert sum(brought.report.kept.values()) == len(log.aside) + 1
    assert brought.report.kept["progress"] > 100
    assert brought.report.kept["sidechain user"] == brought.report.kept["sidechain assistant"] > 10
    assert set(brought.report.left_out) == {"toolUseResult: the same results in another form"}
    assert report.left_out == {"session.tainted": 1}
    _is_a_log(lines)

    view = await house.runtime.sessions.inspect(brought.session.id)
    assert view.info.title == "Tidy the parser"
    assert view.turns == 150
    usage = [line["message"]["usage"] for line in conversation if line["type"] == "assistant"]
    assert len(usage) == len([line for line in log.lines if line.get("type") == "assistant" and line not in log.aside])
    assert _usage(lines) == log.usage


async def test_a_second_trip_changes_nothing(house: House, tmp_path: Path) -> None:
    log = ClaudeLog(7).session(45)
    first, brought, _ = await house.through(log.write(tmp_path / "claude.jsonl"), "claude-code")
    again = write(tmp_path / "again.jsonl", first)
    second, twice, _ = await house.through(again, "claude-code")
    assert said_in(second) == said_in(first)
    one, two = [await house.runtime.sessions.transcript(x.session.id) for x in (brought, twice)]
    assert one == two


async def test_it_goes_on_with_all_that_was_said(house: House, tmp_path: Path) -> None:
    log = ClaudeLog(3).session(6)
    brought = await house.runtime.exchange.read(log.write(tmp_path / "claude.jsonl"))
    session = house.runtime.open(brought.session.id)
    assert await session.ask("go on") == "I go on."
    (request,) = house.model.requests
    calls = [call.id for message in request.messages if isinstance(message, AssistantMessage) for call in message.calls]
    results = [message.call for message in request.messages if isinstance(message, ToolMessage)]
    assert calls == results
    assert len(set(calls)) == len(calls) > 5
    thoughts = [part for message in request.messages for part in message.parts if isinstance(part, Thinking)]
    assert {part.origin for part in thoughts} == {"claude-code"}  # no provider is sent what it may not have signed
    target = tmp_path / "after.jsonl"
    await house.runtime.exchange.write(session.id, target, format="claude-code")
    assert [block["text"] for _, block in said_in(lines_of(target))[-2:]] == ["go on", "I go on."]
    assert (await session.inspect()).info.state == "running"


async def test_through_to_codex_and_back(house: House, tmp_path: Path) -> None:
    log = ClaudeLog(5).session(40)
    rollout, _, report = await house.through(log.write(tmp_path / "claude.jsonl"), "codex")
    assert report.left_out["reasoning that OpenAI has not signed"] == 40
    assert report.left_out["emitted"] == len(log.aside) + 1  # what only Claude Code can say
    other = write(tmp_path / "rollout.jsonl", rollout)
    lines, _, _ = await house.through(other, "claude-code")
    ours = [(role, block) for role, block in said_in(lines) if role == "assistant"]
    theirs = [
        (role, block)
        for role, block in log.said
        if role == "assistant" and block["type"] != "thinking"
    ]  # fmt: skip
    assert ours == theirs


async def test_branches_sidechains_and_parallel_calls(house: House, tmp_path: Path) -> None:
    lines = [
        _user("u1", None, "hello"),
        _answer("a0", "u1", _text("the old branch"), id="msg_0"),
        _answer("a1", "u1", _text("both"), _use("t1")),
        _answer("a2", "a1", _use("t2")),
        _user("r1", "a1", [_used("t1", "one")]),
        _answer("s1", None, _text("a sub-agent"), id="msg_s", isSidechain=True),
        _user("r2", "a2", [_used("t2", [_text("two")])], toolUseResult={"x": 1}),
        _answer("a3", "r2", _text("done"), id="msg_2"),
        _answer("a4", "a3", _text("API Error"), id="msg_3", isApiErrorMessage=True),
    ]
    brought = await house.runtime.exchange.read(write(tmp_path / "x.jsonl", lines))
    hello, both, one, two, done = await house.runtime.sessions.transcript(brought.session.id)
    assert isinstance(hello, UserMessage)
    assert isinstance(both, AssistantMessage)
    assert [call.id for call in both.calls] == ["t1", "t2"]
    assert isinstance(one, ToolMessage)
    assert isinstance(two, ToolMessage)
    assert (one.parts, two.parts) == ((Text("one"),), (Text("two"),))
    assert isinstance(done, AssistantMessage)
    assert done.text == "done"
    assert brought.report.kept == {"about": 1, "assistant": 2, "sidechain assistant": 1}


async def test_lines_without_parents_are_all_the_conversation(house: House, tmp_path: Path) -> None:
    lines = [
        _user("u1", None, "hello"),
        _answer("a1", None, _text("both"), _use("t1")),
        _user("r1", None, [_used("t1", "one")]),
        _answer("s1", None, _text("a sub-agent"), id="msg_s", isSidechain=True),
        _answer("a2", None, _text("done"), id="msg_2"),
        _user("u2", None, "and now?"),
        _answer("a3", None, _text("nothing"), id="msg_3"),
    ]
    brought = await house.runtime.exchange.read(write(tmp_path / "x.jsonl", lines))
    found = await house.runtime.sessions.transcript(brought.session.id)
    assert [type(one) for one in found] == [
        UserMessage,
        AssistantMessage,
        ToolMessage,
        AssistantMessage,
        UserMessage,
        AssistantMessage,
    ]
    assert [one.text for one in found if isinstance(one, AssistantMessage)] == ["both", "done", "nothing"]


async def test_what_ends_in_the_middle(house: House, tmp_path: Path) -> None:
    """A crash of Claude Code: calls without results, a line half written, ids used twice, no beginning."""
    path = write(
        tmp_path / "x.jsonl",
        [
            _answer("a1", "gone", _text("I was asked something"), _use("t1")),
            _user("r1", "a1", [_used("t1"), _used("t9")]),
            _answer("a2", "r1", _use("t1"), _use(""), {"type": "server_tool_use", "id": "x"}, id="msg_2"),
        ],
    )
    with path.open("ab") as file:
        file.write(b'{"type":"user","uuid":"u9","message":{"ro')
    brought = await house.runtime.exchange.read(path)
    log = [record.event for record in await house.runtime.sessions.history(brought.session.id)]
    outcomes = [(event.call, event.outcome) for event in log if isinstance(event, ev.ToolCompleted)]
    assert outcomes == [("t1", "ok"), ("t1-2", "interrupted"), ("call-2", "interrupted")]
    assert brought.report.left_out == {
        "an answer to nothing: a stand-in for the beginning was put in": 1,
        "results of no call, or of one that has a result": 1,
        "block server_tool_use": 1,
        "ids of calls that were used before: they got others": 2,
        "a last line that is cut off": 1,
    }
    assert await house.runtime.open(brought.session.id).ask("and?") == "I go on."


async def test_a_compaction_leaves_the_summary_in_the_context(house: House, tmp_path: Path) -> None:
    boundary = {
        "type": "system", "subtype": "compact_boundary", "uuid": "c1", "parentUuid": None, "logicalParentUuid": "a1",
        "compactMetadata": {"trigger": "manual", "preTokens": 900, "postTokens": 90},
    }  # fmt: skip
    lines = [
        _user("u1", None, "long ago"),
        _answer("a1", "u1", _text("indeed")),
        boundary,
        _user("u2", "c1", [_text("what was")], isCompactSummary=True),
        _user("u3", "u2", "now"),
    ]
    brought = await house.runtime.exchange.read(write(tmp_path / "x.jsonl", lines))
    said = str(await house.runtime.sessions.transcript(brought.session.id))
    assert "what was" in said
    assert "long ago" not in said
    assert "now" in said
    (event,) = [
        record.event
        for record in await house.runtime.sessions.history(brought.session.id)
        if isinstance(record.event, ContextCompacted)
    ]
    assert (event.before, event.after) == (900, 90)


async def test_what_it_has_cost_was_paid_elsewhere(house: House, tmp_path: Path) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 1))
    answer = _answer("a1", "u1", _text("done"), timestamp=stamp)
    answer["message"]["usage"] = {"input_tokens": 1000, "output_tokens": 10, "cache_read_input_tokens": 500}
    path = write(tmp_path / "x.jsonl", [_user("u1", None, "hello", timestamp=stamp), answer])
    brought = await house.runtime.exchange.read(path)
    log = [record.event for record in await house.runtime.sessions.history(brought.session.id)]
    (usage,) = [event.usage for event in log if isinstance(event, ev.ModelCompleted)]
    assert (usage.input, usage.cached, usage.output, usage.cost) == (1500, 500, 10, None)
    view = await house.runtime.sessions.inspect(brought.session.id)
    assert (view.usage.input, view.usage.cost) == (0, 0)
    assert (await house.runtime.costs.get(by="session")).rows == []
    await house.runtime.open(brought.session.id).ask("more")
    (row,) = (await house.runtime.costs.get(by="session")).rows
    assert (row.name, row.calls) == (brought.session.id, 1)


async def test_pictures_and_strange_shapes(house: House, tmp_path: Path) -> None:
    wrong = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%%%"}}
    page = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}, "title": "a.pdf"}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    lines: list[dict[str, Any]] = [
        {"type": "future-record", "payload": {"big": 2**80, "half": "\ud83d"}, "sessionId": "s"},
        _user("u1", None, [by_url, page, wrong, "nonsense", 7]),
        _answer("a1", "u1", _text("half \ud83d a sign")),
        {"type": "user", "uuid": 5, "parentUuid": [], "message": "no object", "sessionId": "s", "timestamp": "never"},
    ]
    lines_back, brought, _ = await house.through(write(tmp_path / "x.jsonl", lines), "claude-code")
    first, *_ = await house.runtime.sessions.transcript(brought.session.id)
    assert [type(part).__name__ for part in first.parts] == ["Image", "File"]
    assert isinstance(first.parts[0], Image)
    assert brought.report.left_out == {"block image": 1}
    assert lines_back[0]["type"] == "future-record"
    assert "half ? a sign" in json.dumps(lines_back)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{"type":"user","uuid":"u","message":{"content":"x"}}\nnot json\n{"type":"user","uuid":"v"}\n',
            "line 2 is not",
        ),
        (b'{"type":"user","uuid":"u","message":{"content":"x"}}\n[1]\n', "line 2 is a list, and not an object"),
        (b'{"type":"summary","summary":"x","leafUuid":"l"}\n', "no conversation"),
        (b'{"type":"user","sessionId":"s","message":{"content":NaN}}\n', "this is no session"),
    ],
)
async def test_what_is_wrong_is_named(house: House, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        await house.runtime.exchange.read(path)
    assert words in str(refused.value)


def _is_a_log(lines: list[dict[str, Any]]) -> None:
    """As Claude Code wants one to go on with: one chain from the newest line back, every link leads to a line."""
    known: dict[str, dict[str, Any]] = {}
    for line in lines:
        for link in ("parentUuid", "logicalParentUuid", "leafUuid"):
            assert line.get(link) is None or line[link] in known, line
        if "uuid" in line:
            assert line["uuid"] not in known
            known[line["uuid"]] = line
            assert (line["sessionId"], line["cwd"], line["version"]) == (SESSION, FOLDER, "2.1.259")
    results: set[str] = set()
    newest = [line for line in lines if line.get("type") in ("user", "assistant") and not line.get("isSidechain")][-1]
    place: dict[str, Any] | None = newest
    answers = users = 0
    while place is not None:
        if place["type"] == "user" and isinstance(place["message"]["content"], list):
            results |= {block["tool_use_id"] for block in place["message"]["content"] if block["type"] == "tool_result"}
        if place["type"] == "assistant":
            answers += 1
            for block in place["message"]["content"]:
                assert block["type"] != "tool_use" or block["id"] in results
        users += place["type"] == "user"
        place = known.get(place.get("parentUuid") or place.get("logicalParentUuid") or "")
    assert answers > 300
    assert users > 300


def _is_aside(line: dict[str, Any], aside: list[dict[str, Any]]) -> bool:
    return any(line.get("uuid") == one.get("uuid") and line["type"] == one["type"] for one in aside)


def _usage(lines: list[dict[str, Any]]) -> dict[str, int]:
    found, seen = {"input": 0, "output": 0}, set[str]()
    for line in lines:
        message = line.get("message", {})
        if line.get("type") == "assistant" and message.get("usage") and message["id"] not in seen:
            seen.add(message["id"])
            found["input"] += sum(value for name, value in message["usage"].items() if "input" in name)
            found["output"] += message["usage"]["output_tokens"]
    return found

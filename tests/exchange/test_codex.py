"""Session logs of Codex: in, out again, and through Roost to Claude Code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.errors import Invalid
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, Thinking, ToolMessage

from .claude_log import said_in
from .codex_log import SESSION, CodexLog, items_in
from .conftest import House, write


def _line(kind: str, **payload: Any) -> dict[str, Any]:
    return {"timestamp": "2026-09-21T14:13:20.000Z", "type": kind, "payload": payload}


def _item(**payload: Any) -> dict[str, Any]:
    return _line("response_item", **payload)


def _said(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return _item(type="message", role=role, content=[{"type": kind, "text": text}])


META = _line("session_meta", id="s1", cwd="/w", cli_version="0.149.0", model_provider="openai")


@pytest.mark.long
async def test_thousands_of_lines_there_and_back(house: House, tmp_path: Path) -> None:
    log = CodexLog().session(150)
    assert len(log.lines) > 4000
    lines, brought, report = await house.through(log.write(tmp_path / "rollout.jsonl"), "codex")
    assert items_in(lines, log.aside) == log.items
    for line in log.aside:
        assert line in lines
    counts = [line["payload"]["info"]["last_token_usage"] for line in lines if _is_count(line)]
    assert [{**last, "cache_write_input_tokens": 0} for last in _counts(log.lines)] == counts
    total = [line["payload"]["info"]["total_token_usage"] for line in lines if _is_count(line)][-1]
    assert {name: total[name] for name in log.total} == log.total
    assert brought.report.mirrors > 500
    assert brought.report.left_out == {}
    assert report.left_out == {"session.tainted": 1}
    assert lines[0]["payload"]["id"] == SESSION
    mirrored = [line["payload"]["type"] for line in lines if line["type"] == "event_msg"]
    theirs = [line["payload"]["type"] for line in log.lines if line["type"] == "event_msg"]
    assert sorted(mirrored) == sorted(theirs)


async def test_a_second_trip_changes_nothing(house: House, tmp_path: Path) -> None:
    log = CodexLog(7).session(45)
    first, brought, _ = await house.through(log.write(tmp_path / "rollout.jsonl"), "codex")
    second, twice, _ = await house.through(write(tmp_path / "again.jsonl", first), "codex")
    assert second == first
    one, two = [await house.runtime.sessions.transcript(x.session.id) for x in (brought, twice)]
    assert one == two


async def test_it_goes_on_with_all_that_was_said(house: House, tmp_path: Path) -> None:
    brought = await house.runtime.exchange.read(CodexLog(3).session(12).write(tmp_path / "rollout.jsonl"))
    assert await house.runtime.open(brought.session.id).ask("go on") == "I go on."
    (request,) = house.model.requests
    calls = [call.id for message in request.messages if isinstance(message, AssistantMessage) for call in message.calls]
    assert calls == [message.call for message in request.messages if isinstance(message, ToolMessage)]
    assert len(calls) > 10
    texts = str(request.messages)
    assert "never mind 11" not in texts  # the user had taken it back
    assert "environment_context" not in texts
    thoughts = [part for message in request.messages for part in message.parts if isinstance(part, Thinking)]
    assert {part.origin for part in thoughts} == {"codex"}


async def test_through_to_claude_code_and_back(house: House, tmp_path: Path) -> None:
    log = CodexLog(5).session(30)
    session, _, report = await house.through(log.write(tmp_path / "rollout.jsonl"), "claude-code")
    assert report.left_out["reasoning that Anthropic has not signed"] > 30
    lines, _, back = await house.through(write(tmp_path / "session.jsonl", session), "codex")
    theirs = [item for item in log.items if item["type"] == "message"]
    ours = [item for item in items_in(lines, []) if item["type"] == "message"]
    assert ours == theirs
    assert lines[0]["type"] == "session_meta"
    assert lines[0]["payload"]["model_provider"] == "openai"
    names = [block["name"] for role, block in said_in(session) if block["type"] == "tool_use"]
    assert {"apply_patch", "local_shell", "web_search", "view_image", "exec_command"} == set(names)
    assert "session.tainted" in back.left_out


async def test_what_ends_in_the_middle(house: House, tmp_path: Path) -> None:
    lines = [
        META,
        _said("user", "go"),
        _item(type="function_call", name="exec_command", arguments="{", call_id="c1"),
        _item(type="function_call", name="exec_command", arguments="{}", call_id="c2"),
        _item(type="function_call_output", call_id="c1", output={"content": "no", "success": False}),
        _item(type="function_call_output", call_id="c0", output="whose?"),
        _line("event_msg", type="agent_message", message="only shown"),
        _line("event_msg", type="turn_aborted", reason="interrupted"),
        _line("world_state", full=True, state={}),
    ]
    brought = await house.runtime.exchange.read(write(tmp_path / "x.jsonl", lines))
    log = [record.event for record in await house.runtime.sessions.history(brought.session.id)]
    outcomes = [(event.call, event.outcome) for event in log if isinstance(event, ev.ToolCompleted)]
    assert outcomes == [("c1", "error"), ("c2", "interrupted")]
    assert brought.report.left_out == {"results of no call, or of one that has a result": 1}
    assert brought.report.kept == {
        "session_meta": 1, "event_msg/agent_message": 1, "event_msg/turn_aborted": 1, "world_state": 1,
    }  # fmt: skip
    assert await house.runtime.open(brought.session.id).ask("and?") == "I go on."


async def test_a_sealed_compaction_keeps_what_can_be_read(house: House, tmp_path: Path) -> None:
    history = [_said("user", "the task")["payload"], {"type": "compaction", "encrypted_content": "gAAA"}]
    lines = [
        META,
        _said("user", "the task"),
        _said("assistant", "long talk"),
        _line("compacted", message="", replacement_history=history),
        _said("user", "next"),
    ]
    out, brought, _ = await house.through(write(tmp_path / "x.jsonl", lines), "codex")
    said = str(await house.runtime.sessions.transcript(brought.session.id))
    assert "the task" in said
    assert "next" in said
    (compacted,) = [line["payload"] for line in out if line["type"] == "compacted"]
    assert compacted == {"message": "", "replacement_history": history}


async def test_a_session_of_roost_becomes_a_log_of_both(house: House, tmp_path: Path) -> None:
    session = await house.runtime.session("assistant")
    await session.ask("hello")
    for format in ("claude-code", "codex"):
        target = tmp_path / f"{format}.jsonl"
        await house.runtime.exchange.write(session.id, target, format=format)  # type: ignore[arg-type]
        brought = await house.runtime.exchange.read(target)
        assert brought.report.format == format
        messages = await house.runtime.sessions.transcript(brought.session.id)
        assert [message.parts for message in messages] == [(Text("hello"),), (Text("I go on."),)]
    await house.runtime.exchange.write(session.id, tmp_path / "x.md", format="transcript")
    text = (tmp_path / "x.md").read_text()
    assert text.index("hello") < text.index("I go on.")


@pytest.mark.parametrize(
    ("lines", "words"),
    [([META], "no conversation"), ([_line("event_msg", type="x")], "no conversation")],
)
async def test_what_is_wrong_is_named(house: House, tmp_path: Path, lines: list[Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await house.runtime.exchange.read(write(tmp_path / "x.jsonl", lines))


def _is_count(line: dict[str, Any]) -> bool:
    return line["type"] == "event_msg" and line["payload"]["type"] == "token_count"


def _counts(lines: list[dict[str, Any]]) -> list[dict[str, int]]:
    return [line["payload"]["info"]["last_token_usage"] for line in lines if _is_count(line)]

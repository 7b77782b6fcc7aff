"""Logs that something has gone through: they come in as far as they can be read, or are refused, and never more."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from roost.errors import Invalid, RoostError, TooLarge
from roost.features.exchange.conversation_items import LINE_BYTES
from roost.log.content import AssistantMessage, ToolMessage, UserMessage

from .claude_log import ClaudeLog
from .codex_log import CodexLog
from .conftest import House

JUNK: list[Any] = [None, True, -1, 2**70, 1.5, "", "x\x00\ud800", [], [[]], {}, {"type": "text"}, ["text", 3, None]]


def _spoilt(value: Any, dice: random.Random) -> Any:
    """The same with a few places replaced, gone, or doubled."""
    if dice.random() < 0.02:
        return dice.choice(JUNK)
    if isinstance(value, dict):
        return {key: _spoilt(one, dice) for key, one in value.items() if dice.random() > 0.01}
    if isinstance(value, list):
        found = [_spoilt(one, dice) for one in value]
        return found * 2 if dice.random() < 0.02 else found
    return value


@pytest.mark.long
@pytest.mark.parametrize("kind", ["claude-code", "codex"])
async def test_whatever_is_in_a_line(house: House, tmp_path: Path, kind: Any) -> None:
    came = 0
    for seed in range(16):
        dice = random.Random(seed)
        log: Any = ClaudeLog(seed).session(14) if kind == "claude-code" else CodexLog(seed).session(14)
        lines = [{name: _spoilt(value, dice) for name, value in line.items()} for line in log.lines]
        for _ in range(dice.randint(0, 4)):
            dice.shuffle(lines) if dice.random() < 0.1 else lines.insert(dice.randrange(len(lines)), dice.choice(lines))
        path = tmp_path / f"{seed}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            brought = await house.runtime.exchange.read(path, format=kind)
        except RoostError:
            continue
        came += 1
        messages = await house.runtime.sessions.transcript(brought.session.id)
        _is_accepted(messages)
        for out in ("roost", "claude-code", "codex", "transcript"):
            target = tmp_path / f"{seed}.{out}"
            await house.runtime.exchange.write(brought.session.id, target, format=out)  # type: ignore[arg-type]
            if out != "transcript":
                again = await house.runtime.exchange.read(target)
                _is_accepted(await house.runtime.sessions.transcript(again.session.id))
    assert came > 5


async def test_a_line_without_end(house: House, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as file:
        file.write(b'{"type":"user","uuid":"u","message":{"content":"')
        for _ in range(LINE_BYTES // 1_000_000 + 1):
            file.write(b"x" * 1_000_000)
        file.write(b'"}}\n')
    with pytest.raises(TooLarge, match="line 1 has more than"):
        await house.runtime.exchange.read(path)


async def test_a_line_without_bottom(house: House, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    first = '{"type":"user","uuid":"u","message":{"content":"x"}}\n'
    path.write_text(first + '{"type":"user","x":' + "[" * 200_000 + "]" * 200_000 + "}\n")
    with pytest.raises(Invalid, match="line 2 is nested too deeply"):
        await house.runtime.exchange.read(path)
    session = await house.runtime.session("assistant")
    await house.runtime.exchange.write(session.id, path)
    lines = path.read_text().splitlines()
    deep = '"x":' + "[" * 200_000 + "]" * 200_000 + "}"
    for number, said in ((1, lines[0]), (2, lines[1])):
        path.write_text("\n".join([*lines[: number - 1], said[:-1] + "," + deep, *lines[number:]]) + "\n")
        with pytest.raises(Invalid, match=f"line {number} is n"):
            await house.runtime.exchange.read(path)


def _is_accepted(messages: Any) -> None:
    """As strict providers want it: the user first, and after each answer the results of its calls, each once."""
    assert isinstance(messages[0], UserMessage)
    seen: set[str] = set()
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        assert not isinstance(message, ToolMessage), "a result of no call"
        if isinstance(message, AssistantMessage):
            calls = [call.id for call in message.calls]
            assert not seen & set(calls)
            seen |= set(calls)
            results = messages[place : place + len(calls)]
            assert [one.call for one in results if isinstance(one, ToolMessage)] == calls
            place += len(calls)

"""What of the agent's typing the policy judges, and what it refuses to know."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.features.terminals.tools import terminal_send, terminal_start
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.rules import Touches
from roost.tools.base import Tool
from tests.kernel.support import calling

from .support import agent, events, running


def touches(tool: Tool, **arguments: object) -> Touches:
    assert tool.reach is not None
    return tool.reach(arguments, Path("/"))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("echo a\x15rm -rf x", ["enter"]),
        ("echo a\x1b[D\x7f", ["enter"]),
        ("echo a\r\rrm -rf x", []),
        ("cat se\tx", ["enter"]),
        ("echo a; cat !-2", ["enter"]),
        ("^echo^rm", ["enter"]),
        ("ls\n^ls^rm -rf x", ["enter"]),
        ("!./deploy", ["enter"]),
        ("!/bin/rm", ["enter"]),
        ("histchars=@^#", ["enter"]),
        ("echo rm -rf x", ["home", "delete", "enter"]),
        ("echo x", ["ctrl-u", "ctrl-y"]),
    ],
)
def test_a_line_that_keys_edit_is_not_understood(text: str, keys: list[str]) -> None:
    found = touches(terminal_send, terminal="t", text=text, keys=keys).command
    assert found is not None
    assert found.unclear
    assert not found.read_only


@pytest.mark.parametrize("text", ['[ a != b ] && echo "hi!"; ! true', "grep '^a' x; echo 'wow!'"])
def test_signs_that_bring_back_nothing_are_understood(text: str) -> None:
    found = touches(terminal_send, terminal="t", text=text, keys=["enter"]).command
    assert found is not None
    assert not found.unclear


def test_keys_that_bring_back_a_line_are_not_known_to_read() -> None:
    for keys in (["up", "enter"], ["ctrl-r"], ["alt-."], ["tab"]):
        found = touches(terminal_send, terminal="t", keys=keys).command
        assert found is not None
        assert not found.read_only
    for keys in (["enter"], ["ctrl-c"], ["escape"], ["page-down"]):
        found = touches(terminal_send, terminal="t", keys=keys).command
        assert found is not None
        assert found.read_only
        assert not found.unclear
    plain = touches(terminal_send, terminal="t", text="ls -l", keys=["enter"]).command
    assert plain is not None
    assert plain.read_only


def test_a_shell_of_its_own_may_do_more_than_read() -> None:
    """It runs the files of its start, and those may be the agent's."""
    for tool in (touches(terminal_start), touches(terminal_start, command=" ")):
        assert tool.command is not None
        assert not tool.command.read_only
    listed = touches(terminal_start, command="ls").command
    assert listed is not None
    assert listed.read_only


async def test_a_line_is_not_typed_in_pieces(tmp_path: Path) -> None:
    sent = [
        {"text": "ec"},
        {"text": "ho one"},  # refused: the line has begun
        {"keys": ["escape"]},  # refused: it might complete
        {"keys": ["ctrl-d"]},
        {"text": "ho two"},  # refused: Ctrl-D ends no line of a shell
        {"keys": ["ctrl-c"]},
        {"keys": ["up"]},
        {"text": "three"},  # refused: the line may be an earlier one
        {"keys": ["ctrl-c"]},
        {"text": "echo f''our", "keys": ["enter"]},
    ]

    def script(request: object) -> object:
        heard = [
            part.text
            for message in request.messages  # type: ignore[attr-defined]
            for part in getattr(message, "parts", ())
            if isinstance(part, Text)
        ]
        results = [one for one in heard if "[term-" in one or "judged" in one or "already" in one]
        if not results:
            return calling("terminal_start", command="sh")
        terminal = "term-" + results[0].rpartition("[term-")[2].split()[0]
        if len(results) <= len(sent):
            return calling("terminal_send", terminal=terminal, wait=1, **sent[len(results) - 1])
        return results[-1]

    tools = ("terminal_start", "terminal_send")
    async with asyncio.timeout(60), running(tmp_path, agent(script, tools=tools)) as runtime:
        session = await runtime.session("a")
        screen = await session.ask("go")
        done = await events(runtime, session, ev.ToolCompleted)
    assert [one.outcome for one in done][1:] == [
        "ok", "error", "error", "ok", "error", "ok", "ok", "error", "ok", "ok",
    ]  # fmt: skip
    assert "\nfour" in screen


@pytest.mark.parametrize("typed", ["curl http://127.0.0.1:9/page\r", "echo here\r"])
async def test_what_a_person_fetches_on_a_terminal_is_untrusted(tmp_path: Path, typed: str) -> None:
    def script(request: object) -> object:
        texts = [
            part.text
            for message in request.messages  # type: ignore[attr-defined]
            for part in getattr(message, "parts", ())
            if isinstance(part, Text)
        ]
        return calling("terminal_read", terminal=texts[-1]) if texts[-1].startswith("term-") else "read"

    async with asyncio.timeout(60), running(tmp_path, agent(script, tools=("terminal_read",))) as runtime:
        session = await runtime.session("a")
        one = (await runtime.terminals.open(session.id, command=["cat"])).terminal
        for key in typed:
            await runtime.terminals.type(session.id, one, text=key)
        assert await session.ask(one) == "read"
        assert len(await events(runtime, session, ev.SessionTainted)) == (1 if "curl" in typed else 0)

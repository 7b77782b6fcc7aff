"""Intents of a turn: they select the tools that the model is shown, and may require a person's approval first."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec

from roost.agent.state import Call, State
from roost.log import events as ev
from roost.log.content import Text, ToolCall
from roost.models.request import Intent
from roost.tools.base import Tool, Toolbox

Known: TypeAlias = Literal["chat", "debug", "create_project"]


class IntentRule(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One topic that a turn may be about.

    words: phrases that select it when one occurs in the message, ignoring case; without `words` it is the fallback.
    tools: globs of the agent's tools available in such a turn, or `safety:read_only` for all of that safety; None =
    all. confirm: ask a person before the model is called. calls: purpose of its model calls, instead of the agent's
    `intent`."""

    name: str
    words: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    confirm: bool = False
    calls: Intent | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an intent needs a name")
        if not all(word.strip() for word in self.words):
            raise ValueError(f"the words of the intent {self.name!r} must not be empty")


_READING = ("safety:read_only", "web_*", "pin", "unpin")
CREATE_PROJECT = IntentRule(
    name="create_project",
    words=(
        *("new project", "create a project", "create the project", "start a project", "set up a project"),
        *("project from scratch", "scaffold", "new app", "create an app", "build an app", "新建项目", "创建项目"),
    ),
    confirm=True,
    calls="design",
)
DEBUG = IntentRule(
    name="debug",
    words=(
        *("debug", "bug", "bugs", "error", "errors", "exception", "traceback", "stack trace", "crash", "crashes"),
        *("fails", "failing", "failed", "fix", "broken", "does not work", "doesn't work", "调试", "报错", "错误"),
    ),
    tools=(*_READING, "edit_*", "write_file", "shell*", "run_*", "python", "remember", "task"),
    calls="execute",
)
CHAT = IntentRule(name="chat", tools=(*_READING, "remember"), calls="chat")
INTENTS: dict[Known, IntentRule] = {"create_project": CREATE_PROJECT, "debug": DEBUG, "chat": CHAT}
"""In order of priority: a turn that matches neither of the first two is chat."""


def rules_of(given: Sequence[IntentRule | Known]) -> list[IntentRule]:
    return [INTENTS[one] if isinstance(one, str) else one for one in given]


def choose(given: Sequence[IntentRule | Known], said: str) -> tuple[IntentRule, str | None] | None:
    """Return the first rule with a matching word, and the word; else the first rule without words; else None."""
    rules, text = rules_of(given), " ".join(said.casefold().split())
    for rule in rules:
        for word in rule.words:
            if _pattern(word).search(text):
                return rule, word
    return next(((rule, None) for rule in rules if not rule.words), None)


def gate_of(turn: int) -> str:
    """Return the call id under which a person approves or rejects a whole turn."""
    return f"turn:{turn}"


def note_of(state: State, given: Sequence[IntentRule | Known], tools: Toolbox, said: str) -> ev.IntentChosen | None:
    """Return the event that sets the intent of the open turn, or None if no rule applies. Its intent must be unset."""
    found = choose(given, said)
    if found is None or state.turn is None:
        return None
    rule, word = found
    kept = None if rule.tools is None else tuple(name for name, tool in tools.items() if _any(tool, rule.tools))
    return ev.IntentChosen(
        at=time.time(),
        turn=state.turn.number,
        intent=rule.name,
        tools=kept,
        word=word,
        confirm=rule.confirm,
        calls=rule.calls,
    )


def take_chosen(state: State, event: ev.IntentChosen) -> None:
    turn = state.turn
    if turn is None or turn.number != event.turn:
        return
    turn.intent, turn.tools, turn.calls = event.intent, event.tools, event.calls
    if event.confirm:
        shown = {} if event.tools is None else {"tools": event.tools}
        turn.gate = Call(ToolCall(gate_of(turn.number), event.intent, msgspec.json.encode(shown).decode()))


def said_in(parts: Sequence[object]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def _any(tool: Tool, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in (tool.name, f"safety:{tool.safety}") for glob in globs)


@lru_cache(maxsize=512)
def _pattern(word: str) -> re.Pattern[str]:
    """Match whole words; anywhere in the text for scripts without spaces."""
    words = " ".join(word.casefold().split())
    before = r"(?<![a-z0-9_])" if words[0].isascii() else ""
    after = r"(?![a-z0-9_])" if words[-1].isascii() else ""
    return re.compile(before + re.escape(words) + after)

"""Intents of a turn: they select the tools that the model is shown, and may require a person's approval first."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from roost.agent.options import INTENTS, IntentRule, Known
from roost.agent.state import State
from roost.features.intents.events import IntentChosen
from roost.log.content import Text
from roost.tools.base import Tool, Toolbox


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


def note_of(state: State, given: Sequence[IntentRule | Known], tools: Toolbox, said: str) -> IntentChosen | None:
    """Return the event that sets the intent of the open turn, or None if no rule applies. Its intent must be unset."""
    found = choose(given, said)
    if found is None or state.turn is None:
        return None
    rule, word = found
    kept = None if rule.tools is None else tuple(name for name, tool in tools.items() if _any(tool, rule.tools))
    return IntentChosen(
        at=time.time(),
        turn=state.turn.number,
        intent=rule.name,
        tools=kept,
        word=word,
        confirm=rule.confirm,
        calls=rule.calls,
    )


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

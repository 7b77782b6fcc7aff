"""Assertions about a replay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from roost.features.replay.api import Replayed
from roost.log.session_info import TurnOutcome

Texts: TypeAlias = str | list[str]
_Count = Annotated[int, Meta(ge=0)]


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold at the end of a replay. outcome: of the last turn. tools: the names of all calls, in order. uses,
    never: tools that are called, or never. answer_contains, answer_matches: of the last answer; the second is a regular
    expression that is searched for. files: by path, what a file contains as live tools left it. max_cost: dollars.
    max_steps, max_calls: model calls, tool calls."""

    outcome: TurnOutcome | None = None
    tools: list[str] | None = None
    uses: list[str] = []
    never: list[str] = []
    answer_contains: Texts = []
    answer_matches: Texts = []
    files: dict[str, str] = {}
    max_cost: Annotated[float, Meta(ge=0)] | None = None
    max_steps: _Count | None = None
    max_calls: _Count | None = None


def failures(expect: Expect, found: Replayed) -> list[str]:
    """Return what does not hold, each as a sentence. Raises `re.error`."""
    return [*_of_tools(expect, found), *_of_answer(expect, found), *_of_cost(expect, found)]


def _of_tools(expect: Expect, found: Replayed) -> Iterator[str]:
    if expect.outcome is not None and found.outcome != expect.outcome:
        yield f"outcome: expected {expect.outcome}, got {found.outcome or 'no end'}"
    if expect.tools is not None and found.tools != expect.tools:
        yield f"tools: expected {_list(expect.tools)}, got {_list(found.tools)}"
    for name in expect.uses:
        if name not in found.tools:
            yield f"uses: {name} was not called; the calls are {_list(found.tools)}"
    for name in expect.never:
        if name in found.tools:
            yield f"never: {name} was called ({found.tools.count(name)})"
    for path, text in expect.files.items():
        content = found.files.get(path)
        if content is None:
            yield f"files: there is no file {path}"
        elif text not in content:
            yield f"files: {path} does not contain {text!r}, but: {_short(content)!r}"


def _of_answer(expect: Expect, found: Replayed) -> Iterator[str]:
    for text in _texts(expect.answer_contains):
        if text not in found.answer:
            yield f"answer_contains: {text!r} is not in the answer: {_short(found.answer)!r}"
    for pattern in _texts(expect.answer_matches):
        if re.search(pattern, found.answer) is None:
            yield f"answer_matches: {pattern!r} does not match the answer: {_short(found.answer)!r}"


def _of_cost(expect: Expect, found: Replayed) -> Iterator[str]:
    if expect.max_cost is not None:
        if found.cost is None:
            yield f"max_cost: the price is unknown; expected at most ${expect.max_cost:g}"
        elif found.cost > expect.max_cost:
            yield f"max_cost: ${found.cost:.6f} were spent; expected at most ${expect.max_cost:g}"
    for name, most, count in (
        ("max_steps", expect.max_steps, found.steps),
        ("max_calls", expect.max_calls, found.calls),
    ):
        if most is not None and count > most:
            yield f"{name}: {count}; expected at most {most}"


def _texts(given: Texts) -> list[str]:
    return [given] if isinstance(given, str) else given


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _short(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}…"

"""Match shell patterns: against files on disk, and against the paths of a rule."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

from roost.policy.command.scope import braces

_WILD = re.compile(r"[*?\[]")
_LOOKED = 4_096
"""Most names on disk that are compared with one pattern."""
_PATTERNS = 48
"""Most patterns of one command that are compared with the disk."""
_CLASSES = {
    "alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s",
    "blank": r" \t", "punct": r"!-/:-@\[-`{-~", "xdigit": "0-9a-fA-F", "word": r"\w", "print": r"\x20-\x7e",
    "graph": r"\x21-\x7e", "cntrl": r"\x00-\x1f\x7f",
}  # fmt: skip
_CLASS = re.compile(r"\[:(\w+):\]")
_EQUAL = re.compile(r"\[[.=](.{1,8}?)[.=]\]")
_Token: TypeAlias = str | re.Pattern[str] | None
"""A character, a character class, or None for any run of characters."""
_LONGEST = 512
"""Characters of a name's pattern that are parsed; the rest counts as any text."""
_ANY = re.compile(r"[^/]", re.DOTALL)


class TooMany(Exception):
    """The disk has more names than may be compared."""


class Looks:
    """Budget of disk access for all patterns of one command, since the gate runs on the event loop. Each pattern is
    looked up once."""

    def __init__(self) -> None:
        self.names = 16 * _LOOKED
        self._found: dict[str, list[str] | None] = {}

    def on_disk(self, pattern: str) -> list[str]:
        """Return the paths that an absolute pattern matches now. Raises `TooMany`."""
        if pattern not in self._found:
            try:
                self._found[pattern] = _on_disk(pattern, self) if len(self._found) < _PATTERNS else None
            except TooMany:
                self._found[pattern] = None
        if (found := self._found[pattern]) is None:
            raise TooMany
        return found


def is_pattern(path: str) -> bool:
    return _WILD.search(path) is not None


def _on_disk(pattern: str, looks: Looks) -> list[str]:
    """Raises `TooMany`."""
    found, looked = [""], 0
    for segment in pattern.strip("/").split("/"):
        if not is_pattern(segment):
            found = [path + "/" + segment for path in found]
            continue
        test = _names(segment)
        there: list[str] = []
        for folder in found:
            try:
                with os.scandir(folder or "/") as entries:
                    for entry in entries:
                        looked += 1
                        looks.names -= 1
                        if looked > _LOOKED or looks.names < 0:
                            raise TooMany
                        hidden = entry.name.startswith(".") and segment[0] in "*?["
                        if not hidden and test.fullmatch(entry.name):
                            there.append(f"{folder}/{entry.name}")
            except OSError:
                continue
        found = there
    return [path for path in found if os.path.lexists(path)]


@lru_cache(maxsize=4096)
def could_match(pattern: str, rule: str) -> bool:
    """Whether an absolute shell pattern may match a path of a rule's absolute pattern, ignoring case. A pattern that
    starts with `*` and has little other text (`*`, `*.py`) counts only for its matches on disk."""
    segments = pattern.strip("/").casefold().split("/")
    return any(_aimed(segments, one) and _meets(segments, 0, one, 0) for one in _rule(rule))


@lru_cache(maxsize=1024)
def _rule(rule: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(text.strip("/").casefold().split("/")) for text in braces(rule))


def _aimed(segments: list[str], rule: tuple[str, ...]) -> bool:
    """Whether the literal text of a pattern points at the rule's names: `.e*` at `.env`, `k*.pem` at `*.pem`."""
    if not is_pattern(segments[-1]):
        return True
    ending = rule[-1][1:] if rule[-1].startswith("*") and rule[-1] != "**" else ""
    if ending:
        return ending[:2] in _said(segments[-1])
    named = " ".join(rule)
    return any(
        segment[0] != "*" or (_said(segment) != "" and _said(segment) in named)
        for segment in segments
        if is_pattern(segment)
    )


def _said(segment: str) -> str:
    return "".join(token for token in _tokens(segment) if isinstance(token, str))


def _meets(one: list[str], i: int, rule: tuple[str, ...], j: int) -> bool:
    if j == len(rule):
        return i == len(one)
    if rule[j] == "**":
        return any(_meets(one, k, rule, j + 1) for k in range(i, len(one) + 1))
    return i < len(one) and _common(one[i], rule[j]) and _meets(one, i + 1, rule, j + 1)


@lru_cache(maxsize=4096)
def _common(shell: str, rule: str) -> bool:
    """Whether one name can match both patterns."""
    if not is_pattern(shell) and not is_pattern(rule):
        return shell == rule
    if shell[0] in "*?[" and rule[0] == ".":
        return False  # a shell's wildcard matches no first dot
    a, b = _tokens(shell), _tokens(rule)
    places = {(0, 0)}
    waiting = [(0, 0)]
    while waiting:
        i, j = waiting.pop()
        if i == len(a) and j == len(b):
            return True
        for place in _onward(a, i, b, j):
            if place not in places:
                places.add(place)
                waiting.append(place)
    return False


def _onward(a: tuple[_Token, ...], i: int, b: tuple[_Token, ...], j: int) -> Iterator[tuple[int, int]]:
    if i < len(a) and a[i] is None:
        yield i + 1, j
    if j < len(b) and b[j] is None:
        yield i, j + 1
    if i < len(a) and j < len(b) and _one(a[i], b[j]):
        yield i + (a[i] is not None), j + (b[j] is not None)


def _one(a: _Token, b: _Token) -> bool:
    """Whether one character can match both tokens; assumed for two classes."""
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    if isinstance(a, str) and isinstance(b, re.Pattern):
        return b.match(a) is not None
    if isinstance(b, str) and isinstance(a, re.Pattern):
        return a.match(b) is not None
    return True


@lru_cache(maxsize=1024)
def _tokens(segment: str) -> tuple[_Token, ...]:
    made: list[_Token] = []
    at = 0
    unclosed = False
    while at < len(segment):
        if at > _LONGEST:
            return (*made, None)
        char = segment[at]
        if char == "*":
            made += [None] if made[-1:] != [None] else []
        elif char == "?":
            made.append(_ANY)
        elif char == "[" and (found := _class(segment, at)) is not None:
            made.append(found[0])
            at = found[1]
            continue
        elif char == "[" and "]" in segment[at + 2 :]:
            if unclosed:
                return (*made, None)  # searching the end of every bracket would take too long
            unclosed = True
            made.append(char)
        else:
            made.append(char)
        at += 1
    return tuple(made)


def _class(segment: str, at: int) -> tuple[re.Pattern[str], int] | None:
    """Parse a bracket expression. Returns its class and its end, or None if it is not closed."""
    if segment.find("]", at + 2) < 0:
        return None
    place = at + 1
    negated = segment[place : place + 1] in ("!", "^")
    place += negated
    said = ""
    first = True
    while place < len(segment):
        char = segment[place]
        if char == "]" and not first:
            try:
                return re.compile(f"[{'^' if negated else ''}{said}]", re.IGNORECASE | re.DOTALL), place + 1
            except re.error:
                return _ANY, place + 1
        known = _CLASS.match(segment, place) if char == "[" else None
        if known is not None and known[1] in _CLASSES:
            said += _CLASSES[known[1]]
            place = known.end()
        elif char == "[" and (equal := _EQUAL.match(segment, place)) is not None:
            said += re.escape(equal[1])
            place = equal.end()
        else:
            said += char if char == "-" else re.escape(char)
            place += 1
        first = False
    return None


def _names(segment: str) -> re.Pattern[str]:
    """Compile a pattern for one name. Text between two runs is an atomic group at its first match: a model writes these
    patterns, and backtracking over all matches would take exponential time."""
    first, *others = _between_runs(_tokens(segment))
    if not others:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{one})" for one in others[:-1])
    return re.compile(f"{first}{middle}.*{others[-1]}", re.DOTALL)


def _between_runs(tokens: tuple[_Token, ...]) -> list[str]:
    """Return the regular expressions of the text before, between and after the runs of any characters."""
    found = [""]
    for token in tokens:
        if token is None:
            found.append("")
        else:
            found[-1] += re.escape(token) if isinstance(token, str) else f"(?i:{token.pattern})"
    return found

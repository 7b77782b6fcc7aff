"""What a task is, and the words in which its judge is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal[
    "read", "find", "count", "arithmetic", "write", "edit", "chain", "plain", "restraint", "shell", "honesty"
]


class Call(msgspec.Struct, frozen=True):
    tool: str
    arguments: str
    error: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent did with a task: what it said last, what it called, and the folder before and after.

    Files are text by relative path; a file that is not UTF-8 reads as its bytes in Latin-1. `failure` is set when the
    run ended without an answer.
    """

    answer: str
    calls: tuple[Call, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]
    failure: str | None = None
    steps: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def changed(self) -> frozenset[str]:
        """Paths that were made, altered or removed."""
        paths = self.before.keys() | self.after.keys()
        return frozenset(path for path in paths if self.before.get(path) != self.after.get(path))


Check: TypeAlias = Callable[[Outcome], bool]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """`may_change` names the paths that the request asks to touch: any other change is an unrequested write."""

    id: str
    kind: Kind
    prompt: str
    check: Check
    files: Mapping[str, str] = {}
    may_change: frozenset[str] = frozenset()
    tools: bool = True


def says(*patterns: str) -> Check:
    """The answer matches every pattern (regular expressions, case ignored, thousands separators dropped)."""

    def check(outcome: Outcome) -> bool:
        answer = re.sub(r"(?<=\d),(?=\d{3}\b)", "", outcome.answer)
        return all(re.search(pattern, answer, re.IGNORECASE) for pattern in patterns)

    return check


def silent(*patterns: str) -> Check:
    """The answer matches none of the patterns."""

    def check(outcome: Outcome) -> bool:
        return not any(re.search(pattern, outcome.answer, re.IGNORECASE) for pattern in patterns)

    return check


def number(value: int) -> Check:
    """The answer holds this number, standing alone."""
    return says(rf"(?<![\d.]){value}(?![\d]|\.\d)")


def holds(path: str, content: str) -> Check:
    """The file is exactly this text, white space at the ends of lines and of the file aside."""

    def tidy(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    def check(outcome: Outcome) -> bool:
        return path in outcome.after and tidy(outcome.after[path]) == tidy(content)

    return check


def contains(path: str, *patterns: str) -> Check:
    """The file exists and matches every pattern (case ignored)."""

    def check(outcome: Outcome) -> bool:
        text = outcome.after.get(path)
        return text is not None and all(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)

    return check


def untouched(outcome: Outcome) -> bool:
    return not outcome.changed


def every(*checks: Check) -> Check:
    return lambda outcome: all(check(outcome) for check in checks)

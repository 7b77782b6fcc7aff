"""The items that all conversation logs have in common, and the report of what a format cannot express."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from roost.log.content import AssistantPart, ResultPart, StopReason, Usage, UserPart
from roost.log.session_info import SessionInfo

Format: TypeAlias = Literal["roost", "claude-code", "codex", "transcript"]
Foreign: TypeAlias = Literal["claude-code", "codex"]
Source: TypeAlias = Literal["roost", Foreign]
FORMATS: tuple[Format, ...] = ("roost", "claude-code", "codex", "transcript")
LINE_BYTES = 64 * 1024 * 1024
"""Most bytes of one line: more than a message with media has."""
_KINDS = 100


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    """Wall clock, seconds since 1970."""


class Said(_Item, frozen=True):
    """A message. `meta`: from the program around the model, in the user's name."""

    parts: tuple[UserPart, ...]
    meta: bool = False


class Answer(_Item, frozen=True):
    """One call of a model. `model`: its name without the account."""

    parts: tuple[AssistantPart, ...]
    model: str = ""
    stop: StopReason = "end"
    usage: Usage = Usage()


class Result(_Item, frozen=True):
    """The result of a call in the newest answer. `missing`: a stand-in, since providers require a result."""

    call: str
    parts: tuple[ResultPart, ...]
    error: bool = False
    missing: bool = False


class Shortened(_Item, frozen=True):
    """A summary replaced the earlier messages. Tokens as counted or estimated by the other program; 0: unknown."""

    summary: str
    before: int = 0
    after: int = 0


class Line(_Item, frozen=True):
    """A line that only `format` can express, unchanged."""

    format: Foreign
    data: dict[str, Any]


Item: TypeAlias = Said | Answer | Result | Shortened | Line


class Report(msgspec.Struct):
    """The result of a conversion. `kept`: by kind, lines that only their own format can express; they are in the
    session's log and are written back in that format. `left_out`: by kind, what the other format cannot express.
    `mirrors`: lines that repeat others."""

    format: Format = "roost"
    events: int = 0
    messages: int = 0
    kept: dict[str, int] = {}
    left_out: dict[str, int] = {}
    mirrors: int = 0

    def keep(self, kind: str) -> None:
        _count(self.kept, kind, 1)

    def leave_out(self, kind: str, count: int = 1) -> None:
        _count(self.left_out, kind, count)


def _count(counts: dict[str, int], kind: str, count: int) -> None:
    """Count a kind; at most `_KINDS` kinds, since a hostile file may have as many kinds as lines."""
    name = kind[:80] if kind[:80] in counts or len(counts) < _KINDS else "other"
    counts[name] = counts.get(name, 0) + count


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """An imported session. `duplicate`: the key imported it before."""

    session: SessionInfo
    report: Report
    duplicate: bool = False

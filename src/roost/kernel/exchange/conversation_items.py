"""What all logs of conversations have in common, as a stream of items, and the account of what one could not say."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from roost.log.content import AssistantPart, ResultPart, StopReason, Usage, UserPart
from roost.log.protocols import SessionInfo

Format: TypeAlias = Literal["roost", "claude-code", "codex", "transcript"]
Foreign: TypeAlias = Literal["claude-code", "codex"]
Source: TypeAlias = Literal["roost", Foreign]
FORMATS: tuple[Format, ...] = ("roost", "claude-code", "codex", "transcript")
LINE_BYTES = 64 * 1024 * 1024
"""Of one line: more than a message with media has."""
_KINDS = 100


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    """Wall clock, seconds since 1970."""


class Said(_Item, frozen=True):
    """`meta`: by the program around the model, in the user's name."""

    parts: tuple[UserPart, ...]
    meta: bool = False


class Answer(_Item, frozen=True):
    """One call of a model. `model` without its account."""

    parts: tuple[AssistantPart, ...]
    model: str = ""
    stop: StopReason = "end"
    usage: Usage = Usage()


class Result(_Item, frozen=True):
    """Of a call of the newest answer. `missing`: there is none, and a provider wants one."""

    call: str
    parts: tuple[ResultPart, ...]
    error: bool = False
    missing: bool = False


class Shortened(_Item, frozen=True):
    """A summary took the place of what was said before. Tokens as counted or estimated there; 0: unknown."""

    summary: str
    before: int = 0
    after: int = 0


class Line(_Item, frozen=True):
    """What `format` alone can say, as it says it."""

    format: Foreign
    data: dict[str, Any]


Item: TypeAlias = Said | Answer | Result | Shortened | Line


class Report(msgspec.Struct):
    """What became of a log. `kept`: by kind, what only its own format can say; it is in the session's log and comes
    back when that is written in the same format. `left_out`: by kind, what the other format cannot say. `mirrors` are
    lines that say again what others say."""

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
    """A hostile file may have as many kinds as lines."""
    name = kind[:80] if kind[:80] in counts or len(counts) < _KINDS else "other"
    counts[name] = counts.get(name, 0) + count


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """`duplicate`: the key has brought it in before."""

    session: SessionInfo
    report: Report
    duplicate: bool = False

"""`read_history`: read earlier messages and calls of the session from its own log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta

from roost.features.compaction.ports import OwnLog
from roost.log import events as ev
from roost.log.content import AssistantMessage, ResultPart, Text, UserPart
from roost.log.protocols import Record
from roost.log.search_terms import weight, words
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

HEAD = "[history"
"""Prefix of every answer, so that answers are not found again as history."""
CAP = 12_000
"""Most characters of an answer."""
_PAGE = 256
_SECONDS = 5.0
"""Time limit of one search; its answer then says where to continue."""
_LINE = 400
_AROUND = 120
_NAME = "read_history"
_PLACES = 5_000
"""Most places that are ranked."""
_SAID = b'{"type":"input.received"'
_TELLING = (b'{"type":"input.received"', b'{"type":"model.completed"', b'{"type":"tool.completed"')
_TURN = b'{"type":"turn.started"'
_Number = Annotated[int, Meta(ge=1)]


class _Line(NamedTuple):
    seq: int
    who: str
    text: str


@tool(replay="safe", safety="read_only", inside=True, files=False, timeout=30.0)
async def read_history(
    context: ToolContext,
    query: Annotated[str | None, "Words to look for."] = None,
    turn: Annotated[_Number | None, "1 is the first."] = None,
    seq: Annotated[_Number | None, "A position in the log."] = None,
    before: Annotated[_Number | None, "With query: before this position."] = None,
    offset: Annotated[int, Meta(description="First character of the answer to show.", ge=0)] = 0,
    limit: Annotated[int, Meta(description="With query: most places.", ge=1, le=50)] = 10,
) -> str:
    """Read what was said and done earlier in this conversation, also what you do not see any more: by query (the
    best first), turn or seq, one of them."""
    if sum(one is not None for one in (query, turn, seq)) != 1:
        raise ToolError("give one of query, turn and seq")
    history = context.port(OwnLog)
    if seq is not None:
        return await _at(history, seq, offset)
    if turn is not None:
        return await _turn(history, turn, offset)
    return await _search(history, query or "", before, limit, offset)


async def _at(history: OwnLog, seq: int, offset: int) -> str:
    found = await history.read(seq - 1, 1)
    line = _line(found[0]) if found else None
    if line is None:
        raise ToolError(f"nothing was said at {seq}; the log ends at {history.head}")
    return _part(f"seq {line.seq}, {line.who}", line.text, offset)


async def _turn(history: OwnLog, turn: int, offset: int) -> str:
    start = await _find(history, turn)
    lines: list[str] = []
    after = max(0, start - 2)  # its input comes one record before
    size, more = 0, True
    while more and size < offset + CAP and (page := await history.read(after, _PAGE)):
        for record in page:
            after = record.seq
            if record.seq > start and record.body.startswith(_TURN):
                if lines:
                    size -= len(lines.pop())  # the input of the next turn
                more = False
                break
            if (line := _line(record)) is not None:
                lines.append(_shown(line, _LINE if line.who == "a tool" else CAP))
                size += len(lines[-1])
    return _part(f"turn {turn}", "\n".join(lines), offset)


async def _find(history: OwnLog, turn: int) -> int:
    """Return the position of the turn's `turn.started`, by bisection: turn numbers grow with the log."""
    low, high = 0, history.head  # invariant: low < position <= high
    last = 0
    while low < high:
        middle = (low + high) // 2
        number, at = await _next_turn(history, middle, high)
        if number == turn:
            return at
        if number == 0 or number > turn:
            high = middle
        else:
            low, last = at, number
    raise ToolError(f"there is no turn {turn}; the last before it is {last}" if last else "there is no turn yet")


async def _next_turn(history: OwnLog, after: int, upto: int) -> tuple[int, int]:
    """Return number and position of the first turn that begins in the range; zeros where none does."""
    while after < upto and (page := await history.read(after, min(_PAGE, upto - after))):
        for record in page:
            if record.body.startswith(_TURN):
                event = record.event
                return (event.turn, record.seq) if isinstance(event, ev.TurnStarted) else (0, 0)
        after = page[-1].seq
    return 0, 0


async def _search(history: OwnLog, query: str, before: int | None, limit: int, offset: int) -> str:
    """Find the places that contain the whole query or most of its words; rare words count more. Of equal scores the
    newest comes first."""
    phrase = " ".join(query.casefold().split())
    asked = list(dict.fromkeys([*(words(query) or phrase.split()), *filter(None, [phrase])]))
    if not asked:
        raise ToolError("the query has no words")
    upto = history.head if before is None else min(before - 1, history.head)
    raw = [word.rstrip("y").encode() for word in asked] if all(map(str.isascii, asked)) else []
    places: list[tuple[_Line, frozenset[str]]] = []
    turn, lines, began = before is None, 0, time.monotonic()
    question = False
    while upto > 0 and len(places) < _PLACES and time.monotonic() - began < _SECONDS:
        after = max(0, upto - _PAGE)
        for record in reversed(await _window(history, after, upto)):
            upto = record.seq - 1
            if turn and record.body.startswith(_TURN):
                turn, question = False, True
            elif question and record.body.startswith(_SAID):
                question = False  # the input of the current turn is the question itself
                continue
            lines += record.body.startswith(_TELLING)
            if (place := _match(record, asked, raw)) is not None:
                places.append(place)
    counts = Counter(word for _, found in places for word in found)
    scores = [sum(weight(counts[word], lines) for word in sorted(found)) for _, found in places]
    best = sorted(zip(scores, places, strict=True), key=lambda pair: (-pair[0], -pair[1][0].seq))[:limit]
    on = upto + 1 if upto > 0 else 0
    oldest = min((line.seq for _, (line, _) in best), default=0)
    if len(places) > len(best) and sum(line.seq >= oldest for line, _ in places) == len(best):
        on = oldest  # the places shown are the newest ones
    note = f"; go on with before={on}" if on else ""
    shown = "\n".join(_excerpt(line, found) for _, (line, found) in best)
    text = shown or "nothing found" + ("" if upto else ", in all of the log")
    return _part(f"{len(best)} of {len(places)} places with {phrase!r}, the best first{note}", text, offset)


async def _window(history: OwnLog, after: int, upto: int) -> list[Record]:
    found: list[Record] = []
    while after < upto and (page := await history.read(after, upto - after)):
        found += page
        after = page[-1].seq
    return found


def _match(record: Record, asked: Sequence[str], raw: Sequence[bytes]) -> tuple[_Line, frozenset[str]] | None:
    """Return the place's text, and the words of the query in it. Most records are ruled out by their bytes alone."""
    if not record.body.startswith(_TELLING):
        return None
    if raw and not any(word in low for low in [record.body.lower()] for word in raw):
        return None
    line = _line(record, asking=False)
    if line is None or line.text.startswith(HEAD):
        return None
    low = line.text.casefold()
    found = {word for word in asked if word in low}
    if len(found) < len(asked):
        found |= set(asked).intersection(words(line.text))
    return (line, frozenset(found)) if found else None


def _excerpt(line: _Line, found: Collection[str]) -> str:
    """Return the text around the first of the words."""
    low = line.text.casefold()
    at = max(0, min((at for word in found if (at := low.find(word)) >= 0), default=0) - _AROUND)
    return _shown(line._replace(text=line.text[at : at + 3 * _AROUND]), _LINE)


def _line(record: Record, *, asking: bool = True) -> _Line | None:
    """Return the text of a record and its author. `asking`: include calls of this tool."""
    if not record.body.startswith(_TELLING):
        return None
    match event := record.event:
        case ev.InputReceived():
            return _Line(record.seq, event.source or "the user", _text(event.parts))
        case ev.ModelCompleted():
            said = AssistantMessage(event.parts)
            calls = "".join(
                f"\n[you called {call.name} {call.arguments}]" for call in said.calls if asking or call.name != _NAME
            )
            return _Line(record.seq, "you", (said.text + calls).strip())
        case ev.ToolCompleted():
            return _Line(record.seq, "a tool", _text(event.parts) or f"({event.outcome})")
        case _:
            return None


def _text(parts: Sequence[UserPart | ResultPart]) -> str:
    return "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)


def _shown(line: _Line, most: int) -> str:
    rest = len(line.text) - most
    more = f" … [{rest} more characters at seq={line.seq}]" if rest > 0 else ""
    return f"[seq {line.seq}, {line.who}] {line.text[:most]}{more}"


def _part(what: str, text: str, offset: int) -> str:
    piece = text[offset : offset + CAP]
    more = len(text) - offset - len(piece)
    rest = f"\n[{more} more characters: offset={offset + len(piece)}]" if more > 0 else ""
    return f"{HEAD}: {what}]\n{piece}{rest}"

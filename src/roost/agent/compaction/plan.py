"""What leaves the context: pure functions of its messages and their sizes, in tokens by our estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from roost.agent.compaction.state import elided, output_text
from roost.agent.state import Entry
from roost.log.content import AssistantMessage, ToolMessage, UserMessage
from roost.models.tokens import estimate

_STUB = 40
"""Tokens of such a line."""
_WORTH = 100
"""Tokens of an output from which on a line in its place saves something."""
_NEAR = 0.6
"""Of the target: so much may be left for a cut that falls between two turns and not within one."""


class Cut(NamedTuple):
    """Of the oldest `upto` messages those at the places `keep` stay, and `messages` leave, beside what stands in place
    of earlier ones; `left` tokens stay in all."""

    upto: int
    keep: tuple[int, ...]
    messages: int
    left: int


def plan_cut(
    entries: Sequence[Entry], tokens: int, target: int, *, turn: int, turns: int = 0, most: int = 0, task: int = 0
) -> Cut:
    """The smallest cut after which `target` tokens are left, if any is enough; else the largest.

    Cuts before a message of the user's or the model's, never between a call and its result. The first message of the
    running turn `turn` stays, the session's first if it has no more than `task` tokens, and the newest exchange.
    The newest `turns` turns stay whole if no more than `most` is left with them.
    """
    last = max((place for place, entry in enumerate(entries) if not isinstance(entry.message, ToolMessage)), default=0)
    whole = _begins(entries, turns)
    best = fits = Cut(0, (), 0, tokens)
    keep: tuple[int, ...] = ()
    messages, left = 0, tokens
    for place, entry in enumerate(entries[: last + 1]):
        if not isinstance(entry.message, ToolMessage):
            best = Cut(place, keep, messages, left)
            if place == whole and left <= most:
                return fits if fits.upto else best
            if fits.upto and left < target * _NEAR:
                return fits
            if left <= target and (entry.turn or not fits.upto):
                fits = best
                if entry.turn:
                    return fits
        first = entry.turn == 1 and entry.tokens <= task
        if (first or (turn and entry.turn == turn)) and isinstance(entry.message, UserMessage) and not entry.head:
            keep = (*keep, place)
            continue
        left -= entry.tokens
        messages += not entry.head
    return fits if fits.upto else best


def plan_window(entries: Sequence[Entry], most: int, *, turn: int, task: int) -> Cut | None:
    """Where there are more than `most` messages: so many of the oldest that a quarter of `most` may come before it is
    due again. What stays, and where it cuts, is as of `plan_cut`. None where nothing that is worth it may leave."""
    count = sum(not entry.head for entry in entries)
    group = max(most // 4, 1)
    if count <= most:
        return None
    first = any(entry.turn == 1 and entry.tokens <= task for entry in entries)
    ones = [Entry(entry.message, int(not entry.head), entry.turn, head=entry.head) for entry in entries]
    cut = plan_cut(ones, count, most - group, turn=turn, task=int(first))
    if cut.messages < group:
        return None
    kept = (entry.tokens for place, entry in enumerate(entries) if place >= cut.upto or place in cut.keep)
    return cut._replace(left=sum(kept))


def _begins(entries: Sequence[Entry], turns: int) -> int | None:
    """Where the newest so many turns begin."""
    for place in range(len(entries) - 1, -1, -1):
        if turns > 0 and entries[place].turn:
            turns -= 1
            if not turns:
                return place
    return None


class Elision(NamedTuple):
    """The outputs to leave out, by the positions of their events in the log, but for the first `shown` characters of
    each, and what is left then."""

    outputs: tuple[int, ...]
    left: int
    shown: int = 0


def plan_elision(entries: Sequence[Entry], tokens: int, target: int, *, keep: int, readable: bool) -> Elision:
    """The oldest outputs of tools, until `target` is reached. Not those among the newest `keep` tokens, and not what
    the model has not answered yet."""
    outputs: list[int] = []
    for place in range(_old(entries, keep)):
        if tokens <= target:
            break
        entry = entries[place]
        if entry.seq and entry.tokens >= _WORTH and isinstance(entry.message, ToolMessage):
            outputs.append(entry.seq)
            tokens += estimate(elided(entry.message, entry, readable=readable)) - entry.tokens
    return Elision(tuple(outputs), tokens)


def plan_shortening(entries: Sequence[Entry], tokens: int, target: int, *, readable: bool) -> Elision:
    """How much of each output that the model has not answered yet may stay, for `target`; short ones stay whole."""
    new: dict[int, tuple[Entry, ToolMessage]] = {
        entry.seq: (entry, entry.message)
        for entry in entries[_old(entries, 0) :]
        if entry.seq and entry.tokens >= _WORTH and isinstance(entry.message, ToolMessage)
    }
    if not new:
        return Elision((), tokens)
    each = (target - tokens + sum(entry.tokens for entry, _ in new.values())) // len(new) - _STUB
    widths = (len(output_text(message)) // entry.tokens for entry, message in new.values())
    shown = max(each, 0) * max(1, min(widths))
    outputs: list[int] = []
    for seq, (entry, message) in new.items():
        saved = entry.tokens - estimate(elided(message, entry, readable=readable, shown=shown))
        if saved > 0:
            outputs.append(seq)
            tokens -= saved
    return Elision(tuple(outputs), tokens, shown)


def _old(entries: Sequence[Entry], keep: int) -> int:
    """How many of the messages are neither among the newest `keep` tokens nor still to be answered."""
    place, read = len(entries), False
    while place > 0 and (keep > 0 or not read):
        entry = entries[place - 1]
        keep -= entry.tokens
        read = read or isinstance(entry.message, AssistantMessage)
        place -= 1
    return place

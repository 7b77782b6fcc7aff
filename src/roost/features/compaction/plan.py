"""Choose what leaves the context: pure functions of the messages and their estimated sizes in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from roost.agent.state import Entry
from roost.features.compaction.state import elided, output_text
from roost.log.content import AssistantMessage, ToolMessage, UserMessage
from roost.models.tokens import estimate

_STUB = 40
"""Tokens of the line that replaces an output."""
_WORTH = 100
"""Least tokens of an output that is worth replacing."""
_NEAR = 0.6
"""Share of the target that a cut between two turns must leave; else the cut is made within a turn."""


class Cut(NamedTuple):
    """A cut through the context. upto: number of oldest messages considered. keep: indices among them that stay.
    messages: how many leave, without the context header. left: tokens that stay in all."""

    upto: int
    keep: tuple[int, ...]
    messages: int
    left: int


def plan_cut(
    entries: Sequence[Entry], tokens: int, target: int, *, turn: int, turns: int = 0, most: int = 0, task: int = 0
) -> Cut:
    """Return the smallest cut that leaves at most `target` tokens, or the largest possible one if none does.

    Cuts before a message of the user or the model, never between a call and its result. These stay: the first message
    of the open turn `turn`; the session's first message if it has at most `task` tokens; the newest exchange. The
    newest `turns` turns stay complete if that leaves at most `most` tokens.
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
    """Return a cut to less than `most` messages: it drops a quarter of `most` more, so that it is not due again at
    once. Kept messages and cut places are those of `plan_cut`. None if too few messages may leave."""
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
    """Return the index at which the newest `turns` turns begin."""
    for place in range(len(entries) - 1, -1, -1):
        if turns > 0 and entries[place].turn:
            turns -= 1
            if not turns:
                return place
    return None


class Elision(NamedTuple):
    """Outputs to elide. outputs: positions of their events in the log. shown: leading characters of each that stay.
    left: tokens of the context afterwards."""

    outputs: tuple[int, ...]
    left: int
    shown: int = 0


def plan_elision(entries: Sequence[Entry], tokens: int, target: int, *, keep: int, readable: bool) -> Elision:
    """Choose the oldest tool outputs until `target` is reached. The newest `keep` tokens and outputs that the model has
    not answered yet stay."""
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
    """Choose how much of each output that the model has not answered yet stays, to reach `target`. Short ones stay
    whole."""
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
    """Return the number of oldest messages that are answered and outside the newest `keep` tokens."""
    place, read = len(entries), False
    while place > 0 and (keep > 0 or not read):
        entry = entries[place - 1]
        keep -= entry.tokens
        read = read or isinstance(entry.message, AssistantMessage)
        place -= 1
    return place

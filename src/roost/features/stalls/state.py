"""Fold the steps of a turn and the reactions to a stall into a session's state."""

from __future__ import annotations

from zlib import crc32

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import TurnPart
from roost.features.stalls.events import LoopStalled
from roost.log import events as ev
from roost.log.content import Text, ToolMessage

_KEPT = 64
"""Steps that a new step is compared with."""
_encode = msgspec.msgpack.Encoder().encode


class Trail(msgspec.Struct):
    """Stall detection in one turn. steps: checksums of the newest steps. stale: newest steps in a row that each repeat
    an earlier one. errors: newest steps in a row that only failed. poor: poor plan scores in a row. actions: taken so
    far."""

    steps: list[int] = []
    stale: int = 0
    errors: int = 0
    poor: int = 0
    actions: list[str] = []


class StallTurn(TurnPart):
    trail: Trail = msgspec.field(default_factory=Trail)


def record_step(state: State, event: ev.ToolCompleted) -> None:
    """Compare the finished step with the earlier ones of the turn, once all its calls have outcomes."""
    if state.turn is None or not state.calls or not state.all_done:
        return
    trail = state.turn.part(StallTurn).trail
    mark, failed = 0, True
    for call in state.calls:
        result = call.result
        mark = crc32(_encode((call.call.name, call.arguments, None if result is None else result.parts)), mark)
        failed = failed and result is not None and (result.error or bool(call.code))
    trail.stale = trail.stale + 1 if mark in trail.steps else 0
    trail.errors = trail.errors + 1 if failed else 0
    trail.steps.append(mark)
    if len(trail.steps) > _KEPT:
        del trail.steps[0]


def take_stalled(state: State, event: LoopStalled) -> None:
    """Fold a reaction: counting starts again. A hint is appended to the newest result."""
    if state.turn is None:
        return
    trail = state.turn.part(StallTurn).trail
    trail.steps, trail.stale, trail.errors, trail.poor = [], 0, 0, 0
    trail.actions = [*trail.actions, event.action]
    entry = state.entries[-1] if state.entries else None
    if event.hint and entry is not None and isinstance(entry.message, ToolMessage):
        entry.message = msgspec.structs.replace(entry.message, parts=(*entry.message.parts, Text(event.hint)))
        tokens = len(event.hint) // 4
        entry.tokens += tokens
        state.tokens += tokens


TURN_PART = StallTurn
FOLDS = {LoopStalled: take_stalled}
WATCHES = {ev.ToolCompleted: record_step}

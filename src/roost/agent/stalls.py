"""Detect a turn that makes no progress, and react. Both depend on the state alone, so a crash in between changes
nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias
from zlib import crc32

import msgspec

from roost.log import events as ev
from roost.log.content import Text, ToolMessage
from roost.models.request import EFFORTS, Effort

if TYPE_CHECKING:
    from roost.agent.session import Session
    from roost.agent.state import State, Trail

Action: TypeAlias = Literal["hint", "effort", "model", "end"]
_Most = Annotated[int, msgspec.Meta(ge=2, le=50)]
_KEPT = 64
"""Steps that a new step is compared with."""
_encode = msgspec.msgpack.Encoder().encode
_CYCLES = (2, 3, 4)
"""Lengths of cycles to detect, in steps."""


class Stall(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When a turn counts as stalled, in steps. None switches a check off.

    repeats: the same calls with the same results. cycles: repetitions of a sequence of two to four steps. errors: steps
    in a row without a successful call (a command with a nonzero exit code is none). stale: steps in a row that each
    repeat an earlier one, in any order. poor: scores of 2 or less in a row that the model gave its own work
    (`roost.tools.plan`). actions: taken one by one, each when the turn has stalled again: a hint to the model, more
    effort, the stronger `model`, the end of the turn."""

    repeats: _Most | None = 5
    cycles: _Most | None = 4
    errors: _Most | None = 8
    stale: _Most | None = 12
    poor: _Most | None = 2
    actions: tuple[Action, ...] = ("hint", "effort")
    model: str | None = None

    def __post_init__(self) -> None:
        if "model" in self.actions and self.model is None:
            raise ValueError("the action 'model' needs a model: name one in stall.model")


class Found(NamedTuple):
    kind: ev.StallKind
    times: int


def record_step(state: State) -> None:
    """Compare the finished step with the earlier ones of the turn. All its calls have outcomes."""
    if state.turn is None or not state.calls:
        return
    trail = state.turn.trail
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


def take_stalled(state: State, event: ev.LoopStalled) -> None:
    """Fold a reaction: counting starts again. A hint is appended to the newest result."""
    if state.turn is None:
        return
    trail = state.turn.trail
    trail.steps, trail.stale, trail.errors, trail.poor = [], 0, 0, 0
    trail.actions = [*trail.actions, event.action]
    entry = state.entries[-1] if state.entries else None
    if event.hint and entry is not None and isinstance(entry.message, ToolMessage):
        entry.message = msgspec.structs.replace(entry.message, parts=(*entry.message.parts, Text(event.hint)))
        tokens = len(event.hint) // 4
        entry.tokens += tokens
        state.tokens += tokens


def found(trail: Trail, stall: Stall) -> Found | None:
    if stall.errors is not None and trail.errors >= stall.errors:
        return Found("errors", trail.errors)
    if stall.poor is not None and trail.poor >= stall.poor:
        return Found("poor", trail.poor)
    if not trail.stale:
        return None
    steps = trail.steps
    if stall.repeats is not None and _cycled(steps, 1, stall.repeats):
        return Found("repeat", stall.repeats)
    if stall.cycles is not None and any(_cycled(steps, length, stall.cycles) for length in _CYCLES):
        return Found("cycle", stall.cycles)
    if stall.stale is not None and trail.stale >= stall.stale:
        return Found("no_progress", trail.stale)
    return None


def next_action(session: Session) -> str | None:
    """Take the next action if the turn has stalled, before a model call. Returns the reason if the turn ends."""
    state, stall = session.state, session.spec.stall
    turn = state.turn
    if turn is None or state.open_step is not None or (what := found(turn.trail, stall)) is None:
        return None
    action: Action | None = next((one for one in stall.actions[len(turn.trail.actions) :]), None)
    if action is None:
        return None
    hint = _hint(what) if action != "end" else ""
    kind, count, now = what.kind, what.times, time.time()
    session.note(
        ev.LoopStalled(at=now, turn=turn.number, step=state.steps, kind=kind, count=count, action=action, hint=hint)
    )
    return f"stalled: {_WORDS[what.kind].format(what.times)}" if action == "end" else None


def effort(session: Session) -> Effort | None:
    """Return the effort for the next model call: the agent's, or one level more after a stall."""
    turn, given = session.state.turn, session.spec.effort
    if turn is None or "effort" not in turn.trail.actions:
        return given
    return EFFORTS[min(EFFORTS.index(given or "medium") + 1, len(EFFORTS) - 1)]


_WORDS: dict[ev.StallKind, str] = {
    "repeat": "the same calls had the same results {} times in a row",
    "cycle": "the same few steps came {} times over",
    "errors": "no call went well in {} steps",
    "poor": "by your own word it went badly {} times in a row",
    "no_progress": "nothing new came in {} steps",
}


def _hint(what: Found) -> str:
    return (
        f"[You are not getting anywhere: {_WORDS[what.kind].format(what.times)}. Do not do that again. Say what you"
        " have learned, then try another way; if there is none, say so and stop.]"
    )


def _cycled(steps: list[int], length: int, times: int) -> bool:
    """Whether the last `length` steps occurred `times` times in a row."""
    span = length * times
    return len(steps) >= span and steps[-span:] == steps[-length:] * times

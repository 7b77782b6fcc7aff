"""From a state to a request, inside the model's window."""

from __future__ import annotations

import time

from roost.agent import money
from roost.agent.session import LiveSession
from roost.agent.state import Entry, transcript
from roost.llm.ir import Bill, Request
from roost.llm.tokens import estimate_text
from roost.log import events as ev
from roost.log.content import AssistantMessage, UserMessage

_FULL, _AFTER = 0.8, 0.5
"""Trim past 80 % of the room, down to 50 %: rarely, so that the provider's prefix cache stays warm."""


def build(session: LiveSession, bill: Bill) -> Request:
    """`bill` learns what the call costs."""
    spec, tools = session.spec, session.means.tools
    return Request(
        instruction=session.instruction,
        messages=transcript(session.state),
        tools=tuple(tool.spec for tool in tools.values()),
        max_output=spec.max_output,
        temperature=spec.temperature,
        intent=spec.intent,
        effort=spec.effort,
        constraints=spec.constraints,
        output_hint=spec.output_hint,
        knobs=spec.knobs,
        meta=_meta(session),
        budgets=money.budgets(session),
        bill=bill,
    )


def _meta(session: LiveSession) -> dict[str, str]:
    state, step = session.state, session.state.open_step
    return {
        **session.about,
        "step": str(step.step if step else state.steps),
        "attempt": str(step.attempt if step else 1),
        "turn": str(state.turns),
    }


def make_room(session: LiveSession, *, harder: bool = False) -> bool:
    """Drop the oldest messages from the context when it grows too full, or, `harder`, when it was too much for the
    model all the same. The log keeps them. Returns whether some were dropped."""
    state, profile = session.state, session.means.model.profile
    room = profile.window - (session.spec.max_output or profile.max_output) - _fixed(session)
    if not harder and state.tokens <= room * _FULL:
        return False
    target = int(min(room, state.tokens if harder else room) * _AFTER)
    count, left = plan_trim(state.entries, state.tokens, target, state.turn.number if state.turn else 0)
    if count:
        session.note(ev.ContextTrimmed(at=time.time(), dropped=count, before=state.tokens, after=left))
    return count > 0


def plan_trim(entries: list[Entry], tokens: int, target: int, turn: int) -> tuple[int, int]:
    """How many of the oldest messages to drop, and the estimate that stays. Cuts only where the rest is a valid
    transcript: before a user's message, or before an assistant's when the running turn's first message is kept before
    it. That message is kept whatever its size, and so is the newest exchange."""
    best = (0, tokens)
    dropped = 0
    opened = False
    last = max((place for place, entry in enumerate(entries) if not _is_result(entry)), default=0)
    for place, entry in enumerate(entries):
        opens_turn = entry.turn == turn and isinstance(entry.message, UserMessage)
        if isinstance(entry.message, UserMessage) or (opened and isinstance(entry.message, AssistantMessage)):
            best = (dropped, tokens)
            if tokens <= target or place >= last:
                break
        if opens_turn:
            opened = True
        else:
            dropped += 1
            tokens -= entry.tokens
    return best


def _is_result(entry: Entry) -> bool:
    return not isinstance(entry.message, UserMessage | AssistantMessage)


def _fixed(session: LiveSession) -> int:
    tools = sum(estimate_text(tool.description) + 40 for tool in session.means.tools.values())
    return estimate_text(session.spec.instructions) + tools

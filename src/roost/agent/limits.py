"""Whether a turn may make another model call."""

from __future__ import annotations

from roost.agent.session import LiveSession
from roost.log.content import Usage

NANO = 1_000_000_000


def reached(session: LiveSession) -> str | None:
    """The name of the limit that forbids the next model call, or None. Money is reserved before it is spent: the call
    must fit with its largest possible answer, so a limit is never overshot by more than the provider's own excess."""
    limits, state, turn = session.spec.limits, session.state, session.state.turn
    if turn is None:
        return None
    if limits.steps is not None and turn.steps >= limits.steps:
        return "steps"
    if limits.session_steps is not None and state.steps >= limits.session_steps:
        return "session_steps"
    if _tokens(turn.usage, limits.tokens):
        return "tokens"
    if _tokens(state.usage, limits.session_tokens):
        return "session_tokens"
    return _money(session, turn.usage, limits.money, "money") or _money(
        session, state.usage, limits.session_money, "session_money"
    )


def _tokens(usage: Usage, limit: int | None) -> bool:
    return limit is not None and usage.input + usage.output >= limit


def _money(session: LiveSession, usage: Usage, limit: float | None, name: str) -> str | None:
    if limit is None:
        return None
    profile = session.means.model.profile
    if profile.price is None or usage.cost is None:
        return "price_unknown"
    largest = Usage(input=session.state.tokens, output=session.spec.max_output or profile.max_output)
    next_call = profile.price.cost(largest)
    if next_call is None:
        return "price_unknown"
    return name if usage.cost + next_call > limit * NANO else None

"""Check whether a turn may make another model call."""

from __future__ import annotations

from roost.agent.session import Session
from roost.log.content import Usage
from roost.money.budgets import NANO


def nano(dollars: float) -> int:
    """Return an amount in nano-dollars, in which the ledger counts."""
    return round(dollars * NANO)


def reached(session: Session) -> str | None:
    """Return the name of the limit that forbids the next model call, or None. The ledger decides whether the money is
    enough for that call, because it reserves it."""
    limits, state, turn = session.clock.limits, session.state, session.state.turn
    if turn is None:
        return None
    # A step that a crash cut off is counted already, and is retried.
    begun = 0 if state.open_step is None else 1
    if limits.steps is not None and turn.steps - begun >= limits.steps:
        return "steps"
    if limits.session_steps is not None and state.steps - begun >= limits.session_steps:
        return "session_steps"
    if limits.session_seconds is not None and state.seconds + session.clock.used() >= limits.session_seconds:
        return "session_seconds"
    if limits.tokens is not None and _tokens(turn.usage, limits.tokens):
        return "tokens"
    if limits.session_tokens is not None and _tokens(state.usage, limits.session_tokens):
        return "session_tokens"
    if limits.money is not None and _spent(turn.usage, limits.money):
        return "money"
    return "session_money" if limits.session_money is not None and _spent(state.usage, limits.session_money) else None


def _tokens(usage: Usage, limit: int) -> bool:
    return usage.input + usage.output >= limit


def _spent(usage: Usage, limit: float) -> bool:
    """Whether the limit is spent. Free calls may run under a limit of 0."""
    return bool(usage.cost) and usage.cost >= nano(limit)


def of_time(session: Session) -> str:
    """Return the name of the limit that ends a turn whose time is up."""
    limit = session.spec.limits.session_seconds
    return "seconds" if limit is None or session.state.seconds + session.clock.used() < limit else "session_seconds"

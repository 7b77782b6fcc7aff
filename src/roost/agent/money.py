"""A session's budgets in the ledger: what its calls are charged to, what a crash may have cost, and when it is over."""

from __future__ import annotations

import logging
import time

from roost.agent.session import LiveSession
from roost.errors import RoostError
from roost.llm.ir import Budget
from roost.log import events as ev
from roost.log.content import Usage

log = logging.getLogger("roost.session")

_NANO = 1_000_000_000
_TURN = "turn:"


def nano(dollars: float) -> int:
    return round(dollars * _NANO)


def budgets(session: LiveSession) -> tuple[Budget, ...]:
    """Of the turn and the session, where they have a limit."""
    limits, turn = session.spec.limits, session.state.turn
    if limits.money is None and limits.session_money is None:
        return ()
    found: list[Budget] = []
    if limits.money is not None and turn is not None:
        found.append(Budget(f"turn:{session.id}:{turn.number}", nano(limits.money)))
    if limits.session_money is not None:
        found.append(Budget(f"session:{session.id}", nano(limits.session_money)))
    return tuple(found)


def limit_of(budget: str) -> str:
    """The name of the agent's limit that a budget stands for; the budget's own where it is none of the agent's."""
    return {"turn": "money", "session": "session_money"}.get(budget.partition(":")[0], budget)


async def take_up(session: LiveSession) -> None:
    """Once, before anything else that a session does in memory: what a call that a crash cut off may have cost is
    spent, and what the ledger has and the log has not, because the crash came between the two. Raises `StoreFailed`."""
    ledger, state, step = session.means.ledger, session.state, session.state.open_step
    if session.charged is not None:
        return
    limited = session.spec.limits.money is not None and state.turns > 0
    session.charged = {f"{_TURN}{session.id}:{state.turns}"} if limited else set()
    if ledger is None or step is None:
        return
    lost = await ledger.recover(session.id)
    missing = 0 if lost is None else lost.cost or 0
    for budget in budgets(session):
        usage = state.turn.usage if budget.name.startswith(_TURN) and state.turn else state.usage
        missing = max(missing, await ledger.balance(budget.name) - (usage.cost or 0))
    if missing > 0:
        usage = Usage(cost=missing)
        session.note(ev.ModelLost(at=time.time(), step=step.step, attempt=step.attempt, usage=usage))


def charged(session: LiveSession) -> None:
    """A call of the open turn may have been charged to its budget."""
    names = {budget.name for budget in budgets(session) if budget.name.startswith(_TURN)}
    session.charged = names.union(session.charged or ())


async def close(session: LiveSession) -> None:
    """Nobody asks for the budgets of turns that have ended any more."""
    ledger = session.means.ledger
    if ledger is None or session.state.turn is not None or not session.charged:
        return
    over, session.charged = session.charged, set()
    try:
        await ledger.forget(*over)
    except RoostError as error:  # the session's deletion drops them as well
        log.debug("session %s: %s stay: %s", session.id, over, error)

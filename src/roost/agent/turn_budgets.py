"""A session's budgets in the ledger: what its calls are charged to, what a crash may have cost, and when it is over."""

from __future__ import annotations

import logging
import time

from roost.agent.resources import Ledger
from roost.agent.session import LiveSession
from roost.agent.state import OpenStep, State, Turn
from roost.errors import RoostError
from roost.log import events as ev
from roost.log.content import Usage
from roost.models.request import Budget
from roost.money.budgets import NANO

log = logging.getLogger("roost.session")

_TURN = "turn:"
_TREE = "tree:"
"""What a session and all that come from it spend. `session:` is what it spends itself, and its log says the same."""


def nano(dollars: float) -> int:
    return round(dollars * NANO)


def budgets(session: LiveSession) -> tuple[Budget, ...]:
    """Of the turn, of the session, and of it with all that come from it, where they have a limit; and of those that it
    comes from."""
    limits, turn, family = session.clock.limits, session.state.turn, session.state.family
    if limits.money is None and limits.session_money is None and family is None:
        return ()
    above = () if family is None else [one for one in family.above if one.money is not None]
    found = [Budget(f"{_TREE}{one.session}", one.money) for one in above]
    if limits.money is not None and turn is not None:
        found.append(Budget(f"turn:{session.id}:{turn.number}", nano(limits.money)))
    if limits.session_money is not None:
        found.append(Budget(f"session:{session.id}", nano(limits.session_money)))
        if session.spec.children is not None:
            found.append(Budget(f"{_TREE}{session.id}", nano(limits.session_money)))
    elif above:  # what a crash leaves out of its log is found by what it spends itself
        found.append(Budget(f"session:{session.id}"))
    return tuple(found)


def limit_of(budget: str) -> str:
    """The name of the agent's limit that a budget stands for; the budget's own where it is none of the agent's."""
    return {"turn": "money", "session": "session_money", "tree": "session_money"}.get(budget.partition(":")[0], budget)


async def take_up(session: LiveSession) -> None:
    """Once, before anything else that a session does in memory: what the calls of a turn that a crash cut off may have
    cost is spent, and what the ledger has and the log has not, because the crash came between the two. What a turn that
    is over left is forgotten, before another begins. Raises `StoreFailed`."""
    if session.charged is not None:
        return
    if session.means.ledger is not None and _spends(session.state):
        await _recover(session, session.means.ledger, session.state.turn)
    limited = session.state.turns > 0 and (session.spec.limits.money is not None or session.state.limited)
    session.charged = {f"{_TURN}{session.id}:{session.state.turns}"} if limited else set()
    await close(session)


def _spends(state: State) -> bool:
    """Whether a crash may have cut off a call of a model."""
    return state.turn is not None or state.compacting > 0 or state.consolidating > 0


async def _recover(session: LiveSession, ledger: Ledger, turn: Turn | None) -> None:
    state, step = session.state, session.state.open_step
    lost = await ledger.recover(session.id)
    missing = 0 if lost is None else lost.cost or 0
    for budget in budgets(session):
        if budget.name.startswith(_TREE):
            continue
        told = turn.usage.cost if turn is not None and budget.name.startswith(_TURN) else state.usage.cost
        if told is not None:
            missing = max(missing, await ledger.balance(budget.name) - told)
    if missing > 0:
        step = step or OpenStep(state.steps, 1)
        usage = Usage(cost=missing)
        session.note(ev.ModelLost(at=time.time(), step=step.step, attempt=step.attempt, usage=usage))


def charged(session: LiveSession) -> None:
    """A call of the open turn may have been charged to its budget."""
    names = {budget.name for budget in budgets(session) if budget.name.startswith(_TURN)}
    session.charged = names.union(session.charged or ())


async def close(session: LiveSession) -> None:
    """Nobody asks for the budgets of turns that have ended any more. Their end is committed first, and they are gone
    before another turn begins: a crash in between leaves it to whoever takes the session up."""
    ledger = session.means.ledger
    if ledger is None or session.state.turn is not None or not session.charged:
        return
    await session.flush()
    over, session.charged = session.charged, set()
    try:
        await ledger.forget(*over)
    except RoostError as error:  # the session's deletion drops them as well
        log.debug("session %s: %s stay: %s", session.id, over, error)

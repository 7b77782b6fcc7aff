"""A session's budgets in the ledger: charge its calls, recover costs after a crash, close the budgets of ended
turns."""

from __future__ import annotations

import logging
import time

from roost.agent.limits import nano
from roost.agent.session import Session
from roost.agent.state import OpenStep, State, Turn
from roost.errors import RoostError
from roost.features.budgets.ports import Ledger
from roost.log import events as ev
from roost.log.content import Usage
from roost.models.request import Budget

log = logging.getLogger("roost.session")

_TURN = "turn:"
_TREE = "tree:"
"""Budget of a session and its descendants. `session:` is what the session spends itself, equal to the sum in its
log."""


class _Charged:
    """Turn budgets that may still be open in the ledger; None = not loaded yet."""

    def __init__(self, session: Session) -> None:
        self.names: set[str] | None = None


def budgets(session: Session) -> tuple[Budget, ...]:
    """Return the budgets that a call is charged to: the limited ones of the turn, of the session and of its subtree,
    and those of its ancestors."""
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
    elif above:  # recovery compares the session's own spending with its log
        found.append(Budget(f"session:{session.id}"))
    return tuple(found)


def limit_of(budget: str) -> str:
    """Return the name of the agent's limit behind a budget, or the budget's own name if the agent set no such limit."""
    return {"turn": "money", "session": "session_money", "tree": "session_money"}.get(budget.partition(":")[0], budget)


async def recover_charges(session: Session) -> None:
    """Recover costs once after wake, before any other work: note the cost of calls that a crash cut off, and charges
    that the ledger has but the log lacks. Budgets left by an ended turn are deleted, before another turn begins. Raises
    `StoreFailed`."""
    charged = session.own(_Charged)
    if charged.names is not None:
        return
    ledger = session.means.find(Ledger)
    if ledger is not None and _spends(session.state):
        await _recover(session, ledger, session.state.turn)
    limited = session.state.turns > 0 and (session.spec.limits.money is not None or session.state.money_limited)
    charged.names = {f"{_TURN}{session.id}:{session.state.turns}"} if limited else set()
    await close(session)


def _spends(state: State) -> bool:
    """Whether a crash may have cut off a model call."""
    return state.turn is not None or state.calls_model


async def _recover(session: Session, ledger: Ledger, turn: Turn | None) -> None:
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
        session.log.note(ev.ModelLost(at=time.time(), step=step.step, attempt=step.attempt, usage=usage))


def mark_charged(session: Session) -> None:
    """Remember that a call may have been charged to the open turn's budget."""
    names = {budget.name for budget in budgets(session) if budget.name.startswith(_TURN)}
    charged = session.own(_Charged)
    charged.names = names.union(charged.names or ())


async def close(session: Session) -> None:
    """Delete the budgets of ended turns from the ledger. The turn's end is committed first, and no turn begins before
    the deletion; after a crash in between, the next owner repeats it."""
    ledger, charged = session.means.find(Ledger), session.own(_Charged)
    if ledger is None or session.state.turn is not None or not charged.names:
        return
    await session.log.flush()
    over, charged.names = charged.names, set()
    try:
        await ledger.forget(*over)
    except RoostError as error:  # the session's deletion drops them as well
        log.debug("session %s: %s stay: %s", session.id, over, error)

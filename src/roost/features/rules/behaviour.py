"""Standing rules, at the seams of the loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.errors import StoreFailed
from roost.features.rules.events import RevokeRuleInput, RuleRevoked, RuleSaved
from roost.features.rules.state import RulesState
from roost.log.protocols import InboxItem

if TYPE_CHECKING:
    from roost.features.rules.records import LastingRules, RuleRecord


class SessionRules:
    """A session's way to the rules of agents and users. owner: its account, or empty. known: those that count now, as
    of the newest answer of the model."""

    def __init__(self, store: Callable[[], LastingRules], owner: str) -> None:
        self._store, self._owner = store, owner
        self.known: tuple[str, ...] = ()
        self._found: Sequence[RuleRecord] = ()

    async def refresh(self, session: Session) -> None:
        try:
            found = await self._store().of(self._owner, session.about.get("user", ""))
        except StoreFailed:  # what a rule allows is asked about, until the store answers
            found = ()
        if found is not self._found:
            self._found = found
            self.known = tuple(one.rule for one in found if one.counts_for(session.spec.name))

    async def save(self, records: Sequence[RuleRecord]) -> None:
        await self._store().save(self._owner, records)


def _revoke(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, RevokeRuleInput)
    session.log.note(
        RuleRevoked(at=time.time(), rule=order.rule, input=item.id, account=order.account), consume=item.id
    )


class Rules(Feature):
    """Tell the gate which standing rules of the agent and the user count, and write the ones that answers make."""

    takes = {RevokeRuleInput: _revoke}

    async def between_turns(self, session: Session) -> None:
        await _save(session)

    def due(self, session: Session) -> bool:
        return bool(session.state.part(RulesState).unwritten)

    async def between_steps(self, session: Session) -> None:
        await _save(session)

    async def before_calls(self, session: Session) -> None:
        if (rules := session.means.given(SessionRules)) is not None:
            await rules.refresh(session)

    def grants(self, session: Session) -> Sequence[str]:
        rules = session.means.given(SessionRules)
        return () if rules is None else rules.known


async def _save(session: Session) -> None:
    """Write the rules that answers have made for agents and users. After a crash the ones that the log does not call
    saved are written again, under the same ids."""
    unwritten, rules = session.state.part(RulesState).unwritten, session.means.given(SessionRules)
    if not unwritten or rules is None:
        return
    from roost.features.rules.records import RuleRecord

    records = [
        RuleRecord(
            rule=one.rule,
            scope=one.scope,
            agent=session.spec.name,
            session=session.id,
            call=one.call,
            given=one.at,
            user=session.about.get("user", ""),
            account=one.account,
            source=one.source,
        )
        for one in unwritten
    ]
    await rules.save(records)
    session.log.note(RuleSaved(at=time.time(), rules=tuple(one.id for one in records)))


FEATURE = Rules()

"""List and revoke standing rules, on a running node."""

from __future__ import annotations

import hashlib
import time

import msgspec

from roost.agent.state import State
from roost.authority import ACCOUNT, current, user_in
from roost.errors import Conflict, NotFound
from roost.features.rules.api import RuleList, RulesApi, RuleView
from roost.features.rules.duties import RuleDuties
from roost.features.rules.events import RevokeRuleInput
from roost.features.rules.records import FOR, RULE, RuleRecord, decoded, whose
from roost.features.rules.state import RulesState
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Document, DocumentQuery, Put
from roost.log.session_info import SessionInfo
from roost.policy.standing_rules import parsed

_WAIT = 10.0
_APPLIED = b'{"type":"rule.revoked"'
_TRIES = 5


class RulesService(RulesApi):
    """A request of an account sees the rules that answers in its own sessions have made."""

    def __init__(self, host: ServiceHost) -> None:
        self._sessions, self._documents = host.sessions, host.store.documents
        self._lasting = host.node.feature(RuleDuties)

    async def list(self, *, revoked: bool = False, after: str = "", limit: int = 100) -> RuleList:
        found: list[RuleView] = []
        lives: dict[str, str] = {}
        query = DocumentQuery(kind=RULE, owner=_owner(), after=after, limit=limit)
        while page := await self._documents.find(query):
            for one in page:
                record = decoded(one.body)
                if one.owner not in lives:
                    lives[one.owner] = await self._lasting.rules.life(one.owner)
                if (revoked or record.revoked is None) and _shown(record, lives[one.owner], revoked=revoked):
                    found.append(_view(one.id, record))
            query = msgspec.structs.replace(query, after=page[-1].id)
            if len(found) >= limit:
                break
        return RuleList(rules=found[:limit], next=found[limit - 1].id if len(found) >= limit else None)

    async def of(self, session: str) -> RuleList:
        """Raises `NotFound`."""
        info, state = await self._sessions.state(session)
        user, owner = user_in(info.labels), info.labels.get(ACCOUNT, "")
        lasting = await self._lasting.rules.of(owner, user)
        found = [_view(one.id, one) for one in lasting if one.counts_for(info.agent)]
        return RuleList(rules=[*found, *_own(info, state)])

    async def revoke(self, rule: str) -> RuleView:
        """Raises `NotFound`."""
        for left in reversed(range(_TRIES)):
            document = await self._document(rule)
            record = decoded(document.body)
            if record.revoked is None:
                record = msgspec.structs.replace(record, revoked=time.time(), revoker=current().account)
                put = Put(
                    kind=RULE,
                    id=rule,
                    body=msgspec.json.encode(record),
                    owner=document.owner,
                    keys={FOR: whose(document.owner, record.user)},
                    revision=document.revision,
                )
                try:
                    await self._documents.write([put])
                except Conflict:
                    if not left:
                        raise
                    continue
            return _view(rule, record)
        raise AssertionError

    async def revoke_in(self, session: str, rule: str, *, wait: float | None = None) -> RuleView:
        """Raises `NotFound`."""
        info, state = await self._sessions.state(session)
        found = next((one for one in _own(info, state) if rule in (one.id, one.rule)), None)
        if found is None:
            raise _missing(rule, f"session {session!r} has no rule {rule!r}")
        accepted = await self._sessions.put(session, RevokeRuleInput(found.rule))
        effect = await self._sessions.effect(session, accepted, _APPLIED, wait=_WAIT if wait is None else wait)
        if effect is None:
            return found
        return msgspec.structs.replace(found, revoked=effect.event.at, revoker=current().account)

    async def _document(self, rule: str) -> Document:
        found = await self._documents.get(RULE, rule)
        if found is not None and _owner() in (None, found.owner):
            life = await self._lasting.rules.life(found.owner)
            if _shown(decoded(found.body), life, revoked=True):
                return found
        raise _missing(rule, f"there is no rule {rule!r} of an agent or a user")


def _missing(rule: str, what: str) -> NotFound:
    return NotFound(f"{what}; `roost policy list` lists the rules, with a session its own too", code="no_rule")


def _owner() -> str | None:
    """Return the account whose rules the request sees; None for all."""
    who = current()
    return who.account if who.confined else None


def _shown(record: RuleRecord, life: str, *, revoked: bool) -> bool:
    """Whether a request sees a rule of the account that it may see. life: of this account now. A rule that a former
    account of the same name has left counts nowhere; the home sees it beside those that were revoked."""
    who = current()
    if who.confined and record.scope == "agent" and not who.may_use(record.agent):
        return False
    return record.life == life or (revoked and not who.confined)


def _own(info: SessionInfo, state: State) -> list[RuleView]:
    given = {one.rule: one for one in state.part(RulesState).given}
    found: list[RuleView] = []
    for rule in state.grants:
        one = given.get(rule)  # an older version's log does not say who gave it
        view = RuleView(
            id=f"own-{hashlib.sha256(rule.encode()).hexdigest()[:8]}",
            rule=rule,
            says=parsed(rule).says,
            scope="session",
            session=info.id,
            agent=info.agent,
            user=user_in(info.labels),
        )
        if one is not None:
            view.call, view.given, view.account, view.source = one.call, one.at, one.account, one.source
        found.append(view)
    return found


def _view(id: str, record: RuleRecord) -> RuleView:
    fields = msgspec.structs.asdict(record)
    del fields["life"]
    return RuleView(id=id, says=parsed(record.rule).says, **fields)


SERVICE = RulesService

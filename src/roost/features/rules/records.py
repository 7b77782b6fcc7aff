"""Standing rules of agents and users, as documents of the store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from roost.errors import Conflict
from roost.features.accounts.records import ACCOUNT, AccountRecord
from roost.log.documents import DocumentQuery, Documents, Put
from roost.log.session_info import GrantScope

RULE = "rule"
"""Kind of the documents."""
FOR = "for"
"""Their key: the account and the user whose sessions they are for."""
MOST = 1000
"""Most rules of one user that are read, revoked ones among them: the newest."""
_KEPT = 10_000
"""Most users whose rules are kept in memory."""


class RuleRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a document. session, call: the question whose answer made it. user: whose sessions it is for; empty
    for sessions without a user. given, revoked: wall time, seconds. life: of the account whose sessions it is for
    (`AccountRecord.life`), so that a later account of the same name does not have it; empty for the home's."""

    rule: str
    scope: GrantScope
    agent: str
    session: str
    call: str
    given: float
    user: str = ""
    account: str | None = None
    source: str | None = None
    revoked: float | None = None
    revoker: str | None = None
    life: str = ""

    @property
    def id(self) -> str:
        """The same for every attempt to write it. Sorts by age."""
        text = "\n".join((self.session, self.call, self.rule, self.scope))
        return f"rule_{int(self.given * 1000):012x}{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def counts_for(self, agent: str) -> bool:
        return self.revoked is None and (self.scope == "user" or self.agent == agent)


def whose(owner: str, user: str) -> str:
    """Return the value of the key `for`."""
    return hashlib.sha256(f"{owner}\n{user}".encode()).hexdigest()


def decoded(body: bytes) -> RuleRecord:
    return msgspec.json.decode(body, type=RuleRecord)


class LastingRules:
    """The rules of agents and users in a store. A node has one: it keeps what it has read until a rule changes."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: dict[tuple[str, str], tuple[RuleRecord, ...]] = {}
        self._changes = 0
        self._unwatch: list[Callable[[], None]] = []
        self._reading = asyncio.Lock()

    def close(self) -> None:
        for stop in self._unwatch:
            stop()

    async def of(self, owner: str, user: str) -> tuple[RuleRecord, ...]:
        """Return the rules for sessions of a user, revoked ones too. owner: the account, or empty. Those of a former
        account of its name are not among them. Raises `StoreFailed`."""
        key = owner, user
        if (found := self._known.get(key)) is None:
            async with self._reading:
                if (found := self._known.get(key)) is None:
                    found = await self._read(key)
        return found

    async def save(self, owner: str, records: Sequence[RuleRecord]) -> None:
        """Write rules, each unless it has been written before. Raises `StoreFailed`."""
        life, since = await self._account(owner)
        for given in records:
            # An answer to a former account of this name, written late, is not for the present one.
            one = msgspec.structs.replace(given, life=life if given.given >= since else "")
            body, keys = msgspec.json.encode(one), {FOR: whose(owner, one.user)}
            try:
                await self._documents.write([Put(kind=RULE, id=one.id, body=body, owner=owner, keys=keys, revision=0)])
            except Conflict:  # written before a crash, and perhaps revoked since
                continue

    async def life(self, owner: str) -> str:
        """Return what tells an account from a later one of its name; empty for the home. Raises `StoreFailed`."""
        return (await self._account(owner))[0]

    async def _account(self, owner: str) -> tuple[str, float]:
        """Return the life of an account, and the wall time from which on it is."""
        found = await self._documents.get(ACCOUNT, owner) if owner else None
        if found is None:
            return "", 0.0
        return msgspec.json.decode(found.body, type=AccountRecord).life, found.created

    async def _read(self, key: tuple[str, str]) -> tuple[RuleRecord, ...]:
        if not self._unwatch:
            self._unwatch = [self._documents.watch(kind, self._changed) for kind in (RULE, ACCOUNT)]
        changes, life = self._changes, await self.life(key[0])
        query = DocumentQuery(kind=RULE, key=(FOR, whose(*key)), newest=True, limit=MOST)
        found = await self._documents.find(query)
        records = [decoded(one.body) for one in found]
        rules = tuple(one for one in records if one.life == life)
        if changes == self._changes:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = rules
        return rules

    def _changed(self) -> None:
        self._changes += 1
        self._known.clear()

"""The audit trail: who did what, to what, and whether it was allowed. What accounts put into sessions is in the logs of
these, each input with its account; here is the rest: changes of accounts and nodes, sessions made and deleted, and
what was refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from roost.authority import Authority
from roost.errors import RoostError
from roost.features.accounts.records import AUDIT
from roost.ids import new_id
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove

log = logging.getLogger("roost.accounts")
WRITE_SECONDS = 0.5
_WAITING = 1000
_ONE = 100
"""Entries of one account that wait: it drops its own, and no others'."""
_TARGET = 128
_PART = 50
"""Entries in one write."""
_PRUNE_SECONDS = 3600.0
PAGE = 500
"""Old entries that are deleted at once."""
KEPT_SECONDS = 180 * 86_400.0
"""How long an entry is kept."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """account: who; None is the home. token: the id of the token that was shown. what: the operation, or the door and
    its method. target: the session, account or token that it was about. outcome: `allowed`, or the code of the refusal.
    times: how often, for refusals in a row."""

    at: float
    what: str
    outcome: str
    account: str | None = None
    token: str | None = None
    target: str | None = None
    status: int | None = None
    times: int = 1


class AuditRow(AuditEntry, frozen=True, kw_only=True):
    id: str


class Trail:
    """Entries on their way into the store: many in one write, within a second. Those of the last moment before a crash
    are lost; what changes accounts is written with its entry."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._waiting: dict[tuple[object, ...], tuple[AuditEntry, int]] = {}
        self._dropped = 0
        self._writing: asyncio.Task[None] | None = None
        self._pruned = float("-inf")

    def add(self, entry: AuditEntry) -> None:
        """Take an entry. The same refusal in the same second is one entry that counts."""
        same = entry.account, entry.token, entry.what, entry.target, entry.outcome
        if same not in self._waiting:
            mine = sum(key[0] == entry.account for key in self._waiting)
            if mine >= _ONE or len(self._waiting) >= _WAITING:
                self._dropped += 1
                return
        self._waiting[same] = entry, self._waiting.get(same, (entry, 0))[1] + 1
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what waits."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self._flush()

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(WRITE_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        entries, self._waiting = [*self._waiting.values()], {}
        if self._dropped:
            log.warning("%d entries of the audit trail were too many at once and are dropped", self._dropped)
            self._dropped = 0
        for start in range(0, len(entries), _PART):
            part = entries[start : start + _PART]
            try:
                await self._documents.write([put(*one) for one in part])
            except RoostError as error:
                log.warning("%d entries of the audit trail are lost: %s", len(part), error)
        try:
            if time.monotonic() - self._pruned > _PRUNE_SECONDS:
                self._pruned = time.monotonic()
                while await prune(self._documents, now=time.time()) == PAGE:
                    pass
        except RoostError as error:
            log.warning("old entries of the audit trail cannot be deleted: %s", error)


def entry_of(
    who: Authority, what: str, target: str | None = None, *, outcome: str = "allowed", status: int | None = None
) -> AuditEntry:
    target = None if target is None else target[:_TARGET]
    token = None if who.account is None else who.token
    return AuditEntry(
        at=time.time(), what=what, outcome=outcome, account=who.account, token=token, target=target, status=status
    )


def put(entry: AuditEntry, times: int = 1) -> Put:
    """Return the write of an entry. A change and its entry are one write, so neither is without the other."""
    keys: Mapping[str, str] = {} if entry.account is None else {"account": entry.account}
    entry = msgspec.structs.replace(entry, times=times)
    return Put(kind=AUDIT, id=new_id("aud"), body=msgspec.json.encode(entry), keys=keys)


async def page(
    documents: Documents, *, account: str | None = None, before: str | None = None, limit: int = 100
) -> Sequence[AuditRow]:
    """Return entries, the newest first."""
    key = None if account is None else ("account", account)
    query = DocumentQuery(kind=AUDIT, key=key, after=before or "", newest=True, limit=limit)
    return [_row(one) for one in await documents.find(query)]


async def prune(documents: Documents, *, now: float) -> int:
    """Delete entries that are old enough, a page at most. Returns how many."""
    found = await documents.find(DocumentQuery(kind=AUDIT, limit=PAGE))
    old = [Remove(kind=AUDIT, id=one.id) for one in found if one.created < now - KEPT_SECONDS]
    if old:
        await documents.write(old)
    return len(old)


def _row(document: Document) -> AuditRow:
    entry = msgspec.json.decode(document.body, type=AuditEntry)
    return AuditRow(id=document.id, **msgspec.structs.asdict(entry))

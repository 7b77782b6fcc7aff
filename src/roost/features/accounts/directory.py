"""Read accounts and tokens, and keep what was read until a document changes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from roost.authority import ROLES, Authority
from roost.features.accounts.records import ACCOUNT, ISSUER, TOKEN, AccountRecord, IssuerRecord, TokenRecord
from roost.log.documents import DocumentQuery, Documents

T = TypeVar("T")
KEPT_SECONDS = 5.0
"""Longest time for which something read is believed without a word of a change."""
_KEPT, _UNKNOWN = 10_000, 1_000
"""Most things that are kept: what was found, and what is not there."""
_READERS = 8
_SUBJECT = "subject"


class Directory:
    """The accounts of a store. One for a node: it hears of each change, and forgets what it knew."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self._unknown: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self._changes = 0
        self._listeners: list[Callable[[], None]] = []
        self._reading = asyncio.Semaphore(_READERS)
        self._unwatch = [documents.watch(kind, self._changed) for kind in (ACCOUNT, TOKEN, ISSUER)]

    def watch(self, listener: Callable[[], None]) -> None:
        """Call `listener` when anything has changed."""
        self._listeners.append(listener)

    def close(self) -> None:
        for stop in self._unwatch:
            stop()

    async def account(self, name: str) -> AccountRecord | None:
        return await self._get(ACCOUNT, name, AccountRecord)

    async def token(self, id: str) -> TokenRecord | None:
        return await self._get(TOKEN, id, TokenRecord)

    async def of_subject(self, issuer: str, subject: str) -> str | None:
        """Return the name of the account of a provider's user."""

        async def read() -> str | None:
            query = DocumentQuery(kind=ACCOUNT, key=(_SUBJECT, subject_key(f"{issuer} {subject}")), limit=1)
            return next((one.id for one in await self._documents.find(query)), None)

        return await self._keep((_SUBJECT, f"{issuer} {subject}"), read)

    async def issuers(self) -> list[IssuerRecord]:
        async def read() -> list[IssuerRecord]:
            found = await self._documents.find(DocumentQuery(kind=ISSUER, limit=100))
            return [msgspec.json.decode(one.body, type=IssuerRecord) for one in found]

        return await self._keep((ISSUER, ""), read)

    async def authority(self, token: str) -> Authority | None:
        """Return what a token of this id lets do now; None if it is unknown, revoked or expired, or its account is gone
        or disabled. Raises `StoreFailed`."""
        found = await self.token(token)
        if found is None or found.revoked is not None or (found.ends is not None and found.ends <= time.time()):
            return None
        account = await self.account(found.account)
        made = await self.of_account(found.account, token=token, ends=found.ends)
        if made is None or account is None or account.life != found.life:
            return None
        role = min(made.role, found.role, key=ROLES.index)
        return msgspec.structs.replace(made, role=role, scopes=scopes(*made.scopes, found.agents))

    async def of_account(self, name: str, *, token: str, ends: float | None) -> Authority | None:
        """Return what an account may do; None if it is gone or disabled. Raises `StoreFailed`."""
        account = await self.account(name)
        if account is None or not account.enabled:
            return None
        return Authority(
            account=name,
            role=account.role,
            scopes=scopes(account.agents),
            token=token,
            ends=ends,
            limits=account.limits,
        )

    async def _get(self, kind: str, id: str, shape: type[T]) -> T | None:
        async def read() -> T | None:
            document = await self._documents.get(kind, id)
            return None if document is None else msgspec.json.decode(document.body, type=shape)

        return await self._keep((kind, id), read)

    async def _keep(self, key: tuple[str, str], read: Callable[[], Any]) -> Any:
        known = self._known.get(key) or self._unknown.get(key)
        if known is not None and time.monotonic() - known[0] < KEPT_SECONDS:
            return known[1]
        async with self._reading:  # guesses of many tokens do not take all connections of the store
            changes, began = self._changes, time.monotonic()
            found = await read()
        if changes == self._changes:
            # Guesses of tokens evict no known ones.
            kept, most = (self._unknown, _UNKNOWN) if found is None else (self._known, _KEPT)
            self._known.pop(key, None)
            self._unknown.pop(key, None)
            kept[key] = began, found
            if len(kept) > most:
                kept.popitem(last=False)
        return found

    def _changed(self) -> None:
        self._changes += 1
        self._known.clear()
        self._unknown.clear()
        for listener in self._listeners:
            listener()


def scopes(*globs: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the globs that limit something: one that matches everything limits nothing."""
    return tuple(one for one in globs if "*" not in one)


def subject_key(subject: str) -> str:
    """Return the key by which the account of a provider's user is found."""
    import hashlib

    return hashlib.sha256(subject.encode()).hexdigest()

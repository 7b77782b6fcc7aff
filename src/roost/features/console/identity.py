"""Say to the server what a signed-in browser may do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from roost.authority import Authority
from roost.features.console.records import READERS, SIGN_IN, digest_of, is_secret, read
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Documents

_MOST = 1000


class ConsoleIdentity:
    """Knows the sign-ins of browsers. Implements `roost.server.admission.Identity`. Keeps what it has
    read until a sign-in changes."""

    def __init__(self, host: ServiceHost) -> None:
        self._documents: Documents = host.node.store.documents
        self._known: dict[str, tuple[Authority, float]] = {}
        self._writes = 0
        self._reading = asyncio.Semaphore(READERS)
        self._documents.watch(SIGN_IN, self._forget)

    async def authority(self, token: bytes) -> Authority | None:
        return await self._live(digest_of(token)) if is_secret(token) else None

    async def holds(self, authority: Authority) -> bool:
        """Whether the browser is still signed in. The tokens of accounts are known to another identity."""
        return authority.browser is None or await self._live(authority.browser) == authority

    def watch(self, listener: Callable[[], None]) -> None:
        self._documents.watch(SIGN_IN, listener)

    def note(self, who: Authority, what: str, target: str | None, status: int) -> None:
        pass

    async def _live(self, id: str) -> Authority | None:
        found = self._known.get(id) or await self._read(id)
        return None if found is None or found[1] <= time.time() else found[0]

    async def _read(self, id: str) -> tuple[Authority, float] | None:
        async with self._reading:
            writes = self._writes
            document = await self._documents.get(SIGN_IN, id)
        if document is None:
            return None
        sign_in = read(document.body)
        found = (msgspec.structs.replace(sign_in.authority, browser=id), sign_in.ends)
        if writes == self._writes:  # else it may be gone by now
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[id] = found
        return found

    def _forget(self) -> None:
        self._writes += 1
        self._known.clear()


IDENTITY = ConsoleIdentity

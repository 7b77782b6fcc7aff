"""What an account may have open and ask at once, and the end of what a revoked token has open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.types import Scope

from roost.authority import Authority, current
from roost.errors import StoreFailed
from roost.log.coordination import Coordination
from roost.server.app_state import Api
from roost.server.problems import Refused

log = logging.getLogger("roost.server")
_READS = frozenset(("GET", "HEAD", "OPTIONS"))
OWN = "roost.own"
"""Set in the scope of a request for Roost's own API. What accounts do through doors is in their sessions' logs."""
_BROWSERS = ""
"""Stands for an account where requests of the home's browsers are counted: no account has this name."""
CONCURRENT = 64
"""Requests and streams that an account has open at once, on each node, unless its limits say otherwise."""
LOOK_SECONDS = 1.0
"""Between two looks at the authority of open streams, when nothing says before that it has changed."""


class Identity(Protocol):
    """Knows tokens other than the home's own. A feature that has one names its class `IDENTITY` in its `identity.py`,
    which takes a `ServiceHost`."""

    async def authority(self, token: bytes) -> Authority | None:
        """Return what the holder of a token may do now; None for one that is unknown, revoked or expired. Raises
        `StoreFailed`."""
        ...

    async def holds(self, authority: Authority) -> bool:
        """Whether an authority that this identity gave is still as it was. Raises `StoreFailed`."""
        ...

    def watch(self, listener: Callable[[], None]) -> None:
        """Call `listener` when an authority may have changed."""
        ...

    def note(self, who: Authority, what: str, target: str | None, status: int) -> None:
        """Note for the audit trail what an account asked for, and the status of the response."""
        ...


class Admission:
    """Find the authority of a token, limit the requests of accounts on this node, and end the streams of accounts and
    browsers when their token is revoked or expires, or their sign-in ends. identities: returns those that know tokens;
    called with the first such token."""

    def __init__(self, api: Api, rates: Coordination, identities: Callable[[], Sequence[Identity]]) -> None:
        self._api, self._rates, self._make = api, rates, identities
        self._open = Counter[str]()
        self._identities: Sequence[Identity] = ()
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def authority(self, token: bytes) -> Authority | None:
        """Return what the holder of a token may do now; None for a token that nobody knows. Raises `StoreFailed`."""
        if not self._identities:
            self._identities = self._make()
            for identity in self._identities:
                identity.watch(self._changed.set)
        for identity in self._identities:
            if (found := await identity.authority(token)) is not None:
                return found if await self._vouched(found, identity) else None
        return None

    async def _vouched(self, who: Authority, by: Identity) -> bool:
        """Whether the others, too, say that an account's authority holds: one of them may have given it first."""
        if who.account is None:
            return True
        return all([await other.holds(who) for other in self._identities if other is not by])

    async def enter(self) -> str | None:
        """Count a request. Returns what `leave` is to be given. Raises `Refused` when the account asks too much."""
        who = current()
        account = _BROWSERS if who.account is None and who.browser is not None else who.account
        if account is None:
            return None
        most = who.limits.concurrent
        if most is None and who.confined:
            most = CONCURRENT
        if most is not None and self._open[account] >= most:
            raise _too_many(f"account {who.account!r} has {most} requests open, which is its limit", 1.0)
        self._open[account] += 1
        try:
            await self.count(who)
        except BaseException:
            self.leave(account)
            raise
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return account

    async def count(self, who: Authority) -> None:
        """Count a request against the account's rate. Raises `Refused`."""
        if (rate := who.limits.rate) is not None:
            wait = await self._rates.take(f"account:{who.account}", 1.0, rate=rate / 60.0, burst=float(rate))
            if wait > 0:
                raise _too_many(f"account {who.account!r} may ask {rate} times in a minute", wait)

    def leave(self, account: str | None) -> None:
        if account is not None:
            self._open[account] -= 1
            if not self._open[account]:
                del self._open[account]

    def note(self, scope: Scope, status: int) -> None:
        """Note what the acting account did: what it was refused, and what no session's log has."""
        who, path, method = current(), scope["path"], scope["method"]
        if not who.account or not self._identities:  # the home, or nobody
            return
        given: dict[str, str] = scope.get("path_params") or {}
        session = given.get("session")
        if status < 400 and (method in _READS or (session is not None and method != "DELETE") or not scope.get(OWN)):
            return
        for name, value in given.items():
            path = path.replace(f"/{value}", f"/{{{name}}}", 1)
        target = session or next(iter(given.values()), None)
        for identity in self._identities:
            identity.note(who, f"{method} {path}"[:256], target, status)

    async def _look(self) -> None:
        """End the streams of authorities that hold no more, while accounts or browsers have requests open."""
        while self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            held: dict[Authority, bool] = {}
            for stream in [*self._api.streams, *self._api.relays]:
                who = stream.authority
                if not who.account and who.browser is None:  # the home, or a request that showed no token of an account
                    continue
                if who not in held:
                    held[who] = await self._holds(who)
                if not held[who]:
                    stream.end()

    async def _holds(self, who: Authority) -> bool:
        if who.ends is not None and who.ends <= time.time():
            return False
        try:
            return all([await identity.holds(who) for identity in self._identities])
        except StoreFailed as error:  # looked at again; a request would be refused meanwhile
            log.warning("whether a token is still valid is not known: %s", error)
            return True


def _too_many(why: str, wait: float) -> Refused:
    return Refused(429, "too_many_requests", why, [(b"retry-after", b"%d" % max(1, round(wait + 0.5)))])

"""Make codes and sign-ins of browsers on a running node."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import msgspec

from roost.authority import Authority, current
from roost.errors import Conflict, Forbidden, NotFound
from roost.features.accounts import audit
from roost.features.console.api import ConsoleApi, SignInCode
from roost.features.console.records import (
    CODE,
    CODE_SECONDS,
    READERS,
    SIGN_IN,
    SIGN_IN_SECONDS,
    SIGN_INS,
    SignIn,
    digest_of,
    new_half,
    new_secret,
    read,
)
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Document, DocumentQuery, Put, Remove, Write, find_all

_CODES = 50
"""Most codes that an account has at a time."""


class SignedIn(NamedTuple):
    """cookie, page: the halves of the secret, of which the browser keeps one as a cookie and the page the other, for so
    many `seconds`."""

    cookie: str
    page: str
    seconds: int


class ConsoleService(ConsoleApi):
    def __init__(self, host: ServiceHost) -> None:
        self._documents = host.node.store.documents
        self._reading = asyncio.Semaphore(READERS)

    async def code(self) -> SignInCode:
        _demand_token()
        secret, ends = new_secret(), time.time() + CODE_SECONDS
        await self._documents.write(
            [*await self._making_room(CODE, _CODES), _put(CODE, secret, SignIn(authority=current(), ends=ends))]
        )
        return SignInCode(code=secret, ends=ends)

    async def sign_in(self) -> SignedIn:
        """Sign in a browser with the rights of the request. Raises `Forbidden` for a browser that is signed in."""
        _demand_token()
        return await self._sign_in(current(), [])

    async def enter(self, code: str, *, owner: Authority) -> SignedIn:
        """Sign in a browser by a code, which is used up by that. owner: the authority of the holder of the home's
        token, which a code of the home must have been made with, or in the node's own process. Raises `NotFound`."""
        found = await self._get(CODE, code)
        if found is None or read(found.body).ends <= time.time():
            raise _no_code()
        who = read(found.body).authority
        if who.account is None:
            if who.token not in (None, owner.token):
                raise _no_code()
            who = owner
        try:
            return await self._sign_in(who, [Remove(kind=CODE, id=found.id, revision=found.revision)])
        except Conflict:  # another browser was first
            raise _no_code() from None

    async def sign_out(self, secret: str) -> None:
        """End a sign-in, and the streams of its pages. Nothing happens when it has ended already."""
        found = await self._get(SIGN_IN, secret)
        if found is not None:  # nobody writes to the store by asking this with what is no sign-in
            entry = audit.entry_of(read(found.body).authority, "console.sign_out")
            await self._documents.write([Remove(kind=SIGN_IN, id=found.id), audit.put(entry)])

    async def _get(self, kind: str, secret: str) -> Document | None:
        async with self._reading:
            return await self._documents.get(kind, digest_of(secret))

    async def _sign_in(self, who: Authority, writes: list[Write]) -> SignedIn:
        cookie, page, ends = new_secret(), new_half(), time.time() + SIGN_IN_SECONDS
        if who.ends is not None:
            ends = min(ends, who.ends)
        room = await self._making_room(SIGN_IN, SIGN_INS, who)
        made = _put(SIGN_IN, f"{cookie}.{page}", SignIn(authority=who, ends=ends))
        entry = audit.put(audit.entry_of(who, "console.sign_in"))  # in the same write: no sign-in without its entry
        await self._documents.write([*writes, *room, made, entry])
        return SignedIn(cookie, page, max(1, int(ends - time.time())))

    async def _making_room(self, kind: str, most: int, who: Authority | None = None) -> list[Remove]:
        """Return the removals of those of the account that have ended, and of the oldest beyond `most`."""
        query = DocumentQuery(kind=kind, owner=(who or current()).account or "", limit=most)
        known: list[Document] = [one async for one in find_all(self._documents, query)]
        now = time.time()
        live = [one for one in known if read(one.body).ends > now]
        live.sort(key=lambda one: one.created)
        gone = {one.id for one in live[: max(0, len(live) - most + 1)]}
        gone |= {one.id for one in known} - {one.id for one in live}
        return [Remove(kind=kind, id=id) for id in sorted(gone)]


def _put(kind: str, secret: str, sign_in: SignIn) -> Put:
    body = msgspec.json.encode(sign_in)
    return Put(kind=kind, id=digest_of(secret), body=body, owner=sign_in.authority.account or "", revision=0)


def _demand_token() -> None:
    """Check that the request shows a token: a sign-in does not prolong itself. Raises `Forbidden`."""
    if current().browser is not None:
        raise Forbidden("a browser that is signed in cannot sign in another one: use the token, or `roost console`")


def _no_code() -> NotFound:
    detail = "this link was used already, or it is too old: make another with `roost console`"
    return NotFound(detail, code="unknown_code")


SERVICE = ConsoleService

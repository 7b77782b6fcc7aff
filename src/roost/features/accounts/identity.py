"""Say to the server what the holder of a token may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from roost.authority import Authority
from roost.features.accounts.audit import entry_of
from roost.features.accounts.duties import AccountDuties
from roost.features.accounts.records import fits, token_id
from roost.kernel.service_host import ServiceHost

if TYPE_CHECKING:
    from roost.features.accounts.oidc import Verifier

OIDC = "oidc:"
_REFUSALS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "too_many_requests"}


class AccountIdentity:
    """Knows the tokens of accounts, and those of the OpenID providers that the owner has named. Implements
    `roost.server.admission.Identity`."""

    def __init__(self, host: ServiceHost) -> None:
        self._duties = host.node.feature(AccountDuties)
        self._directory = self._duties.directory
        self._verifier: Verifier | None = None

    async def authority(self, token: bytes) -> Authority | None:
        if (id := token_id(token)) is not None:
            found = await self._directory.token(id)
            return await self._directory.authority(id) if found is not None and fits(token, found.digest) else None
        if token.count(b".") != 2 or not (issuers := await self._directory.issuers()):
            return None
        if self._verifier is None:
            from roost.features.accounts.oidc import Verifier

            self._verifier = Verifier()
        shown = await self._verifier.verify(token, issuers)
        if shown is None:
            return None
        name = await self._directory.of_subject(shown.issuer, shown.subject)
        if name is None:
            return None
        return await self._directory.of_account(name, token=f"{OIDC}{shown.issuer} {shown.subject}", ends=shown.ends)

    async def holds(self, authority: Authority) -> bool:
        if authority.account is None:
            return True
        authority = msgspec.structs.replace(authority, browser=None)
        token = authority.token or ""
        if not token.startswith(OIDC):
            return await self._directory.authority(token) == authority
        issuer, _, subject = token.removeprefix(OIDC).partition(" ")
        if all(one.issuer != issuer for one in await self._directory.issuers()):
            return False
        name = await self._directory.of_subject(issuer, subject)
        if name is None or name != authority.account:
            return False
        return await self._directory.of_account(name, token=token, ends=authority.ends) == authority

    def note(self, who: Authority, what: str, target: str | None, status: int) -> None:
        outcome = "allowed" if status < 400 else _REFUSALS.get(status, "failed")
        self._duties.trail.add(entry_of(who, what, target, outcome=outcome, status=status))

    def watch(self, listener: Callable[[], None]) -> None:
        self._directory.watch(listener)


IDENTITY = AccountIdentity

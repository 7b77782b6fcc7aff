"""Make, change and revoke accounts and tokens, and read the audit trail, on a running node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from roost.authority import NAME, ROLES, Role, current
from roost.errors import Conflict, Invalid, NotFound
from roost.features.accounts import audit
from roost.features.accounts.api import (
    AccountList,
    AccountsApi,
    AccountView,
    AuditPage,
    Caller,
    IssuerList,
    IssuerView,
    MadeToken,
    TokenList,
    TokenView,
)
from roost.features.accounts.directory import subject_key
from roost.features.accounts.records import (
    ACCOUNT,
    ISSUER,
    TOKEN,
    AccountRecord,
    Globs,
    IssuerRecord,
    TokenRecord,
    make_token,
)
from roost.ids import is_id, new_id
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Document, DocumentQuery, Put, Remove

_DAY = 86_400.0
_PAGE = 500


class AccountService(AccountsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._documents = host.node.store.documents

    async def me(self) -> Caller:
        who = current()
        return Caller(
            account=who.account,
            role=who.role,
            agents=list(who.scopes),
            token=None if who.account is None else who.token,
            ends=who.ends,
            **msgspec.structs.asdict(who.limits),
        )

    async def list(self, *, after: str = "", limit: int = 100) -> AccountList:
        found = await self._documents.find(DocumentQuery(kind=ACCOUNT, after=after, limit=limit))
        return AccountList(accounts=list(map(_view, found)), next=found[-1].id if len(found) == limit else None)

    async def get(self, account: str) -> AccountView:
        return _view(await self._account(account))

    async def put(
        self,
        account: str,
        *,
        role: Role | None = None,
        agents: Globs | None = None,
        enabled: bool | None = None,
        rate: int | None = None,
        concurrent: int | None = None,
        sessions: int | None = None,
        budget: float | None = None,
        subject: str | None = None,
        note: str | None = None,
        unlimited: Sequence[str] = (),
        new: bool = False,
    ) -> AccountView:
        """As the interface says. Raises `Invalid`, and `Conflict` for a subject of another account."""
        if NAME.fullmatch(account) is None:
            raise Invalid(f"{account[:64]!r} cannot name an account: use up to 32 of a-z, 0-9, - and _")
        if wrong := set(unlimited) - {"rate", "concurrent", "sessions", "budget"}:
            raise Invalid(f"unlimited: {sorted(wrong)} are no limits; these are rate, concurrent, sessions and budget")
        old = await self._documents.get(ACCOUNT, account)
        if new and old is not None:
            raise Conflict(f"there is an account {account!r} already", code="account_exists")
        before = AccountRecord(life=new_id("acc")) if old is None else msgspec.json.decode(old.body, type=AccountRecord)
        limits = _given(rate=rate, concurrent=concurrent, sessions=sessions, budget=budget)
        record = msgspec.structs.replace(
            before,
            limits=msgspec.structs.replace(before.limits, **{**limits, **dict.fromkeys(unlimited)}),
            subject=before.subject if subject is None else subject or None,
            **_given(role=role, agents=agents, enabled=enabled, note=note),
        )
        if record.subject is not None:
            await self._demand_free(account, record.subject)
        keys = {} if record.subject is None else {"subject": subject_key(record.subject)}
        write = Put(
            kind=ACCOUNT,
            id=account,
            body=msgspec.json.encode(record),
            keys=keys,
            revision=0 if old is None else old.revision,
        )
        what = "account.create" if old is None else "account.change"
        done = await self._documents.write([write, audit.put(audit.entry_of(current(), what, account))])
        assert done[0] is not None
        return _view(done[0])

    async def remove(self, account: str) -> None:
        await self._account(account)
        entry = audit.put(audit.entry_of(current(), "account.remove", account))
        await self._documents.write([Remove(kind=ACCOUNT, id=account), entry])  # from here on no token of it works
        while found := await self._documents.find(DocumentQuery(kind=TOKEN, key=("account", account), limit=_PAGE)):
            await self._documents.write([Remove(kind=TOKEN, id=one.id) for one in found])

    async def make_token(
        self,
        account: str,
        *,
        name: str = "",
        role: Role | None = None,
        agents: Globs = ("*",),
        days: float | None = None,
    ) -> MadeToken:
        """As the interface says. Raises `NotFound`, and `Invalid` for a role above the account's."""
        known = msgspec.json.decode((await self._account(account)).body, type=AccountRecord)
        role = role or known.role
        if ROLES.index(role) > ROLES.index(known.role):
            raise Invalid(f"account {account!r} has the role {known.role}: its tokens cannot have {role}")
        new = make_token()
        ends = None if days is None else time.time() + days * _DAY
        record = TokenRecord(
            account=account, role=role, agents=agents, digest=new.digest, life=known.life, name=name, ends=ends
        )
        write = Put(
            kind=TOKEN,
            id=new.id,
            body=msgspec.json.encode(record),
            owner=account,
            keys={"account": account},
            revision=0,
        )
        entry = audit.put(audit.entry_of(current(), "token.create", f"{account} {new.id}"))
        made, _ = await self._documents.write([write, entry])
        assert made is not None
        return MadeToken(token=new.text, **_fields(_token(made)))

    async def tokens(self, *, account: str | None = None, after: str = "", limit: int = 100) -> TokenList:
        key = None if account is None else ("account", account)
        found = await self._documents.find(DocumentQuery(kind=TOKEN, key=key, after=after, limit=limit))
        return TokenList(tokens=list(map(_token, found)), next=found[-1].id if len(found) == limit else None)

    async def revoke(self, token: str) -> TokenView:
        while True:
            found = await self._documents.get(TOKEN, token) if is_id(token) else None
            if found is None:
                raise NotFound(f"there is no token {token[:64]!r}; `roost token list` lists them")
            record = msgspec.json.decode(found.body, type=TokenRecord)
            if record.revoked is not None:
                return _token(found)
            record = msgspec.structs.replace(record, revoked=time.time())
            write = Put(
                kind=TOKEN,
                id=token,
                body=msgspec.json.encode(record),
                owner=found.owner,
                keys=found.keys,
                revision=found.revision,
            )
            entry = audit.put(audit.entry_of(current(), "token.revoke", f"{record.account} {token}"))
            try:
                done = await self._documents.write([write, entry])
            except Conflict:  # someone else changed it at the same time
                continue
            assert done[0] is not None
            return _token(done[0])

    async def issuers(self) -> IssuerList:
        found = await self._documents.find(DocumentQuery(kind=ISSUER, limit=_PAGE))
        return IssuerList(issuers=list(map(_issuer, found)))

    async def trust(
        self,
        name: str,
        issuer: str,
        audience: str,
        *,
        algorithms: tuple[str, ...] = ("RS256", "ES256"),
        keys: str | None = None,
    ) -> IssuerView:
        """As the interface says. Raises `Invalid`."""
        from roost.features.accounts.oidc import check_issuer

        if not is_id(name):
            raise Invalid(f"{name[:64]!r} cannot name a provider: use letters, digits and ._:- (at most 128)")
        record = IssuerRecord(issuer=issuer, audience=audience, algorithms=algorithms, keys=keys)
        check_issuer(record)
        write = Put(kind=ISSUER, id=name, body=msgspec.json.encode(record))
        entry = audit.put(audit.entry_of(current(), "issuer.trust", name))
        done, _ = await self._documents.write([write, entry])
        assert done is not None
        return _issuer(done)

    async def distrust(self, name: str) -> None:
        if not is_id(name) or await self._documents.get(ISSUER, name) is None:
            raise NotFound(f"there is no provider {name[:64]!r}")
        entry = audit.put(audit.entry_of(current(), "issuer.distrust", name))
        await self._documents.write([Remove(kind=ISSUER, id=name), entry])

    async def audit(self, *, account: str | None = None, before: str | None = None, limit: int = 100) -> AuditPage:
        found = list(await audit.page(self._documents, account=account, before=before, limit=limit))
        return AuditPage(entries=found, next=found[-1].id if len(found) == limit else None)

    async def _account(self, name: str) -> Document:
        found = await self._documents.get(ACCOUNT, name) if NAME.fullmatch(name) else None
        if found is None:
            raise NotFound(f"there is no account {name[:64]!r}; `roost account list` lists them")
        return found

    async def _demand_free(self, account: str, subject: str) -> None:
        if len(subject.split(" ")) != 2:
            raise Invalid("a subject is the provider's issuer and its user, as in 'https://login.example.com 1234'")
        query = DocumentQuery(kind=ACCOUNT, key=("subject", subject_key(subject)), limit=2)
        if other := [one.id for one in await self._documents.find(query) if one.id != account]:
            raise Conflict(f"{subject!r} is the account {other[0]!r} already", code="subject_taken")


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _view(document: Document) -> AccountView:
    record = msgspec.json.decode(document.body, type=AccountRecord)
    return AccountView(
        name=document.id,
        role=record.role,
        agents=record.agents,
        enabled=record.enabled,
        created=document.created,
        subject=record.subject,
        note=record.note,
        **msgspec.structs.asdict(record.limits),
    )


def _token(document: Document) -> TokenView:
    record = msgspec.json.decode(document.body, type=TokenRecord)
    ended = record.ends is not None and record.ends <= time.time()
    return TokenView(
        id=document.id,
        account=record.account,
        role=record.role,
        agents=record.agents,
        state="revoked" if record.revoked is not None else "expired" if ended else "valid",
        created=document.created,
        name=record.name,
        ends=record.ends,
    )


def _issuer(document: Document) -> IssuerView:
    record = msgspec.json.decode(document.body, type=IssuerRecord)
    return IssuerView(name=document.id, **msgspec.structs.asdict(record))


def _fields(view: TokenView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__struct_fields__}


SERVICE = AccountService

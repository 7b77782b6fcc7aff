"""Accounts, their tokens, OpenID providers, and the audit trail."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import Answer, Name
from roost.authority import Role
from roost.features.accounts.audit import AuditRow
from roost.features.accounts.records import Globs
from roost.operation import DELETE, GET, POST, PUT

_Account = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9][a-z0-9_-]*$(?!\n)")]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Dollars = Annotated[float, Meta(ge=0, le=1e9)]
_Days = Annotated[float, Meta(gt=0, le=36_500)]
_Subject = Annotated[str, Meta(max_length=1024, pattern=r"^$|^.{3}")]
_Note = Annotated[str, Meta(max_length=256)]
_Url = Annotated[str, Meta(min_length=1, max_length=1024)]
_Page = Annotated[int, Meta(ge=1, le=1000)]
_ACCOUNT = "/accounts/{account}"


class AccountView(Answer):
    """An account. `agents`: globs of the agents, and of models as `model:NAME`, that it may use. `rate`: requests in a
    minute over all nodes. `concurrent`: requests and streams open at once on each node. `budget`: dollars in a month.
    `sessions`: that exist at once.
    `subject`: its user at an OpenID provider, as `ISSUER SUBJECT`. Times are seconds since 1970."""

    name: str
    role: Role
    agents: tuple[str, ...]
    enabled: bool
    created: float
    rate: int | None = None
    concurrent: int | None = None
    budget: float | None = None
    sessions: int | None = None
    subject: str | None = None
    note: str = ""


class AccountList(Answer):
    """By name. `next`: the `after` of the next page."""

    accounts: list[AccountView]
    next: str | None = None


class TokenView(Answer, kw_only=True):
    """A token, without its secret. `state`: whether it works now, as far as it is decided by the token."""

    id: str
    account: str
    role: Role
    agents: tuple[str, ...]
    state: str
    created: float
    name: str = ""
    ends: float | None = None


class MadeToken(TokenView, kw_only=True):
    """`token`: what its holder sends. It is shown only this once."""

    token: str


class TokenList(Answer):
    """The oldest first. `next`: the `after` of the next page."""

    tokens: list[TokenView]
    next: str | None = None


class IssuerView(Answer):
    name: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    keys: str | None = None


class IssuerList(Answer):
    issuers: list[IssuerView]


class Caller(Answer):
    """Who the caller is. `account`: None is the home. `ends`: when the token expires."""

    account: str | None
    role: Role
    agents: list[tuple[str, ...]]
    token: str | None = None
    ends: float | None = None
    rate: int | None = None
    concurrent: int | None = None
    budget: float | None = None
    sessions: int | None = None


class AuditPage(Answer):
    """The newest first. `next`: the `before` of the next page."""

    entries: list[AuditRow]
    next: str | None = None


class AccountsApi(Protocol):
    @GET("/me", right="read")
    async def me(self) -> Caller:
        """Who the caller is, and what the caller may do."""
        ...

    @GET("/accounts", right="administer")
    async def list(self, *, after: Annotated[str, Meta(max_length=128)] = "", limit: _Page = 100) -> AccountList:
        """The accounts, by name."""
        ...

    @GET(_ACCOUNT, errors=(404,), right="administer")
    async def get(self, account: str) -> AccountView:
        """An account."""
        ...

    @PUT(_ACCOUNT, body="AccountBody", bodiless=True, errors=(409,), right="administer")
    async def put(
        self,
        account: str,
        *,
        role: Role | None = None,
        agents: Globs | None = None,
        enabled: bool | None = None,
        rate: _Count | None = None,
        concurrent: _Count | None = None,
        sessions: _Count | None = None,
        budget: _Dollars | None = None,
        subject: _Subject | None = None,
        note: _Note | None = None,
        unlimited: Annotated[list[Annotated[str, Meta(max_length=16)]], Meta(max_length=4)] = [],  # noqa: B006
        new: bool = False,
    ) -> AccountView:
        """Make an account, or change it. What is left out stays as it is.

        A new one has the role `user` and may use all agents. `unlimited`: which of `rate`, `concurrent`, `sessions`
        and `budget` are to have no limit again. `subject`: `ISSUER SUBJECT` of an OpenID provider; an empty one takes
        it away. `new`: only make it, and refuse when there is an account of this name (`account_exists`).
        """
        ...

    @DELETE(_ACCOUNT, 204, errors=(404,), right="administer")
    async def remove(self, account: str) -> None:
        """Remove an account and its tokens. Its sessions stay; only the owner sees them."""
        ...

    @POST(f"{_ACCOUNT}/tokens", 201, body="TokenBody", bodiless=True, errors=(404,), right="administer")
    async def make_token(
        self,
        account: str,
        *,
        name: _Note = "",
        role: Role | None = None,
        agents: Globs = ("*",),
        days: _Days | None = None,
    ) -> MadeToken:
        """Make a token of an account. The answer alone shows its secret.

        `role`: at most the account's; by default the same. `agents`: globs; it may use what these and the account's
        allow. `days`: after which it expires.
        """
        ...

    @GET("/tokens", right="administer")
    async def tokens(
        self,
        *,
        account: _Account | None = None,
        after: Annotated[str, Meta(max_length=128)] = "",
        limit: _Page = 100,
    ) -> TokenList:
        """Tokens, without their secrets."""
        ...

    @DELETE("/tokens/{token}", errors=(404,), right="administer")
    async def revoke(self, token: str) -> TokenView:
        """Revoke a token: it is refused at once, and its open streams end."""
        ...

    @GET("/issuers", right="administer")
    async def issuers(self) -> IssuerList:
        """The OpenID providers whose tokens are accepted."""
        ...

    @PUT("/issuers/{name}", body="IssuerBody", right="administer")
    async def trust(
        self,
        name: Name,
        issuer: _Url,
        audience: _Url,
        *,
        algorithms: Annotated[tuple[str, ...], Meta(min_length=1, max_length=10)] = ("RS256", "ES256"),
        keys: _Url | None = None,
    ) -> IssuerView:
        """Accept tokens of an OpenID provider, for accounts that name its user as their `subject`.

        `audience`: whom the tokens must be for. `keys`: the URL of its keys; by default as its discovery says.
        """
        ...

    @DELETE("/issuers/{name}", 204, errors=(404,), right="administer")
    async def distrust(self, name: str) -> None:
        """Accept no more tokens of an OpenID provider."""
        ...

    @GET("/audit", right="administer")
    async def audit(
        self,
        *,
        account: _Account | None = None,
        before: Annotated[str, Meta(max_length=128)] | None = None,
        limit: _Page = 100,
    ) -> AuditPage:
        """The audit trail, newest first: who did what, to what, and whether it was allowed.

        What accounts sent to sessions is in the events of these.
        """
        ...

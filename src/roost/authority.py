"""Authority: who makes a request, and what they may do and see.

The server makes one `Authority` per request (`roost.server.auth`), and `acting` carries it to everything that the
request calls, also in tasks and threads that it starts. A program that embeds Roost, the kernel and the home's own
token act for the home: they may do everything, and nothing below is asked of them.

The sessions of an account have ids that begin with its name (`alice.ses_1`), a label that users cannot write, and a
user (`@alice`) whose memory and budget are theirs. `roost.kernel.tenancy` lets a request see no others."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from roost.errors import Forbidden, Invalid
from roost.ids import is_id

Role: TypeAlias = Literal["viewer", "user", "operator", "owner"]
Right: TypeAlias = Literal["read", "use", "operate", "administer"]
"""read: see one's own sessions. use: make sessions, send inputs, answer approvals, call models. operate: see and change
the nodes, their configuration and all costs. administer: accounts, tokens, the audit trail, and everything else."""
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what the ones before it may."""
RIGHTS: tuple[Right, ...] = get_args(Right)
ACCOUNT = "roost:account"
"""The label with the account that a session belongs to. No user can write it: labels of users have no colon."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""An account's name."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an account may use at most. rate: requests in a minute, over all nodes. concurrent: requests and streams
    that are open at once, on each node. budget: dollars in a month, a share of the ledger's month. sessions: that exist
    at once; those of agents that its sessions call count, and are made nevertheless. None: no limit."""

    rate: Annotated[int, msgspec.Meta(ge=1)] | None = None
    concurrent: Annotated[int, msgspec.Meta(ge=1)] | None = None
    budget: Annotated[float, msgspec.Meta(ge=0)] | None = None
    sessions: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts. account: None is the home itself. scopes: an agent must match a glob of each of them; models are called
    `model:NAME`. token: the id of the token that it showed. ends: wall time at which the token expires. browser: the id
    of the sign-in by which it acts; None for a request that shows a token itself."""

    account: str | None = None
    role: Role = "owner"
    scopes: tuple[tuple[str, ...], ...] = ()
    token: str | None = None
    ends: float | None = None
    limits: Limits = Limits()
    browser: str | None = None

    @property
    def confined(self) -> bool:
        """Whether it sees the sessions of its account alone."""
        return self.account is not None and self.role != "owner"

    def may(self, right: Right) -> bool:
        return RIGHTS.index(right) <= ROLES.index(self.role)

    def demand(self, right: Right) -> None:
        """Raise `Forbidden` without this right."""
        if not self.may(right):
            least = ROLES[RIGHTS.index(right)]
            raise Forbidden(f"account {self.account!r} has the role {self.role} here; this needs the role {least}")

    def may_use(self, agent: str) -> bool:
        """Whether an agent is in its scope."""
        return all(any(fnmatchcase(agent, pattern) for pattern in scope) for scope in self.scopes)

    def demand_model(self, name: str) -> None:
        """Raise `Forbidden` if it may not choose a model itself."""
        self.demand("use")
        if not self.may_use(f"model:{name}"):
            raise Forbidden(f"this token may not choose the model {name!r}: its scopes need a glob of model:{name}")
        if self.confined and "://" in name:
            raise Forbidden("an account chooses no addresses of models; name one that the configuration knows")

    def session_id(self, id: str) -> str:
        """Return the id of its own session that is meant by `id`, which may lack the account's name."""
        return session_id(id, self.account) if self.confined else id

    def owns(self, session: str, labels: Mapping[str, str], agent: str) -> bool:
        """Whether it may see a session."""
        if not self.confined:
            return True
        return may_own(session, self.account) and labels.get(ACCOUNT) == self.account and self.may_use(agent)


HOME = Authority()
"""The home itself: its own token, and programs that embed Roost."""
NOBODY = Authority(account="", role="viewer", scopes=((),))
"""A request that has shown no token yet."""


class _Acting:
    """An authority, and the sessions that it was found to own since it acts: an id of an account is never another's."""

    __slots__ = ("authority", "sessions")

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.sessions: set[str] = set()


_acting: ContextVar[_Acting | None] = ContextVar("roost_authority", default=None)


def current() -> Authority:
    """Return the authority of the request that runs, else that of the home."""
    found = _acting.get()
    return HOME if found is None else found.authority


def known_sessions() -> set[str]:
    """Return the sessions that the acting authority was found to own."""
    found = _acting.get()
    return set() if found is None else found.sessions


@contextmanager
def acting(authority: Authority) -> Generator[None]:
    """Act with this authority, in this task and in those that it starts."""
    token = _acting.set(_Acting(authority))
    try:
        yield
    finally:
        _acting.reset(token)


def become(authority: Authority) -> None:
    """Act with this authority until the surrounding `acting` ends."""
    _acting.set(_Acting(authority))


def session_id(id: str, account: str | None) -> str:
    """Return the id of a session of an account: it begins with the account's name. Raises `Invalid`."""
    found = id if account is None or may_own(id, account) else f"{account}.{id}"
    if not is_id(found) and is_id(id):
        raise Invalid(f"{id!r} is too long for a session of an account: {found!r} has more than 128 characters")
    return found


def key_of(account: str, key: str) -> str:
    """Return the idempotency key of an account's request. The home's keys are other ones: none begins like this."""
    return f"@{account}\n{key}"


def may_own(session: str, account: str | None) -> bool:
    """Whether a session can be of an account, by its id."""
    return session.startswith(f"{account}.")


def owned_labels(labels: Mapping[str, str], *, child: bool = False) -> dict[str, str]:
    """Return the labels of a session that is made now. One of an account gets its owner, and a user of this account:
    `bob` becomes `@alice/bob`. child: a session of that user (`user_in`) makes it."""
    who, user = current(), labels.get("user", "")
    account = who.account if who.confined else account_of(user) if child else labels.get(ACCOUNT)
    if account is None:
        return {**labels, "user": label_of(user)} if child and user else dict(labels)
    return {**labels, "user": _of_account(user, account), ACCOUNT: account}


def user_in(labels: Mapping[str, str]) -> str:
    """Return the user of a session for memory, budgets and colleagues; empty without one. The label `user` is what a
    client said; the account says whose it is. So a user of the home called `@alice` is `@@alice`, and no account."""
    return user_named(labels.get("user", ""), labels.get(ACCOUNT))


def user_named(user: str, account: str | None) -> str:
    """Return the user that a client means by a name. account: the client's; None is the home."""
    if account is None:
        return f"@{user}" if user.startswith("@") else user
    return _of_account(user, account)


def label_of(user: str) -> str:
    """Return the label of a session of this user."""
    return user[1:] if user.startswith("@@") else user


def _of_account(user: str, account: str) -> str:
    return user if account_of(user) == account else user_of(account, user)


def user_of(account: str, user: str = "") -> str:
    """Return the name of an account's user for memory and budgets."""
    return f"@{account}/{user}" if user else f"@{account}"


def account_of(user: str | None) -> str | None:
    """Return the account of a session's user; None for a user of the home."""
    name = user[1:].partition("/")[0] if user and user.startswith("@") else ""
    return name if NAME.fullmatch(name) else None


def space_account(space: str) -> str | None:
    """Return the account that facts of a space belong to; None for the home's."""
    kind, _, name = space.partition(":")
    match kind:
        case "user" | "shared":
            return account_of(name)
        case "agent":
            return account_of(name[name.rfind("@") :]) if "@" in name else None
        case "session":
            account, dot, _ = name.partition(".")
            return account if dot and NAME.fullmatch(account) else None
        case _:
            return None

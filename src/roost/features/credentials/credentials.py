"""Keep the credentials of vaults. Each is a document whose secret is sealed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from roost.agent.session_credentials import Token
from roost.errors import Conflict, Invalid, NotFound, RoostError, TooLarge
from roost.ids import new_id
from roost.log.documents import Documents
from roost.log.records import Record, Records
from roost.policy.sealing import Sealing

MOST = 100
"""Most credentials of a vault."""
ACCOUNT_MOST = 500
"""Most credentials of an account, in all its vaults; archived ones count."""


class ServerToken(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="static_bearer"):
    """A token for the MCP server at `server`."""

    server: str


class ServerOAuth(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="mcp_oauth"):
    """A token for the MCP server at `server`, with what gets the next one. ends: wall time. refresh: whether there is a
    refresh token. The rest is as in `Token`."""

    server: str
    ends: float | None = None
    refresh: bool = False
    url: str = ""
    client: str = ""
    method: Literal["none", "client_secret_basic", "client_secret_post"] = "none"
    resource: str | None = None
    scope: str | None = None


class Variable(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="environment_variable"):
    """A secret of the session's commands, which see a handle in the variable `name`. hosts: that get the value; None
    for all that the session reaches."""

    name: str
    hosts: tuple[str, ...] | None = None
    header: bool = True
    body: bool = False


Use: TypeAlias = ServerToken | ServerOAuth | Variable


class Secrets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed. value: the token, or the variable's value."""

    value: str
    refresh: str = ""
    client_secret: str = ""

    def __repr__(self) -> str:
        return "Secrets()"


class Credential(Record, frozen=True, kw_only=True, omit_defaults=True):
    """use: what it is for, without secrets. version: counts its secrets."""

    kind: ClassVar[str] = "credential"
    noun: ClassVar[str] = "credential"

    vault: str
    use: Use
    sealed: str
    version: int = 1
    name: str | None = None
    metadata: dict[str, str] = {}

    @property
    def keys(self) -> dict[str, str]:
        return {"vault": self.vault}


class Credentials:
    """The credentials of a store."""

    def __init__(self, documents: Documents, sealing: Sealing) -> None:
        self.records, self._sealing = Records(documents, Credential), sealing

    async def make(
        self, credential: Credential, secrets: Secrets, check: Callable[[], Awaitable[object]]
    ) -> Credential:
        """Keep a credential; `sealed` is filled in. check: raises when its vault takes none, and is asked behind the
        write: in a vault that was deleted meanwhile nothing stays. Raises `Invalid` for one too many, or for a server
        or variable that another one of the vault is for, `Conflict` when its id is taken, and `TooLarge` when its
        account has as many as it may."""
        await self._demand_room(credential.owner)
        others = await self.of_vault(credential.vault)
        if len(others) >= MOST:
            raise Invalid(f"a vault has at most {MOST} credentials")
        if any(_target(one.use) == _target(credential.use) for one in others if one.id != credential.id):
            raise Conflict(
                f"the vault has a credential for {_target(credential.use)} already", code="credential_exists"
            )
        made = await self.records.make(replace(credential, sealed=await self._seal(credential.id, secrets)))
        try:
            await check()
        except RoostError:
            await self._remove(made.id)
            raise
        return made

    async def _demand_room(self, owner: str) -> None:
        """Raise `TooLarge` when an account keeps as many credentials as it may."""
        if owner and len((await self.records.page(owner=owner, limit=ACCOUNT_MOST)).found) >= ACCOUNT_MOST:
            raise TooLarge(
                f"account {owner!r} has {ACCOUNT_MOST:,} credentials: delete some first", code="credentials_full"
            )

    async def get(self, vault: str, id: str) -> Credential:
        """Return a credential. Raises `NotFound`."""
        found = await self.records.get(id)
        if found.vault != vault:
            raise NotFound(f"there is no credential {id[:128]!r}")
        return found

    async def of_vault(self, vault: str) -> list[Credential]:
        """Return the credentials of a vault that are in use, the oldest first."""
        page = await self.records.page(
            key=("vault", vault), fits=lambda one: one.archived is None, newest=False, limit=MOST
        )
        return page.found

    async def secrets(self, credential: Credential) -> Secrets:
        """Open the secrets of a credential. Raises `Conflict`, `ConfigError`."""
        return msgspec.json.decode(await self._sealing.open(credential.sealed, credential.id), type=Secrets)

    async def change(self, before: Credential, after: Credential, secrets: Secrets | None) -> Credential:
        """Replace a credential, with other secrets or the same. Raises `Conflict` when somebody has changed it since
        `before`."""
        if secrets is not None:
            after = replace(after, version=before.version + 1)
        return await self._replace(before, after, secrets)

    async def refreshed(self, before: Credential, use: ServerOAuth, secrets: Secrets) -> Credential:
        """Keep the token that took the place of an expired one. Raises as `change`."""
        return await self._replace(before, replace(before, use=use), secrets)

    async def _replace(self, before: Credential, after: Credential, secrets: Secrets | None) -> Credential:
        if secrets is not None:
            after = replace(after, sealed=await self._seal(before.id, secrets))

        def edit(one: Credential) -> Credential:
            if one != before:
                raise Conflict(f"credential {one.id!r} was changed meanwhile; try again", code="credential_changed")
            return after

        return await self.records.change(before.id, edit)

    async def archive(self, credential: Credential) -> Credential:
        """Take a credential out of use, and forget its secrets. Idempotent."""
        if credential.archived is not None:
            return credential
        return await self.records.change(
            credential.id,
            lambda one: one if one.archived is not None else replace(one, archived=time.time(), sealed=""),
        )

    async def archive_vault(self, vault: str) -> None:
        """Take all credentials of a vault out of use, and forget their secrets."""
        while found := await self.of_vault(vault):
            for one in found:
                with contextlib.suppress(NotFound):  # deleted meanwhile
                    await self.archive(one)

    async def remove_vault(self, vault: str) -> None:
        """Delete all credentials of a vault, the archived ones too."""
        while page := (await self.records.page(key=("vault", vault), limit=MOST)).found:
            for one in page:
                await self._remove(one.id)

    async def _remove(self, id: str) -> None:
        with contextlib.suppress(NotFound):
            await self.records.remove(id)

    async def _seal(self, id: str, secrets: Secrets) -> str:
        return await self._sealing.seal(msgspec.json.encode(secrets), id)


def new_credential_id() -> str:
    return new_id("vcrd")


def token_of(use: ServerToken | ServerOAuth, secrets: Secrets) -> Token:
    if isinstance(use, ServerToken):
        return Token(secrets.value)
    return Token(
        secrets.value,
        secrets.refresh,
        use.ends,
        use.url,
        use.client,
        secrets.client_secret,
        use.method,
        use.resource or "",
        use.scope or "",
    )


def _target(use: Use) -> str:
    """Return what a vault has at most one credential for."""
    return f"the variable {use.name}" if isinstance(use, Variable) else f"the server {use.server}"

"""Vaults, and the credentials in them, whose secrets are taken and never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from starlette.types import Receive, Scope

from roost.agent.session_credentials import server_key
from roost.doors.credential_shapes import AuthGiven, AuthPatch, patched, shown_use, use_of
from roost.doors.openai_agents.agent_config import AgentConfig, metadata_of
from roost.doors.openai_agents.context import Context, body_of, digest, missing, request_key
from roost.doors.openai_agents.paging import Page, listed
from roost.errors import Conflict, Invalid, NotFound
from roost.features.credentials.credentials import Credential, Credentials, Variable, new_credential_id
from roost.features.credentials.duties import CredentialsDuties
from roost.ids import new_id
from roost.log.records import Record, Records
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json

_NAME, _MOST = 256, 50


class Vault(Record, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "openai.vault"
    noun: ClassVar[str] = "vault"

    name: str | None = None
    metadata: dict[str, str] = {}


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET


class _CredentialGiven(msgspec.Struct, forbid_unknown_fields=True):
    auth: AuthGiven
    name: str
    metadata: dict[str, str] | None = None


class _CredentialPatch(msgspec.Struct, forbid_unknown_fields=True):
    auth: AuthPatch | None = None
    metadata: dict[str, str] | UnsetType | None = UNSET


class Vaults:
    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> Mapping[str, Methods]:
        one = "/v1/vaults/{vault}"
        return {
            "/v1/vaults": {"GET": self.list, "POST": self.create},
            one: {"GET": self.retrieve, "POST": self.update, "DELETE": self.delete},
            f"{one}/credentials": {"GET": self.credentials, "POST": self.add},
            f"{one}/credentials/{{credential}}": {
                "GET": self.credential,
                "POST": self.edit,
                "DELETE": self.remove,
            },
        }

    async def known(self, ids: list[str] | None, owner: str) -> tuple[str, ...]:
        """Return the vaults that a session names. Raises `NotFound`, `Invalid`."""
        found = tuple(dict.fromkeys(ids or ()))
        if len(found) > _MOST:
            raise Invalid(f"vault_ids: at most {_MOST}")
        for id in found:
            await self._get(id, owner)
        return found

    async def check_selected(self, config: AgentConfig, vaults: Sequence[str]) -> None:
        """Check the credentials that MCP servers name: of two for one server that of the first vault is used. Raises
        `Invalid`."""
        naming = [tool for tool in config.tools if tool.get("credential_id") is not None]
        found = [one for vault in vaults if naming for one in await self._credentials.of_vault(vault)]
        for tool in naming:
            id = tool["credential_id"]
            url = server_key(tool["transport"]["server_url"])
            fits = [one.id for one in found if not isinstance(one.use, Variable) and server_key(one.use.server) == url]
            if id not in fits[:1]:
                raise Invalid(f"tools: {str(id)[:128]!r} is not the first credential for {url} in the session's vaults")

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _Given)
        if given.name is UNSET or given.name is None:
            raise Invalid("name: a vault has a name")
        owner, key = self._context.owner(scope), request_key(scope)
        vault = Vault(id=new_id("vault") if key is None else f"vault_{digest(owner, key)}", owner=owner)
        vault = _changed(vault, given)
        try:
            return json(200, _shown(await self._kept.make(vault)))
        except Conflict:  # the key made it before
            known = await self._get(vault.id, owner)
            if (known.name, known.metadata) != (vault.name, vault.metadata):
                raise Conflict("the Idempotency-Key made another vault", code="idempotency_mismatch") from None
            return json(200, _shown(known))

    @needs("read")
    async def retrieve(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, _shown(await self._find(scope)))

    @needs("use")
    async def update(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _Given)
        vault = await self._find(scope)
        changed = await self._kept.change(vault.id, lambda one: _changed(one, given), owner=vault.owner)
        return json(200, _shown(changed))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        page = Page.of(scope)
        wanted, active = page.metadata, _active(page)

        def fits(one: Vault) -> bool:
            return all(one.metadata.get(name) == value for name, value in wanted.items())

        owner = self._context.owner(scope)
        found = await self._kept.page(
            owner=owner, fits=fits, cursor=page.after, newest=page.newest, limit=page.limit
        )  # fmt: skip
        data = [_shown(one) for one in found.found] if active else []
        return json(200, listed(data, more=found.after and bool(data)))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        vault = await self._find(scope)
        await self._credentials.remove_vault(vault.id)
        await self._kept.remove(vault.id, owner=vault.owner)
        await self._credentials.remove_vault(vault.id)  # one may have come into it meanwhile: see `Credentials.make`
        return json(200, {"id": vault.id, "object": "vault.deleted", "deleted": True})

    # Credentials

    @needs("use")
    async def add(self, scope: Scope, receive: Receive) -> ReplyCall:
        given, vault = await body_of(scope, receive, _CredentialGiven), await self._find(scope)
        use, secrets = use_of(given.auth, _seconds)
        if isinstance(use, Variable) and any("*" in host for host in use.hosts or ()):
            raise Invalid("auth.networking.allowed_hosts: names of hosts, without wildcards")
        key = request_key(scope)
        made = Credential(
            id=new_credential_id() if key is None else f"vcrd_{digest(vault.id, key)}",
            owner=vault.owner,
            vault=vault.id,
            use=use,
            sealed="",
            name=_named(given.name),
            metadata=metadata_of(given.metadata),
        )
        try:
            return json(200, _credential(await self._credentials.make(made, secrets, lambda: self._find(scope))))
        except Conflict as error:
            if key is None or error.code == "credential_exists":
                raise
            known = await self._credentials.get(vault.id, made.id)  # the key made it before
            same = (known.use, known.name, known.metadata) == (made.use, made.name, made.metadata)
            if not same or await self._credentials.secrets(known) != secrets:
                raise Conflict("the Idempotency-Key made another credential", code="idempotency_mismatch") from None
            return json(200, _credential(known))

    @needs("use")
    async def edit(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch, before = await body_of(scope, receive, _CredentialPatch), await self._one(scope)
        after, secrets = before, None
        if patch.metadata is not UNSET:
            after = replace(after, metadata=metadata_of(patch.metadata))
        if patch.auth is not None:
            known = await self._credentials.secrets(before)
            use, secrets = patched(before.use, known, patch.auth, _seconds, keeps_end=False)
            after = replace(after, use=use)
        return json(200, _credential(await self._credentials.change(before, after, secrets)))

    @needs("read")
    async def credentials(self, scope: Scope, receive: Receive) -> ReplyCall:
        vault, page = await self._find(scope), Page.of(scope)
        wanted, active = page.metadata, _active(page)
        found = await self._credentials.records.page(
            key=("vault", vault.id),
            fits=lambda one: active and all(one.metadata.get(name) == value for name, value in wanted.items()),
            cursor=page.after,
            newest=page.newest,
            limit=page.limit,
        )
        return json(200, listed([_credential(one) for one in found.found], more=found.after))

    @needs("read")
    async def credential(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, _credential(await self._one(scope)))

    @needs("use")
    async def remove(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self._one(scope)
        await self._credentials.records.remove(one.id)
        return json(200, {"id": one.id, "object": "vault.credential.deleted", "deleted": True})

    async def _one(self, scope: Scope) -> Credential:
        vault, id = await self._find(scope), scope["path_params"]["credential"]
        try:
            return await self._credentials.get(vault.id, id)
        except NotFound:
            raise missing("credential", id) from None

    @property
    def _credentials(self) -> Credentials:
        return self._context.runtime.node.feature(CredentialsDuties).credentials

    async def _find(self, scope: Scope) -> Vault:
        return await self._get(scope["path_params"]["vault"], self._context.owner(scope))

    async def _get(self, id: str, owner: str) -> Vault:
        try:
            return await self._kept.get(id, owner=owner)
        except NotFound:
            raise missing("vault", id) from None

    @property
    def _kept(self) -> Records[Vault]:
        return Records(self._context.documents, Vault)


def _active(page: Page) -> bool:
    """Whether a list has those in use, which are all that there are. Raises `Invalid`."""
    statuses = {*page.query.get("status", ()), *page.query.get("status[]", ())}
    if statuses - {"active", "archived"}:
        raise Invalid("status: active or archived")
    return statuses != {"archived"}


def _seconds(given: str, where: str) -> float:
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise Invalid(f"{where}: a time such as 2026-11-23T10:00:00Z, not {given[:40]!r}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def _named(given: str) -> str:
    name = given.strip()
    if not 1 <= len(name.encode("utf-8", "replace")) <= _NAME or "\0" in name:
        raise Invalid(f"name: 1 to {_NAME} bytes")
    return name


def _credential(one: Credential) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "vault.credential",
        "vault_id": one.vault,
        "name": one.name or "",
        "metadata": one.metadata,
        "auth": shown_use(one.use, _stamp, locations=False),
        "created_at": int(one.created),
        "updated_at": int(one.changed),
    }


def _changed(vault: Vault, given: _Given) -> Vault:
    """Return the vault with what a request gives. Raises `Invalid`."""
    changes: dict[str, Any] = {}
    if given.name is not UNSET:
        changes["name"] = None if given.name is None else _named(given.name)
    if given.metadata is not UNSET:
        changes["metadata"] = metadata_of(given.metadata)
    return msgspec.structs.replace(vault, **changes)


def _shown(vault: Vault) -> dict[str, Any]:
    return {
        "id": vault.id,
        "object": "vault",
        "name": vault.name,
        "created_at": int(vault.created),
        "metadata": vault.metadata,
    }

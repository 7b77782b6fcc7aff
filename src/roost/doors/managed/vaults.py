"""Vaults, and the credentials in them, whose secrets are taken and never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from starlette.types import Receive, Scope

from roost.doors.credential_shapes import AuthGiven, AuthPatch, shown_use, use_of
from roost.doors.credential_shapes import patched as patched_auth
from roost.doors.managed.credential_check import validation
from roost.doors.managed.owners import account
from roost.doors.managed.record_room import RecordRoom
from roost.doors.managed.requests import (
    Asking,
    Metadata,
    MetadataPatch,
    Query,
    answer,
    body_of,
    maybe_stamp,
    metadata_of,
    page_of,
    patched,
    seconds_of,
    stamp,
    text_within,
)
from roost.errors import Invalid
from roost.features.credentials.credentials import Credential, Credentials, new_credential_id
from roost.features.credentials.duties import CredentialsDuties
from roost.ids import new_id
from roost.log.records import Record, Records
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall

_NAME = 255


class VaultGiven(Asking):
    display_name: str
    metadata: Metadata = {}


class VaultPatch(Asking):
    display_name: str | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET


class CredentialGiven(Asking):
    auth: AuthGiven
    display_name: str | None = None
    metadata: Metadata = {}


class CredentialPatch(Asking):
    auth: AuthPatch | None = None
    display_name: str | UnsetType | None = UNSET
    metadata: MetadataPatch | UnsetType | None = UNSET


class Vault(Record, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "managed.vault"
    noun: ClassVar[str] = "vault"

    name: str
    metadata: dict[str, str] = {}


_create, _change = msgspec.json.Decoder(VaultGiven), msgspec.json.Decoder(VaultPatch)
_add, _edit = msgspec.json.Decoder(CredentialGiven), msgspec.json.Decoder(CredentialPatch)


class Vaults(RecordRoom[Vault]):
    def __init__(self, api: Api) -> None:
        super().__init__("vault", Records(api.runtime.node.store.documents, Vault))
        self._api = api

    def routes(self) -> Mapping[str, Methods]:
        credential = "/v1/vaults/{vault}/credentials/{credential}"
        return {
            "/v1/vaults": {"GET": self.list, "POST": self.create},
            "/v1/vaults/{vault}": {"GET": self.get, "POST": self.change, "DELETE": self.delete},
            "/v1/vaults/{vault}/archive": {"POST": self.archive},
            "/v1/vaults/{vault}/credentials": {"GET": self.credentials, "POST": self.add},
            credential: {"GET": self.credential, "POST": self.edit, "DELETE": self.remove},
            f"{credential}/archive": {"POST": self.archive_credential},
            f"{credential}/mcp_oauth_validate": {"POST": self.validate},
        }

    def view(self, one: Vault) -> dict[str, Any]:
        return {
            "type": "vault",
            "id": one.id,
            "display_name": one.name,
            "metadata": one.metadata,
            "created_at": stamp(one.created),
            "updated_at": stamp(one.changed),
            "archived_at": maybe_stamp(one.archived),
        }

    @property
    def _kept(self) -> Credentials:
        return self._api.runtime.node.feature(CredentialsDuties).credentials

    async def usable(self, id: str, owner: str | None) -> None:
        """Check that a session may name a vault. Raises `NotFound` and `Invalid`."""
        if (await self.records.get(id, owner=owner)).archived is not None:
            raise Invalid(f"vault_ids: vault {id!r} is archived")

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self.records.archive(self.id(scope), owner=account())
        await self._kept.archive_vault(one.id)
        return answer(self.view(one))

    async def empty(self, one: Vault) -> None:
        await self.records.archive(one.id)  # nothing more comes into it
        await self._kept.remove_vault(one.id)

    @needs("use")
    async def create(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _create)
        name = text_within(given.display_name, "display_name", _NAME)
        made = Vault(id=new_id("vlt"), owner=account() or "", name=name, metadata=metadata_of(given.metadata))
        return answer(self.view(await self.records.make(made)))

    @needs("use")
    async def change(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _change)
        changed = await self.records.change(self.id(scope), lambda one: _patched(one, patch), owner=account())
        return answer(self.view(changed))

    # Credentials

    @needs("use")
    async def add(self, scope: Scope, receive: Receive) -> ReplyCall:
        given = await body_of(scope, receive, _add)
        vault = await self._open(scope)
        use, secrets = use_of(given.auth, seconds_of)
        made = Credential(
            id=new_credential_id(),
            owner=vault.owner,
            vault=vault.id,
            use=use,
            sealed="",
            name=_named(given.display_name),
            metadata=metadata_of(given.metadata),
        )
        return answer(credential_view(await self._kept.make(made, secrets, lambda: self._open(scope))))

    @needs("use")
    async def edit(self, scope: Scope, receive: Receive) -> ReplyCall:
        patch = await body_of(scope, receive, _edit)
        await self._open(scope)
        before = await self._credential(scope)
        if before.archived is not None:
            raise Invalid(f"credential {before.id!r} is archived: it takes no changes")
        after, secrets = replace(before, metadata=patched(before.metadata, patch.metadata)), None
        if patch.display_name is not UNSET:
            after = replace(after, name=_named(patch.display_name))
        if patch.auth is not None:
            use, secrets = patched_auth(
                before.use, await self._kept.secrets(before), patch.auth, seconds_of, keeps_end=True
            )
            after = replace(after, use=use)
        return answer(credential_view(await self._kept.change(before, after, secrets)))

    @needs("read")
    async def credentials(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "include_archived"))
        vault = await self.record(scope)
        return await page_of(self._kept.records, query, credential_view, owner=None, key=("vault", vault.id))

    @needs("read")
    async def credential(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(credential_view(await self._credential(scope)))

    @needs("use")
    async def archive_credential(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self._credential(scope)
        return answer(credential_view(await self._kept.archive(one)))

    @needs("use")
    async def remove(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self._credential(scope)
        await self._kept.records.remove(one.id)
        return answer({"id": one.id, "type": "vault_credential_deleted"})

    @needs("use")
    async def validate(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self._credential(scope)
        return answer(await validation(self._api, one))

    async def _credential(self, scope: Scope) -> Credential:
        return await self._kept.get((await self.record(scope)).id, scope["path_params"]["credential"])

    async def _open(self, scope: Scope) -> Vault:
        vault = await self.record(scope)
        if vault.archived is not None:
            raise Invalid(f"vault {vault.id!r} is archived: it takes no changes")
        return vault


def credential_view(one: Credential) -> dict[str, Any]:
    return {
        "type": "vault_credential",
        "id": one.id,
        "vault_id": one.vault,
        "display_name": one.name,
        "metadata": one.metadata,
        "auth": shown_use(one.use, stamp, locations=True),
        "created_at": stamp(one.created),
        "updated_at": stamp(one.changed),
        "archived_at": maybe_stamp(one.archived),
    }


def _named(given: str | None) -> str | None:
    return None if given is None else text_within(given, "display_name", _NAME)


def _patched(one: Vault, patch: VaultPatch) -> Vault:
    if one.archived is not None:
        raise Invalid(f"vault {one.id!r} is archived: it takes no changes")
    name = one.name if patch.display_name is UNSET or patch.display_name is None else patch.display_name
    metadata = patched(one.metadata, patch.metadata)
    return replace(one, name=text_within(name, "display_name", _NAME), metadata=metadata)

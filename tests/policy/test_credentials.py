"""Credentials of vaults, when a vault or a credential goes while it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from roost.errors import NotFound
from roost.features.credentials.credentials import (
    Credential,
    Credentials,
    Secrets,
    ServerOAuth,
    new_credential_id,
)
from roost.features.credentials.session import Keeper
from roost.log.records import Records
from roost.log.store import Store
from roost.policy.sealing import Sealing
from roost.stores.sqlite.store import open_sqlite

FIRST, SECOND = Secrets("token-0", "refresh-0"), Secrets("token-1", "refresh-1")


class Kept(NamedTuple):
    store: Store
    credentials: Credentials


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    store = await open_sqlite(tmp_path / "roost.db")
    sealing = Sealing(store.coordination, tmp_path, own_store=lambda: True, environ={})
    yield Kept(store, Credentials(store.documents, sealing))
    await store.close()


def credential(server: str = "https://files.example/mcp") -> Credential:
    return Credential(id=new_credential_id(), vault="vlt_1", use=ServerOAuth(server), sealed="")


async def there() -> None:
    """A vault that takes credentials."""


async def gone() -> None:
    raise NotFound("there is no vault")


async def test_nothing_stays_in_a_vault_that_was_deleted_meanwhile(kept: Kept) -> None:
    with pytest.raises(NotFound, match="vault"):
        await kept.credentials.make(credential(), FIRST, gone)
    assert not (await Records(kept.store.documents, Credential).page()).found


async def test_an_archived_vault_forgets_its_secrets(kept: Kept) -> None:
    made = [await kept.credentials.make(credential(f"https://{at}.example"), FIRST, there) for at in range(3)]
    await kept.credentials.archive_vault("vlt_1")
    for one in made:
        now = await kept.credentials.get("vlt_1", one.id)
        assert (now.sealed, now.archived is not None) == ("", True)
    assert await kept.credentials.of_vault("vlt_1") == []


async def test_a_token_that_comes_late_stays_out_of_an_archived_credential(kept: Kept) -> None:
    made = await kept.credentials.make(credential(), FIRST, there)
    keeper = Keeper(kept.credentials, made)
    token = await keeper.load()
    await kept.credentials.archive(made)  # while the authorization server answers
    token.access, token.refresh = "token-1", "refresh-1"
    await keeper.save(token)
    assert (await kept.credentials.get("vlt_1", made.id)).sealed == ""


async def test_a_renewed_token_counts_after_a_change_of_something_else(kept: Kept) -> None:
    """A refresh token that is good for one use is lost with the token that took its place."""
    made = await kept.credentials.make(credential(), FIRST, there)
    keeper, opened = Keeper(kept.credentials, made), kept.credentials
    token = await keeper.load()
    token.access, token.refresh = "token-1", "refresh-1"
    refreshed, met = opened.refreshed, list[Credential]()

    async def late(before: Credential, use: ServerOAuth, secrets: Secrets) -> Credential:
        if not met:  # a client names the credential between the read and the write
            met.append(await opened.records.change(made.id, lambda one: replace(one, name="files")))
        return await refreshed(before, use, secrets)

    opened.refreshed = late
    await keeper.save(token)
    now = await opened.get("vlt_1", made.id)
    assert (now.name, await opened.secrets(now)) == ("files", SECOND)

"""The credentials of one session, from the vaults that its definition names."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from roost.agent.session_credentials import SessionCredentials, Token, TokenKeeper, server_key
from roost.errors import Conflict, NotFound, RoostError, StoreFailed
from roost.features.credentials.credentials import Credential, Credentials, Secrets, ServerOAuth, Variable, token_of
from roost.features.credentials.ports import CredentialLoader
from roost.sandbox.injection import Secret

log = logging.getLogger("roost.credentials")
_TRIES = 5
"""Most changes by others, such as of its metadata, before a refreshed token is given up."""
_PREFIX = "vault."
"""Begins the names of their handles, so that none is that of a secret of the policy."""


class VaultLoader(CredentialLoader):
    """vaults: their ids; of two credentials for one thing that of the first vault counts. account: whose the session
    is; it uses no credential of another. None: the home, whose sessions may use all."""

    def __init__(self, kept: Credentials, vaults: Sequence[str], account: str | None, into: SessionCredentials) -> None:
        self._kept, self._vaults, self._account, self._into = kept, vaults, account, into

    async def load(self) -> None:
        found = [one for vault in self._vaults for one in await self._kept.of_vault(vault) if self._may_use(one)]
        tokens: dict[str, TokenKeeper] = {}
        variables: dict[str, str] = {}
        secrets: dict[str, Secret] = {}
        for one in found:
            if not isinstance(use := one.use, Variable):
                tokens.setdefault(server_key(use.server), Keeper(self._kept, one))
                continue
            handle = f"{_PREFIX}{use.name}"
            if use.name not in variables and (value := await self._value(one)) is not None:
                variables[use.name] = f"{{{{secret:{handle}}}}}"
                hosts = ("*",) if use.hosts is None else use.hosts
                secrets[handle] = Secret(value=value, hosts=hosts, body=use.body, header=use.header)
        self._into.tokens, self._into.variables = tokens, variables
        if secrets != self._into.secrets:
            self._into.secrets.clear()
            self._into.secrets.update(secrets)

    def _may_use(self, one: Credential) -> bool:
        return self._account is None or one.owner == self._account

    async def _value(self, one: Credential) -> str | None:
        try:
            return (await self._kept.secrets(one)).value
        except StoreFailed:
            raise
        except RoostError as error:
            log.warning("credential %s cannot be used: %s", one.id, error.message)
            return None


class Keeper(TokenKeeper):
    """The token of one credential."""

    def __init__(self, kept: Credentials, credential: Credential) -> None:
        self._kept, self._credential = kept, credential
        self.id = f"{credential.id}.{credential.version}"

    async def load(self) -> Token:
        now = await self._kept.get(self._credential.vault, self._credential.id)
        if now.archived is not None or isinstance(now.use, Variable):
            raise NotFound(f"the credential {now.id!r} is archived")
        return token_of(now.use, await self._kept.secrets(now))

    async def save(self, token: Token) -> None:
        """Keep a token that was refreshed, unless a person has given another one meanwhile, or taken the credential out
        of use."""
        secrets = Secrets(token.access, token.refresh, token.client_secret)
        for _ in range(_TRIES):
            now = await self._kept.get(self._credential.vault, self._credential.id)
            known = now.version == self._credential.version and now.archived is None
            if not known or not isinstance(now.use, ServerOAuth):
                return
            use = replace(now.use, ends=token.ends, refresh=bool(token.refresh))
            try:
                self._credential = await self._kept.refreshed(now, use, secrets)
            except Conflict as error:
                if error.code != "credential_changed":
                    raise
            else:
                return

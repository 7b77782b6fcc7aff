"""The MCP servers of a node: what people set up, what is open, and how each is reached."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from roost.agent.servers import McpServer, OAuth
from roost.agent.session_credentials import SessionCredentials, TokenKeeper, server_key
from roost.errors import ConfigError, Conflict, NotFound
from roost.features.mcp.catalogs import Catalogs
from roost.features.mcp.directory import Directory
from roost.features.mcp.guard import Guard
from roost.features.mcp.http import Credentials, NoCredentials, OldSse, StreamableHttp
from roost.features.mcp.messages import ServerFailed
from roost.features.mcp.oauth import Client, Grants, OAuthCredentials
from roost.features.mcp.pool import OpenServer, Pool
from roost.features.mcp.stdio import Place, Stdio
from roost.features.mcp.wire import Wire
from roost.ids import new_id
from roost.log.documents import Documents
from roost.policy.sealing import Sealing
from roost.policy.vault import LEAST, Vault
from roost.tools.checked_http import WEB_ALLOW, allowed_hosts

_HANDLE = re.compile(r"\{\{secret:([A-Za-z0-9_.-]{1,128})\}\}")


_SANDBOXED = (
    ". It runs in the session's sandbox; if it needs the network or files of this machine, and you trust it:"
    " roost mcp add --trust"
)


class Where:
    """Where a session's servers run: its sandbox and folder, the vault as it may use it, and credentials of its own.
    account: whose it is; None is the home. Empty for servers that belong to no session."""

    def __init__(
        self,
        session: str,
        place: Place,
        folder: str,
        vault: Vault | None = None,
        credentials: SessionCredentials | None = None,
        account: str | None = None,
    ) -> None:
        self.session, self.place, self.folder, self.vault = session, place, folder, vault
        self.credentials, self.account = credentials, account

    def token(self, server: McpServer) -> TokenKeeper | None:
        """Return what the session's own credentials have for a server."""
        own = server.grants == "session" and server.url is not None and self.credentials is not None
        return self.credentials.token(server.url) if own and self.credentials and server.url else None


class NodeServers:
    """Open servers for the sessions of a node. process: runs trusted programs on this machine. vault: as it is now."""

    def __init__(
        self, documents: Documents, sealing: Sealing, *, home: Path, process: Place, vault: Callable[[], Vault]
    ) -> None:
        self.catalogs, self.directory = Catalogs(documents), Directory(documents, sealing, home)
        self.pool = Pool()
        self._home, self._process, self._vault = home, process, vault
        self._oauth: dict[str, OAuthCredentials] = {}

    async def close(self) -> None:
        await self.pool.close()

    def open(self, server: McpServer, where: Where, *, named: bool) -> OpenServer:
        """Return a server, which is opened when it is first asked for something. named: as in `Guard`. Raises
        `ServerFailed`."""
        self._check_secrets(server, where.vault)
        roots = (f"file://{where.folder}",) if server.sandboxed else ()
        return self.pool.server(
            self.key(server, where, named=named),
            lambda: OpenServer(
                lambda: self._wire(server, where, named=named),
                stdio=server.kind == "stdio",
                starting=server.start_seconds,
                roots=roots,
                account=where.account,
            ),
            where.account,
        )

    def _check_secrets(self, server: McpServer, vault: Vault | None) -> None:
        """Refuse a server with secrets that the session may not use. The pool shares a server between sessions."""
        if vault is None or vault.names == (all := self._vault().names):
            return
        named = set(_HANDLE.findall(msgspec.json.encode(server).decode()))
        if refused := sorted(named & set(all) - set(vault.names)):
            raise ServerFailed(f"the secret {refused[0]!r} is not for sessions of this account")

    def key(self, server: McpServer, where: Where, *, named: bool) -> str:
        """Return the key of a server in the pool: one that is not shared belongs to its session, and is another with
        another token."""
        if server.is_shared(named=named):
            return server.digest
        token = where.token(server)
        return f"{server.digest}{'' if token is None else token.id}@{where.session}"

    def _wire(self, server: McpServer, where: Where, *, named: bool) -> Wire:
        if server.command is not None:
            env = {name: self._filled(server, value) for name, value in server.env.items()}
            argv = [server.command, *(self._filled(server, one) for one in server.args)]
            place, folder = (where.place, where.folder) if server.sandboxed else (self._process, str(self._home))
            hint = _SANDBOXED if server.sandboxed else ""
            return Stdio(place, argv, cwd=server.cwd or folder, env=env, hint=hint)
        assert server.url is not None
        url = self._filled(server, server.url)
        guard = Guard(url, named=named, allowed=allowed_hosts(WEB_ALLOW))
        kind = OldSse if server.kind == "sse" else StreamableHttp
        return kind(url, guard, self.credentials(server, guard, where, named=named))

    def credentials(self, server: McpServer, guard: Guard, where: Where, *, named: bool) -> Credentials:
        """Return the right to call a server: the headers that a person wrote, OAuth, or the session's own token. What
        the home has signed in to is not for a server that an account added to a session."""

        def headers() -> Mapping[str, str]:
            return {name: self._filled(server, value) for name, value in server.headers.items()}

        foreign = where.account is not None and not named and server.grants == "home"
        if foreign or any(name.lower() == "authorization" for name in server.headers):
            return NoCredentials(headers)
        if server.grants == "session":
            token = where.token(server)
            return NoCredentials(headers) if token is None else self._of_session(server, guard, token, where)
        found = self._oauth[self.key(server, where, named=named)] = self.oauth(server, guard, headers)
        return found

    def _of_session(self, server: McpServer, guard: Guard, token: TokenKeeper, where: Where) -> OAuthCredentials:
        assert server.url is not None
        found = self._oauth[self.key(server, where, named=False)] = OAuthCredentials(
            server.url,
            OAuth(),
            _SessionToken(token),
            guard,
            secret=lambda name: name,
            static=lambda: server.headers,
            login=f"the vault's credential for {server.name} is not accepted: give another one",
        )
        return found

    def oauth(self, server: McpServer, guard: Guard, headers: Callable[[], Mapping[str, str]]) -> OAuthCredentials:
        assert server.url is not None
        return OAuthCredentials(
            self.filled(server.url),
            server.oauth or OAuth(),
            _Grants(self.directory, grants_key(server)),
            guard,
            secret=lambda name: self.filled(f"{{{{secret:{name}}}}}"),
            static=headers,
            login=f"a person must sign in: roost mcp login {server.name}",
        )

    def masked(self, server: McpServer, where: Where, text: str, *, named: bool) -> str:
        """Mask the token of a server in what it says: it may repeat what it was sent."""
        known = self._oauth.get(self.key(server, where, named=named))
        return (
            text if known is None or len(known.token) < LEAST else text.replace(known.token, f"[token:{server.name}]")
        )

    async def check_token(self, url: str, token: TokenKeeper, *, named: bool) -> None:
        """Ask a server for its tools with a token. Raises `NeedsLogin` where it does not accept it, `ServerFailed`,
        `ServerError`, `TimeoutError`."""
        own = SessionCredentials()
        own.tokens = {server_key(url): token}
        server, session = McpServer(name="check", url=url, grants="session"), new_id("check")
        where = Where(session, _NoPlace(), "/", credentials=own)
        try:
            await self.open(server, where, named=named).catalog()
        finally:
            await asyncio.gather(*self.close_own(session))

    def close_own(self, session: str) -> list[asyncio.Task[None]]:
        """Close the servers that belong to a session, and forget its tokens."""
        for key in [one for one in self._oauth if one.endswith(f"@{session}")]:
            del self._oauth[key]
        return [task for key in self.pool.of_session(session) if (task := self.pool.drop(key)) is not None]

    def _filled(self, server: McpServer, text: str) -> str:
        """Put secrets of the home into a text of a server that a person of the home wrote."""
        return self.filled(text) if server.grants == "home" else text

    def filled(self, text: str) -> str:
        """Put the values of secrets into a text. Raises `ServerFailed`."""
        vault = self._vault()
        try:
            return _HANDLE.sub(lambda found: vault.value(found[1]), text)
        except NotFound as error:
            raise ServerFailed(error.message) from None


class _NoPlace:
    """Where no program runs."""

    async def spawn(self, *args: Any, **named: Any) -> Any:
        raise ServerFailed("it runs only in the sandbox of a session")


def nowhere() -> Where:
    """Return the place of servers that belong to no session."""
    return Where("", _NoPlace(), "/")


class _Grants:
    """The grants of one server, in the store."""

    def __init__(self, directory: Directory, key: str) -> None:
        self._directory, self._key = directory, key

    async def load(self) -> Grants:
        try:
            return await self._directory.grants(self._key)
        except (Conflict, ConfigError) as error:
            raise ServerFailed(error.message) from None

    async def save(self, grants: Grants) -> None:
        await self._directory.keep_grants(self._key, grants)


class _SessionToken:
    """A token of a session's vault, as grants."""

    def __init__(self, keeper: TokenKeeper) -> None:
        self._keeper = keeper

    async def load(self) -> Grants:
        try:
            own = await self._keeper.load()
        except (NotFound, Conflict, ConfigError) as error:
            raise ServerFailed(error.message) from None
        client = Client(own.client, own.client_secret, own.method) if own.client else None
        return Grants(
            client=client,
            resource=own.resource,
            token_url=own.url,
            token=own.access,
            refresh=own.refresh,
            ends=own.ends,
            scope=own.scope,
        )

    async def save(self, grants: Grants) -> None:
        try:
            before = await self._keeper.load()
            after = msgspec.structs.replace(before, access=grants.token, refresh=grants.refresh, ends=grants.ends)
            await self._keeper.save(after)
        except (NotFound, Conflict, ConfigError) as error:  # taken out of use meanwhile
            raise ServerFailed(error.message) from None


def grants_key(server: McpServer) -> str:
    """Return the key of a server's grants: its name and address."""
    return f"{server.name}:{hashlib.blake2b(str(server.url).encode(), digest_size=12).hexdigest()}"

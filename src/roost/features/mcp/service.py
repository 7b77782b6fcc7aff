"""MCP servers, from a running node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from roost.agent.servers import McpServer
from roost.api.shapes import AcceptedInput
from roost.errors import Conflict, Invalid, NotFound
from roost.features.mcp.api import McpApi, Removed, ServerEntry, ServerList, ServerTool, ServerTools, SignIn
from roost.features.mcp.duties import McpDuties
from roost.features.mcp.events import McpAcceptInput, McpServerInput
from roost.features.mcp.files import FileServer, parse_servers
from roost.features.mcp.guard import Guard, ask, client
from roost.features.mcp.messages import ServerError, ServerFailed
from roost.features.mcp.node_servers import NodeServers, grants_key, nowhere
from roost.features.mcp.oauth import OAuthCredentials, parameters
from roost.features.mcp.offering import safety_of
from roost.kernel.service_host import ServiceHost
from roost.log.inputs import Input
from roost.tools.checked_http import WEB_ALLOW, allowed_hosts
from roost.validated import WrongValue


class Mcp(McpApi):
    def __init__(self, host: ServiceHost) -> None:
        self._host, self._sessions = host, host.sessions

    @property
    def _node(self) -> NodeServers:
        return self._host.node.feature(McpDuties).servers

    async def list(self, *, folder: str | None = None) -> ServerList:
        """List the servers of the home, and those that the files of a folder name."""
        directory = self._node.directory
        added, (known, wrong) = await directory.added(), await directory.known()
        found = [self._entry(one, "added" if one.name in added else "home") for one in known.values()]
        if folder is not None:
            accepted, others = await directory.of_folder(_folder(folder))
            found += [self._entry(one, "workspace") for one in accepted.values()]
            found += [self._entry(one.server, "workspace", accepted=False) for one in others]
        return ServerList(servers=found, wrong=wrong)

    async def add(self, name: str, server: Mapping[str, Any]) -> ServerEntry:
        """Add a server to the home, or change one. Raises `Invalid`."""
        made = _server(name, server, own=True)
        await self._node.directory.add(made)
        return self._entry(made, "added")

    async def remove(self, name: str) -> Removed:
        """Remove a server that was added, with its grants."""
        node = self._node
        server = (await node.directory.added()).get(name)
        if server is None:
            return Removed(removed=False)
        await node.directory.remove(name)
        await node.directory.keep_grants(grants_key(server), None)
        node.pool.drop(server.digest)
        return Removed(removed=True)

    async def tools(self, name: str) -> ServerTools:
        """Ask a server for its tools. Raises `NotFound`, `Conflict` (`mcp_server_failed`)."""
        server = await self._get(name)
        if server.sandboxed:
            raise Conflict(
                f"{name!r} runs in the sandbox of a session: its tools are known there", code="mcp_sandboxed"
            )
        try:
            opened = self._node.open(server, nowhere(), named=True)
            opened.retry()
            catalog = await opened.catalog()
        except (ServerFailed, ServerError, TimeoutError) as error:
            raise _failed(name, error) from None
        found = [ServerTool(one.name, one.description, safety_of(server, one)) for one in catalog.tools]
        return ServerTools(tools=found, dropped=[*catalog.dropped])

    async def accept(self, name: str, folder: str) -> ServerEntry:
        """Accept a server of a workspace's file. Raises `NotFound`."""
        place = _folder(folder)
        accepted, others = await self._node.directory.of_folder(place)
        found: FileServer | None = next((one for one in others if one.server.name == name), None)
        if found is not None:
            await self._node.directory.accept(place, found)
            return self._entry(found.server, "workspace")
        if name in accepted:
            return self._entry(accepted[name], "workspace")
        raise NotFound(f"no file of {folder!r} names an MCP server {name!r}")

    async def login(self, name: str, redirect: str) -> SignIn:
        """Begin to sign in at a server. Raises `NotFound`, `Conflict` (`mcp_server_failed`)."""
        server = await self._get(name)
        try:
            guard, credentials = self._oauth(server)
            url, pending = await credentials.begin(await _challenge(server, guard), redirect=redirect)
            await self._node.directory.keep_pending(name, pending)
        except ServerFailed as error:
            raise _failed(name, error) from None
        return SignIn(url=url)

    async def finish_login(self, name: str, returned: str) -> ServerEntry:
        """End a sign-in. Raises `NotFound`, `Conflict` (`mcp_server_failed`)."""
        server = await self._get(name)
        try:
            pending = await self._node.directory.take_pending(name, time.time())
            await self._oauth(server)[1].finish(pending, returned)
        except ServerFailed as error:
            raise _failed(name, error) from None
        self._node.pool.drop(server.digest)
        return self._entry(server, "home")

    async def add_to_session(self, session: str, name: str, server: Mapping[str, Any]) -> AcceptedInput:
        """Add a server to one session. Raises `NotFound`, `Invalid`."""
        made = _server(name, server, own=False)
        given: dict[str, Any] = msgspec.to_builtins(made)
        return await self._put(session, McpServerInput(made.name, given))

    async def remove_from_session(self, session: str, name: str) -> AcceptedInput:
        """Take a server from one session. Raises `NotFound`."""
        return await self._put(session, McpServerInput(name))

    async def accept_tools(self, session: str, name: str) -> AcceptedInput:
        """Accept a server's tools as they are now. Raises `NotFound`."""
        return await self._put(session, McpAcceptInput(name))

    async def _put(self, session: str, order: Input) -> AcceptedInput:
        accepted = await self._sessions.put(session, order)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)

    async def _get(self, name: str) -> McpServer:
        found = await self._node.directory.get(name)
        if found is None:
            raise NotFound(f"there is no MCP server {name!r}; see them with: roost mcp list")
        return found

    def _oauth(self, server: McpServer) -> tuple[Guard, OAuthCredentials]:
        if server.url is None:
            raise ServerFailed("it is a program, at which nobody signs in")
        guard = Guard(self._node.filled(server.url), named=True, allowed=allowed_hosts(WEB_ALLOW))
        return guard, self._node.oauth(server, guard, dict)

    def _entry(self, server: McpServer, source: str, *, accepted: bool = True) -> ServerEntry:
        opened = self._node.pool.find(server.digest)
        return ServerEntry(
            name=server.name,
            source=source,
            transport=server.kind,
            where=server.url or " ".join([server.command or "", *server.args]),
            health="closed" if opened is None else opened.health,
            accepted=accepted,
            server=msgspec.to_builtins(server),
        )


def _server(name: str, given: Mapping[str, Any], *, own: bool) -> McpServer:
    """Return a server of what a person wrote. Raises `Invalid`."""
    found, wrong = parse_servers({"mcpServers": {name: dict(given)}}, "server", own=own)
    if not found:
        raise Invalid(wrong[0] if wrong else f"the server {name!r} is disabled")
    try:
        return found[0].server.replace(name=name)
    except WrongValue as error:
        raise Invalid(str(error)) from None


def _folder(folder: str) -> Path:
    path = Path(folder)
    if not path.is_absolute():
        raise Invalid(f"give the whole path of the folder, not {folder!r}")
    return path


def _failed(name: str, error: Exception) -> Conflict:
    why = "it does not answer in time" if isinstance(error, TimeoutError) else str(error)
    return Conflict(f"the MCP server {name!r} cannot be used: {why}", code="mcp_server_failed")


async def _challenge(server: McpServer, guard: Guard) -> Mapping[str, str]:
    """Return what a server says to a request without a token. Raises `ServerFailed`."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}
    headers = {"Accept": "application/json, text/event-stream"}
    async with client(guard) as http:
        reply = await ask(http, guard, "POST", server.url or "", headers=headers, json=body)
    return parameters(reply.headers.get("www-authenticate", ""))


SERVICE = Mcp

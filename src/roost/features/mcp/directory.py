"""Which servers a session may use: those of its agent, of the home, of its workspace, and those added at run time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.agent.definition import AgentSpec
from roost.agent.servers import ALL, McpServer
from roost.errors import Conflict
from roost.features.mcp.files import FileServer, read_file, workspace_servers
from roost.features.mcp.messages import ServerFailed
from roost.features.mcp.oauth import Grants, Pending
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove
from roost.policy.sealing import Sealing
from roost.workspace.files import Workspace

HOME_FILE = "mcp.json"
_SERVER, _ACCEPTED, _GRANTS, _PENDING = "mcp.server", "mcp.accepted", "mcp.grants", "mcp.sign-in"
_PAGE = 500
_SIGN_IN_SECONDS = 900.0


class _Sealed(msgspec.Struct, frozen=True):
    """The body of a document whose content is sealed; `sealed` is empty for one that is not."""

    sealed: str = ""


class Found(NamedTuple):
    """servers: to use, by name. untrusted: of the workspace's files, not accepted yet. wrong: what is wrong in
    files."""

    servers: Mapping[str, McpServer]
    untrusted: tuple[FileServer, ...] = ()
    wrong: tuple[str, ...] = ()


class Directory:
    """The servers that people have set up. home: the folder of the home. sealing: of what authorization servers
    gave."""

    def __init__(self, documents: Documents, sealing: Sealing, home: Path) -> None:
        self._documents, self._sealing, self._home = documents, sealing, home
        self._read: tuple[tuple[int, int], dict[str, McpServer], list[str]] | None = None

    async def of_session(
        self, spec: AgentSpec, workspace: Workspace, added: Mapping[str, Mapping[str, Any] | None]
    ) -> Found:
        """Return the servers of a session. Raises `StoreFailed`."""
        servers: dict[str, McpServer] = {}
        untrusted: tuple[FileServer, ...] = ()
        wrong: list[str] = []
        for wanted in spec.servers:
            if isinstance(wanted, McpServer):
                servers.setdefault(wanted.name, wanted)
        if any(isinstance(wanted, str) for wanted in spec.servers):
            known, wrong = await self.known()
            if ALL in spec.servers and not workspace.private:
                accepted, untrusted = await self.of_folder(workspace.place)
                known = {**accepted, **known}
            for name, server in known.items():
                if ALL in spec.servers or name in spec.servers:
                    servers.setdefault(name, server)
            missing = [one for one in spec.servers if isinstance(one, str) and one != ALL and one not in known]
            wrong += [f"there is no MCP server {name!r}: add it with `roost mcp add {name}`" for name in missing]
        for name, given in added.items():
            servers.pop(name, None)
            if given is not None:
                servers[name] = msgspec.convert(given, McpServer)
        return Found(servers, untrusted, tuple(wrong))

    async def known(self) -> tuple[dict[str, McpServer], list[str]]:
        """Return the servers of the home: of its `mcp.json`, and those that a person added, which win. And what is
        wrong with the file."""
        listed, wrong = await asyncio.to_thread(self._of_home)
        added = await self._documents.find(DocumentQuery(kind=_SERVER, limit=_PAGE))
        return {**listed, **{one.id: _decode(one.body) for one in added}}, list(wrong)

    async def get(self, name: str) -> McpServer | None:
        return (await self.known())[0].get(name)

    async def added(self) -> dict[str, McpServer]:
        found = await self._documents.find(DocumentQuery(kind=_SERVER, limit=_PAGE))
        return {one.id: _decode(one.body) for one in found}

    async def add(self, server: McpServer) -> None:
        await self._documents.write([Put(kind=_SERVER, id=server.name, body=msgspec.json.encode(server))])

    async def remove(self, name: str) -> bool:
        """Return whether a person had added it."""
        there = await self._documents.get(_SERVER, name) is not None
        await self._documents.write([Remove(kind=_SERVER, id=name)])
        return there

    async def of_folder(self, folder: Path) -> tuple[dict[str, McpServer], tuple[FileServer, ...]]:
        """Return the servers of a workspace's files: those that a person accepted, and the others."""
        found, _ = await asyncio.to_thread(workspace_servers, folder)
        accepted: dict[str, McpServer] = {}
        others: list[FileServer] = []
        for one in found:
            if await self._documents.get(_ACCEPTED, _acceptance(folder, one)) is not None:
                accepted[one.server.name] = one.server
            else:
                others.append(one)
        return accepted, tuple(others)

    async def accept(self, folder: Path, one: FileServer) -> None:
        """Accept a server of a workspace's file as it is now."""
        body = msgspec.json.encode({"folder": str(folder), "server": one.server})
        await self._documents.write([Put(kind=_ACCEPTED, id=_acceptance(folder, one), body=body)])

    # What authorization servers gave

    async def grants(self, key: str) -> Grants:
        """Raises `Conflict` and `ConfigError` for what this node cannot open."""
        found = await self._documents.get(_GRANTS, key)
        if found is None:
            return Grants()
        body = await self._opened(found)
        grants = msgspec.json.decode(body, type=Grants)
        if body == found.body:  # of before they were sealed
            with contextlib.suppress(Conflict):
                await self._documents.write([await self._sealed(_GRANTS, key, body, found.revision)])
        return grants

    async def keep_grants(self, key: str, grants: Grants | None) -> None:
        write = Remove(kind=_GRANTS, id=key)
        if grants is not None:
            write = await self._sealed(_GRANTS, key, msgspec.json.encode(grants))
        await self._documents.write([write])

    async def _sealed(self, kind: str, id: str, body: bytes, revision: int | None = None) -> Put:
        sealed = _Sealed(await self._sealing.seal(body, f"{kind} {id}"))
        return Put(kind=kind, id=id, body=msgspec.json.encode(sealed), revision=revision)

    async def _opened(self, document: Document) -> bytes:
        found = msgspec.json.decode(document.body, type=_Sealed)
        if not found.sealed:
            return document.body
        return await self._sealing.open(found.sealed, f"{document.kind} {document.id}")

    async def keep_pending(self, name: str, pending: Pending) -> None:
        """Keep a sign-in that a person has begun. A newer one of the same server takes its place."""
        await self._documents.write([await self._sealed(_PENDING, name, msgspec.json.encode(pending))])

    async def take_pending(self, name: str, now: float) -> Pending:
        """Return the sign-in of a server, once. Raises `ServerFailed`."""
        found = await self._documents.get(_PENDING, name)
        await self._documents.write([Remove(kind=_PENDING, id=name)])
        pending = None if found is None else msgspec.json.decode(await self._opened(found), type=Pending)
        if pending is None or now - pending.made > _SIGN_IN_SECONDS:
            raise ServerFailed("no sign-in is open for it, or it took too long: begin again")
        return pending

    def _of_home(self) -> tuple[dict[str, McpServer], list[str]]:
        path = self._home / HOME_FILE
        try:
            status = path.stat()
        except OSError:
            return {}, []
        stamp = (status.st_mtime_ns, status.st_size)
        if self._read is None or self._read[0] != stamp:
            found, wrong = read_file(path, str(path), own=True)
            self._read = stamp, {one.server.name: one.server for one in found}, wrong
        return self._read[1], self._read[2]


def _decode(body: bytes) -> McpServer:
    return msgspec.json.decode(body, type=McpServer)


def _acceptance(folder: Path, one: FileServer) -> str:
    import hashlib

    return hashlib.blake2b(f"{folder}\0{one.digest}".encode(), digest_size=16).hexdigest()

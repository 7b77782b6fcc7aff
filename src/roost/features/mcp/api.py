"""MCP servers whose tools agents may use: add, list, remove, accept, sign in."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import AcceptedInput, Answer
from roost.operation import DELETE, GET, POST, PUT

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Address = Annotated[str, Meta(min_length=1, max_length=16384)]
_Folder = Annotated[str, Meta(min_length=1, max_length=4096)]


class ServerEntry(Answer):
    """`source`: `added`, `home` (its `mcp.json`) or `workspace`. `health`: `open`, `closed`, or why it cannot be used.
    `accepted`: False for one of a workspace's file that no person accepted. `server`: its settings."""

    name: str
    source: str
    transport: str
    where: str
    health: str
    accepted: bool
    server: dict[str, Any]


class ServerList(Answer):
    """`wrong`: what is wrong in the files."""

    servers: list[ServerEntry]
    wrong: list[str]


class ServerTool(Answer):
    name: str
    description: str
    safety: str


class ServerTools(Answer):
    """`dropped`: why some tools are not offered."""

    tools: list[ServerTool]
    dropped: list[str]


class SignIn(Answer):
    """`url`: where a person signs in, in a browser."""

    url: str


class Removed(Answer):
    removed: bool


class McpApi(Protocol):
    @GET("/mcp/servers", right="operate")
    async def list(self, *, folder: _Folder | None = None) -> ServerList:
        """The MCP servers of this home.

        `folder`: also those that the files of this workspace name.
        """
        ...

    @PUT("/mcp/servers/{name}", body="McpServerBody", errors=(409,), right="administer")
    async def add(self, name: _Name, server: dict[str, Any]) -> ServerEntry:
        """Add an MCP server, or change one.

        `server`: as in an agent's definition, or as in `mcp.json`.
        """
        ...

    @DELETE("/mcp/servers/{name}", right="administer")
    async def remove(self, name: _Name) -> Removed:
        """Remove an MCP server that was added, and what its authorization server gave."""
        ...

    @GET("/mcp/servers/{name}/tools", errors=(404, 409), right="operate")
    async def tools(self, name: _Name) -> ServerTools:
        """Ask a server for its tools."""
        ...

    @POST("/mcp/servers/{name}/accept", body="AcceptServerBody", errors=(404,), repeatable=True, right="administer")
    async def accept(self, name: _Name, folder: _Folder) -> ServerEntry:
        """Accept a server that a file of a workspace names, as it is now."""
        ...

    @POST("/mcp/servers/{name}/login", body="McpLoginBody", errors=(404, 409), repeatable=True, right="administer")
    async def login(self, name: _Name, redirect: Annotated[str, Meta(min_length=1, max_length=2048)]) -> SignIn:
        """Begin to sign in at a server.

        `redirect`: address to which the person's browser is sent back.
        """
        ...

    @POST("/mcp/servers/{name}/login/finish", body="McpLoginFinishBody", errors=(404, 409), right="administer")
    async def finish_login(
        self, name: _Name, returned: Annotated[str, Meta(min_length=1, max_length=16384)]
    ) -> ServerEntry:
        """End a sign-in.

        `returned`: the whole address to which the browser was sent back.
        """
        ...

    @PUT("/sessions/{session}/mcp/servers/{name}", 202, body="McpServerBody", errors=(404,), right="operate")
    async def add_to_session(self, session: str, name: _Name, server: dict[str, Any]) -> AcceptedInput:
        """Add an MCP server to one session, from its next turn on.

        Its program runs in the session's sandbox; its address must be public.
        """
        ...

    @DELETE("/sessions/{session}/mcp/servers/{name}", 202, errors=(404,), right="operate")
    async def remove_from_session(self, session: str, name: _Name) -> AcceptedInput:
        """Take an MCP server from one session, from its next turn on."""
        ...

    @POST("/sessions/{session}/mcp/servers/{name}/accept", 202, errors=(404,), repeatable=True, right="operate")
    async def accept_tools(self, session: str, name: _Name) -> AcceptedInput:
        """Accept the tools of a server as they are now, in one session."""
        ...

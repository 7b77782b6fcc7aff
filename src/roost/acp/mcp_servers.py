"""Give a session the MCP servers that the editor names."""

from __future__ import annotations

from typing import Any

from roost.acp.shapes import McpServer
from roost.client.async_client import Client
from roost.client.requests import Unreachable
from roost.errors import RoostError
from roost.terminal_text import one_line

_NAME = 80


async def add_servers(client: Client, session: str, servers: list[McpServer]) -> list[str]:
    """Add servers to a session, which keeps them: its log has them, and the gate judges their tools. A repetition
    changes nothing. Returns why some cannot be used, for the person. Raises `Unreachable`."""
    refused: list[str] = []
    for one in servers:
        try:
            await client.mcp.add_to_session(session, one.name[:64] or "server", _settings(one))
        except Unreachable:
            raise
        except RoostError as error:
            refused.append(f"the MCP server {one_line(one.name, _NAME)} is not used: {error.message}")
    return refused


def _settings(server: McpServer) -> dict[str, Any]:
    """Return a server as `mcp.json` describes it."""
    if server.type in (None, "stdio"):
        env = {one.name: one.value for one in server.env}
        return {"command": server.command, "args": server.args, "env": env}
    return {"type": server.type, "url": server.url, "headers": {one.name: one.value for one in server.headers}}

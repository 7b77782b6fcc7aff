"""The client that the official conformance suite of MCP drives: Roost's own connection, and a person who says yes.

Run as `python -m tests.doors.mcp_client URL`, with the scenario in `MCP_CONFORMANCE_SCENARIO`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

import aiohttp

from roost.agent.servers import OAuth
from roost.features.mcp.connection import Asked, Connection
from roost.features.mcp.guard import Guard
from roost.features.mcp.http import StreamableHttp
from roost.features.mcp.messages import Json, ServerError, ServerFailed
from roost.features.mcp.oauth import Grants, OAuthCredentials
from roost.features.mcp.questions import accepted

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
DOCUMENT = "https://conformance-test.local/client-metadata.json"


class Memory:
    """Grants of one run."""

    def __init__(self) -> None:
        self.grants = Grants()

    async def load(self) -> Grants:
        return self.grants

    async def save(self, grants: Grants) -> None:
        self.grants = grants


async def sign(url: str) -> str:
    """Play the browser: the authorization server of the suite agrees at once."""
    async with aiohttp.ClientSession() as http, http.get(url, allow_redirects=False) as response:
        return response.headers["Location"]


def settings() -> OAuth:
    if "client-credentials" in SCENARIO:
        return OAuth(grant="client_credentials", client_id=CONTEXT["client_id"], client_secret="given")
    if "client_id" in CONTEXT:
        return OAuth(client_id=CONTEXT["client_id"], client_secret="given" if "client_secret" in CONTEXT else None)
    return OAuth(client_id=DOCUMENT)


def secret(name: str) -> str:
    return CONTEXT.get("client_secret") or CONTEXT["private_key_pem"]


def arguments(schema: Json) -> Json:
    """Make arguments for a tool of the suite, which takes any."""
    plain = {"number": 5, "integer": 5, "boolean": True, "object": {}, "array": []}
    return {
        name: plain.get(found.get("type", ""), "text") if isinstance(found, dict) else "text"
        for name, found in schema.get("properties", {}).items()
    }


async def call(connection: Connection, tool: Any, given: Json) -> Json:
    """Call a tool, and answer what its server asks as a person would who accepts the defaults."""
    result = await connection.call(tool, given)
    for _ in range(8):
        if not isinstance(result, Asked):
            return result
        answers = {key: accepted(want, None) for key, want in result.wants.items()}
        if result.held is not None:
            result = await connection.go_on(result.held, answers[""])
        else:
            result = await connection.call(tool, given, answers=answers, state=result.state)
    raise ServerFailed("it asks again and again")


async def use(connection: Connection) -> None:
    catalog, _ = await connection.catalog()
    tools = catalog.by_name()
    if "json_schema_echo" in tools:
        focal = tools["json_schema_2020_12_tool"]
        await call(connection, tools["json_schema_echo"], {"schema": focal.schema})
        return
    if "toolCalls" in CONTEXT:
        for one in CONTEXT["toolCalls"]:
            await call(connection, tools[one["name"]], one["arguments"])
        return
    for tool in catalog.tools:
        with contextlib.suppress(ServerError):  # a server that lists a tool and knows no calls
            await call(connection, tool, arguments(tool.schema))


async def main(url: str) -> None:
    guard = Guard(url, named=True)
    credentials = OAuthCredentials(
        url,
        settings(),
        Memory(),
        guard,
        secret=secret,
        sign=sign,
    )
    wire = StreamableHttp(url, guard, credentials)
    connection = Connection(wire, roots=["file:///srv/work"])
    await wire.open(connection.receive)
    running = asyncio.create_task(wire.run())
    try:
        await connection.start()
        await use(connection)
    finally:
        running.cancel()
        await wire.close()
        await connection.end()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[-1]))
    except (ServerFailed, ServerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")

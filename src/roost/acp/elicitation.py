"""Ask the editor what an MCP server wants to know in the middle of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from roost.acp.abilities import Abilities
from roost.acp.json_rpc import Peer
from roost.agent.servers import server_tool
from roost.api.session_contents import event_of
from roost.client.async_client import Client
from roost.errors import UnknownEvent
from roost.features.mcp.events import McpAsked
from roost.log.session_views import WaitingCall
from roost.terminal_text import clean

Json: TypeAlias = dict[str, Any]


class Filled(NamedTuple):
    """What the person said. accepted: None when the person closed the question. content: None where nothing is asked
    for but a yes."""

    accepted: bool | None
    content: Json | None = None


class _Answer(msgspec.Struct):
    action: str
    content: Json | None = None


async def wants_of(client: Client, waiting: WaitingCall) -> Mapping[str, Json]:
    """Return what a server asks in a waiting call, by key; nothing for any other question. The event of the server's
    question stands before the one of the approval, in the same commit."""
    if waiting.asked < 2 or server_tool(waiting.tool) is None:
        return {}
    page = await client.sessions.events(waiting.session, after=waiting.asked - 2, limit=1)
    try:
        event = event_of(page.events[0]) if page.events else None
    except UnknownEvent:
        event = None
    return event.wants if isinstance(event, McpAsked) and event.call == waiting.call else {}


def can_ask(abilities: Abilities, wants: Mapping[str, Json]) -> bool:
    """Whether the editor can show all of what is asked. Only addresses of the web are opened: an editor has others that
    make it do something."""
    return bool(wants) and all(
        abilities.urls and str(one.get("url")).lower().startswith(("https://", "http://"))
        if _is_url(one)
        else abilities.forms
        for one in wants.values()
    )


async def elicit(peer: Peer, session: str, call: str, wants: Mapping[str, Json], server: str) -> Filled:
    """Ask each question. Raises `RpcError`."""
    content: Json = {}
    for key, want in wants.items():
        params: Json = {"sessionId": session, "toolCallId": call, "mode": "url" if _is_url(want) else "form"}
        params["message"] = f"The MCP server {server} asks: {clean(str(want.get('message') or ''))}"
        if _is_url(want):
            params |= {"url": want.get("url"), "elicitationId": f"{call}:{key}"}
        else:
            params["requestedSchema"] = want.get("requestedSchema") or {"type": "object", "properties": {}}
        try:
            answer = msgspec.convert(await peer.request("elicitation/create", params), _Answer)
        except msgspec.ValidationError:
            return Filled(None)
        if answer.action != "accept":
            return Filled(False if answer.action == "decline" else None)
        content |= answer.content or {}
    return Filled(True, content or None)


def _is_url(want: Json) -> bool:
    return want.get("mode") == "url"

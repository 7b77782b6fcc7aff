"""The cards of remote agents: fetched when they are needed, and kept in the store for an hour.

A card is text of a stranger. Only its addresses are used, at the host of the card itself; its words reach no prompt."""

from __future__ import annotations

import hashlib
import time
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import msgspec

from roost.agent.remote_agent_options import RemoteAgent
from roost.features.remote_agents.requests import Requests
from roost.log.documents import Documents, Put
from roost.tools.checked_http import parts_of, place_of
from roost.tools.errors import ToolError

Binding: TypeAlias = Literal["JSONRPC", "HTTP+JSON"]
KIND = "remote_agents.card"
_FRESH_SECONDS = 3600.0
_CARD_BYTES = 256 * 1024
_PATH = "/.well-known/agent-card.json"


class Endpoint(NamedTuple):
    """Where a remote agent is asked. tenant: to be named in each request, if not empty."""

    url: str
    binding: Binding
    tenant: str = ""


class Cards:
    """The cards that the nodes of the store know."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def endpoint(self, agent: RemoteAgent, requests: Requests) -> Endpoint:
        """Return where an agent is asked. A card that cannot be fetched again is used as it was. Raises `ToolError`."""
        url = agent.url if agent.url.endswith(".json") else agent.url.rstrip("/") + _PATH
        name = hashlib.blake2b(f"{url}\n{agent.secret or ''}".encode(), digest_size=16).hexdigest()
        known = await self._documents.get(KIND, name)
        if known is not None and time.time() - known.changed < _FRESH_SECONDS:
            return endpoint_of(known.body, url)
        try:
            body = await requests.fetch(url, cap=_CARD_BYTES)
            found = endpoint_of(body, url)
        except ToolError:
            if known is None:
                raise
            return endpoint_of(known.body, url)
        await self._documents.write([Put(kind=KIND, id=name, body=body)])
        return found


def endpoint_of(body: bytes, url: str) -> Endpoint:
    """Read where a card's agent speaks A2A 1.0, at the host of the card: it would get this host's token. Raises
    `ToolError`."""
    try:
        card = msgspec.json.decode(body, type=dict[str, Any])
        listed = card.get("supportedInterfaces")
        interfaces = cast("list[Any]", listed) if isinstance(listed, list) else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ToolError(f"{url} is no agent card") from None
    elsewhere = False
    for one in interfaces:
        found = _interface(one)
        if found is None:
            continue
        if origin_of(found.url) == origin_of(url):
            return found
        elsewhere = True
    if elsewhere:
        raise ToolError(f"the card at {url} leads to another host: name the agent by a card there")
    raise ToolError(f"the card at {url} names no interface of A2A 1.0 by JSON-RPC or HTTP+JSON")


def origin_of(url: str) -> tuple[str, str, int]:
    parts = parts_of(url)
    return (parts.scheme, *place_of(parts))


class _Interface(msgspec.Struct, rename="camel"):
    url: str
    protocol_binding: str
    protocol_version: str = ""
    tenant: str = ""


def _interface(given: Any) -> Endpoint | None:
    """Return an interface that can be used. HTTP+JSON with a tenant has other paths, which are not used."""
    try:
        one = msgspec.convert(given, _Interface)
        parts_of(one.url)
    except (msgspec.ValidationError, ToolError):
        return None
    if one.protocol_version.partition(".")[0] != "1":
        return None
    if one.protocol_binding == "JSONRPC":
        return Endpoint(one.url, "JSONRPC", one.tenant)
    return Endpoint(one.url, "HTTP+JSON") if one.protocol_binding == "HTTP+JSON" and not one.tenant else None

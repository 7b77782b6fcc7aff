"""Call tools of Roost, which the agent's definition names: by MCP, at the gateway of the agent's program."""

from __future__ import annotations

import itertools
import json
import os
import urllib.request
from typing import Any

from .gate import scope

_numbers = itertools.count(1)
_session: dict[str, str] = {}
_HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "roost_bridge", "version": "1"}}


def call(name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """Return what a tool said, and whether that is an error. The session judges and records the call."""
    result = _request("tools/call", {"name": name, "arguments": arguments})
    text = "\n".join(one.get("text", "") for one in result.get("content", ()))
    return text, bool(result.get("isError"))


def names() -> list[str]:
    """Return the names of the tools that may be called."""
    return [one["name"] for one in _request("tools/list", {}).get("tools", ())]


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    url = os.environ.get("ROOST_MCP_URL", "")
    if not url:
        return {"content": [{"text": "this agent may call no tools of Roost"}], "isError": True}
    if not _session:
        _session["x-roost-known"] = "yes"
        _request("initialize", dict(_HELLO))
    body = {"jsonrpc": "2.0", "id": next(_numbers), "method": method, "params": params}
    headers = {
        "authorization": f"Bearer {os.environ['ROOST_MCP_KEY']}",
        "content-type": "application/json",
        "accept": "application/json",
        "x-roost-scope": scope(),
        **_session,
    }
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked) as response:
        if known := response.headers.get("mcp-session-id"):
            _session["mcp-session-id"] = known
        said = json.load(response)
    if "error" in said:
        return {"content": [{"text": str(said["error"].get("message"))}], "isError": True}
    return said["result"]

"""An agent that calls tools of Roost by itself, over MCP: outside of any tool, and inside one."""

import itertools
import json
import os
import urllib.request

import counting
from roost_bridge import tool
from roost_bridge.gate import scope

numbers = itertools.count(1)


def answer(text: str, history: list) -> str:
    started = request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t"}})
    names = [one["name"] for one in request("tools/list", {})["tools"]]
    kept = call("remember", {"text": "The sky is green.", "key": "sky"})
    inside = nested()
    found = call("recall", {"query": "sky"})
    return json.dumps([started["serverInfo"]["name"], names, kept, inside, found, counting.work([user(text)])])


@tool
def nested() -> str:
    return call("recall", {"query": "sky"})


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def call(name: str, arguments: dict) -> str:
    return request("tools/call", {"name": name, "arguments": arguments})["content"][0]["text"]


session: dict[str, str] = {}


def request(method: str, params: dict) -> dict:
    body = {"jsonrpc": "2.0", "id": next(numbers), "method": method, "params": params}
    headers = {
        "authorization": f"Bearer {os.environ['ROOST_MCP_KEY']}",
        "content-type": "application/json",
        "accept": "application/json",
        "x-roost-scope": scope(),
        **session,
    }
    asked = urllib.request.Request(os.environ["ROOST_MCP_URL"], json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=600) as response:
        if id := response.headers.get("mcp-session-id"):
            session["mcp-session-id"] = id
        return json.load(response)["result"]

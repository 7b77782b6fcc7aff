"""Kill the daemon in the middle of a call: the client goes on by the means of its revision, and nothing is doubled."""

from __future__ import annotations

import json
import time

import httpx2
import pytest
from tests.doors.test_openai_killed import LONG, Node, node

__all__ = ["node"]
ANSWER = f"I mark.\n\n{LONG}"
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(arguments: dict, meta: dict) -> dict:
    params = {"name": "ask_marker", "arguments": arguments, "_meta": {"progressToken": "p", **meta}}
    return {"jsonrpc": "2.0", "id": "the call", "method": "tools/call", "params": params}


def headers(node: Node, **more: str) -> dict[str, str]:
    accept = "application/json, text/event-stream"
    return {"authorization": f"Bearer {node.token}", "accept": accept, **more}


def url(node: Node) -> str:
    return f"http://127.0.0.1:{node.port}/mcp"


def until_marked(node: Node, body: dict, **more: str) -> list[str]:
    """Begin a call, and kill the node once its tool has run. Returns the ids of the stream's events."""
    ids: list[str] = []

    def listen() -> None:
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", url(node), json=body, headers=headers(node, **more)) as response,
        ):
            for line in response.iter_lines():
                if line.startswith("id: "):
                    ids.append(line[4:])
                if "runs mark" in line:
                    while not (node.marks.exists() and node.marks.read_text()):
                        time.sleep(0.01)
                    node.kill()

    with pytest.raises(httpx2.HTTPError):
        listen()
    return ids


def result(text: str) -> dict:
    """Return the response at the end of a stream, or the whole body."""
    last = [line[6:] for line in text.splitlines() if line.startswith("data: {")][-1] if "data: " in text else text
    found = json.loads(last)
    assert found["id"] == "the call"
    return found["result"]


def check_once(node: Node, session: str) -> None:
    assert node.marks.read_text() == "x"
    assert [one["id"] for one in node.get("/sessions")["sessions"]] == [session]
    kinds = [e["event"]["type"] for e in node.get(f"/sessions/{session}/events?limit=500")["events"]]
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (1, 1)


def test_a_call_sent_again_with_its_key_gets_the_turn_that_a_kill_cut_off(node):
    body = call({"message": "mark it", "key": "once"}, MODERN)
    more = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "ask_marker"}
    until_marked(node, body, **more)
    node.up()
    again = httpx2.post(url(node), json=body, headers=headers(node, **more), timeout=60)
    facts = result(again.text)["structuredContent"]
    assert facts["answer"] == ANSWER
    check_once(node, facts["session"])


def test_an_older_client_goes_on_with_the_event_that_it_had(node):
    begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin}
    begun = httpx2.post(url(node), json=start, headers=headers(node), timeout=60)
    more = {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
    ids = until_marked(node, call({"message": "mark it"}, {}), **more)
    node.up()
    again = httpx2.get(url(node), headers=headers(node, **more, **{"last-event-id": ids[-1]}), timeout=60)
    facts = result(again.text)["structuredContent"]
    assert facts["answer"] == ANSWER
    check_once(node, facts["session"])

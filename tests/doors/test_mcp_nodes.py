"""MCP on two nodes of one PostgreSQL store: no node keeps what a client needs again."""

from __future__ import annotations

import asyncio

import httpx2
import mcp_types as types
from tests.doors.test_mcp import STRIKES, connected, sessions, turns
from tests.doors.test_mcp_killed import MODERN, result
from tests.server.conftest import strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, ScriptedModel, by_step

SLOW = Answer(text="slow answer " * 20, pace=0.02, piece=10)


def nodes(serve, database, tmp_path, agent):
    return [serve(agents=[agent], home=tmp_path / name, store=database) for name in ("one", "two")]


async def test_calls_with_one_key_at_two_nodes_are_one_turn(serve, database, tmp_path):
    one, two = nodes(serve, database, tmp_path, Agent("clerk", model=ScriptedModel(lambda _: SLOW, deltas=True)))
    async with connected(one, "2026-07-28") as here, connected(two, "legacy") as there:
        calls = [client.call_tool("ask_clerk", {"message": "x", "key": "k"}) for client in (here, there, here, there)]
        facts = [done.structured_content for done in await asyncio.gather(*calls)]
    assert {one["answer"] for one in facts} == {SLOW.text}
    assert len({(one["session"], one["input"]) for one in facts}) == 1
    assert len(turns(one, facts[0]["session"])) == 1
    assert len(sessions(two)) == 1


async def test_a_question_of_one_node_is_answered_at_the_other(serve, database, tmp_path):
    agent = Agent("clerk", model=ScriptedModel(by_step(STRIKES)), tools=[strike])
    one, two = nodes(serve, database, tmp_path, agent)
    meta = MODERN | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    params = {"name": "ask_clerk", "arguments": {"message": "strike"}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": "the call", "method": "tools/call", "params": params}
    more = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "ask_clerk"}
    async with httpx2.AsyncClient(timeout=60) as client:
        asked = await client.post(f"{one.url}/mcp", json=body, headers=one.headers(**more))
        needed = result(asked.text)
        assert needed["resultType"] == "input_required"
        accept = types.ElicitResult(action="accept", content={"decision": "approve"}).model_dump(mode="json")
        params |= {
            "requestState": needed["requestState"],
            "inputResponses": dict.fromkeys(needed["inputRequests"], accept),
        }
        done = await client.post(f"{two.url}/mcp", json=body, headers=two.headers(**more))
    facts = result(done.text)["structuredContent"]
    assert facts["answer"] == "I strike.\n\nstruck"
    assert len(turns(one, facts["session"])) == 1


async def test_a_session_of_an_older_client_goes_on_at_the_other_node(serve, database, tmp_path):
    one, two = nodes(serve, database, tmp_path, Agent("clerk", model=ScriptedModel(lambda _: "yes")))
    async with httpx2.AsyncClient(timeout=60) as client:
        begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"capabilities": {}}}
        begun = await client.post(f"{one.url}/mcp", json=begin, headers=one.headers())
        more = {"mcp-session-id": begun.headers["mcp-session-id"]}
        listed = {"jsonrpc": "2.0", "id": "the call", "method": "tools/list"}
        found = await client.post(f"{two.url}/mcp", json=listed, headers=two.headers(**more))
    assert "ask_clerk" in [tool["name"] for tool in result(found.text)["tools"]]

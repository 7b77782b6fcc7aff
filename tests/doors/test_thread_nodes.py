"""The doors whose clients name their conversations, on two nodes of one PostgreSQL store."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.doors.test_openai_agent_mode import SLOW, turns

from roost.agent.definition import Agent
from roost.doors import requested
from roost.doors.openai_agents import context
from roost.doors.termo.service import session_of
from roost.features.upgrades.service import UpgradesService
from roost.testing.scripted import Answer, ScriptedModel


def agui(served: Any, number: int) -> str:
    message = {"id": "m", "role": "user", "content": f"go {number}"}
    answer = served.post("/ag-ui/clerk", {"threadId": "t", "runId": f"r{number}", "messages": [message]})
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert events[-1]["outcome"] == {"type": "success"}, events[-1]
    return "".join(event.get("delta", "") for event in events)


def a2a(served: Any, number: int) -> str:
    message = {"messageId": f"m{number}", "contextId": "t", "role": "ROLE_USER", "parts": [{"text": f"go {number}"}]}
    answer = served.post("/a2a/clerk/message:send", {"message": message})
    assert answer.status == 200, answer
    return "".join(part["text"] for part in answer.json["task"]["artifacts"][0]["parts"])


def termo(served: Any, number: int) -> str:
    answer = served.post("/termo/clerk/api/send", {"message": f"go {number}", "session_key": "t"})
    assert answer.status == 200, answer
    return answer.json["response"]


@pytest.mark.parametrize(("ask", "session"), [(agui, "t"), (a2a, "t"), (termo, session_of("clerk", "t"))])
async def test_what_comes_to_both_nodes_at_once_is_done_once(
    ask: Any, session: str, serve: Any, database: str, tmp_path: Any
) -> None:
    model = ScriptedModel(lambda request: SLOW, deltas=True)
    nodes = [
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    ]
    for number in (1, 2):
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, (*nodes, *nodes), [number] * 4))
        assert set(answers) == {SLOW.text}
    assert len(turns(nodes[0], session)) == 2


async def test_a_session_is_what_its_record_says_when_two_nodes_change_it_at_once(
    serve: Any, database: str, tmp_path: Any, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the Agents API: the record is a document, and what the session pins is in its log. The first node writes
    its record first, and tells the session last."""
    held, free = threading.Event(), threading.Event()
    move_to = UpgradesService.move_to

    async def slow(self: UpgradesService, *given: Any, **more: Any) -> Any:
        if not held.is_set():
            held.set()
            assert await asyncio.to_thread(free.wait, 60)
        return await move_to(self, *given, **more)

    model = ScriptedModel(lambda request: SLOW)
    nodes = [
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    ]
    at = "/v1/agents/sessions"
    environment = {"type": "openai_hosted"}
    session = nodes[0].post(at, {"agent": {"model": "clerk"}, "environment": environment}).json["id"]

    def change(number: int) -> int:
        function = {"type": "function", "name": f"f{number}", "parameters": {"type": "object", "properties": {}}}
        body = {"spend_control": {"limit": 100 + number}, "agent": {"tools": [function]}}
        return nodes[number % 2].post(f"{at}/{session}", body).status

    monkeypatch.setattr(UpgradesService, "move_to", slow)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(change, 0)
        assert held.wait(60)
        assert change(1) == 200
        free.set()
        assert first.result(60) == 200
    wait(lambda: not nodes[0].get(f"/sessions/{session}")["info"]["pending"])
    shown = nodes[1].get(f"{at}/{session}")
    assert shown["spend_control"]["limit"] == 101
    events = [one["event"] for one in nodes[0].get(f"/sessions/{session}/events?limit=1000")["events"]]
    moved = [one for one in events if one["type"] == "session.moved"]
    offered = [one for one in events if one["type"] == "client.offered"]
    assert moved[-1]["spec"]["limits"]["session_money"] == 1.01
    assert [one["name"] for one in offered[-1]["tools"]] == ["f1"]


async def test_the_same_words_again_are_another_message_at_any_node(
    serve: Any, database: str, tmp_path: Any, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a request that says that it is a repetition: an earlier answer is taken for lost for a few seconds, and
    longer only when the node that gave it is gone."""
    model = ScriptedModel(lambda request: Answer(text="done"))
    nodes = [
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    ]
    at, made = "/v1/agents/sessions", {"agent": {"model": "clerk"}, "environment": {"type": "openai_hosted"}}
    session = nodes[0].post(at, made).json["id"]

    def say(node: Any, retry: str) -> None:
        given = [{"role": "user", "content": [{"type": "input_text", "text": "yes"}]}]
        body = {"events": [{"type": "agent.session.input.message", "input": given}]}
        path = f"{at}/{session}/events"
        assert node.request("POST", path, body, **{"x-stainless-retry-count": retry}).status == 202

    def said() -> int:
        wait(lambda: nodes[1].get(f"{at}/{session}")["status"] == "idle")
        return len(turns(nodes[1], session))

    def make(node: Any, name: str, retry: str) -> str:
        return node.request("POST", at, {**made, "metadata": {"n": name}}, **{"x-stainless-retry-count": retry}).json[
            "id"
        ]

    first = [make(nodes[0], name, "0") for name in "abc"]
    assert make(nodes[1], "a", "1") == first[0]
    say(nodes[0], "0")
    assert said() == 1
    say(nodes[1], "1")
    assert said() == 1, "the answer of the first node may be lost behind it"
    for module in (context, requested):
        monkeypatch.setattr(module, "LOST_SECONDS", 0.0)
    assert make(nodes[1], "b", "1") != first[1]
    say(nodes[1], "1")
    assert said() == 2, "its first attempt never came"
    say(nodes[0], "1")
    assert said() == 3
    nodes[0].stop()
    wait(lambda: len([one for one in nodes[1].get("/nodes")["nodes"] if one["alive"]]) == 1)
    say(nodes[1], "1")
    assert said() == 3, "nobody knows whether the node that is gone has answered"
    assert make(nodes[1], "c", "1") == first[2]

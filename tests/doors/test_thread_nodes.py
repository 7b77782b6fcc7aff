"""The doors whose clients name their conversations, on two nodes of one PostgreSQL store."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.doors.test_openai_agent_mode import SLOW, turns

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel


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


@pytest.mark.parametrize("ask", [agui, a2a])
async def test_what_comes_to_both_nodes_at_once_is_done_once(
    ask: Any, serve: Any, database: str, tmp_path: Any
) -> None:
    model = ScriptedModel(lambda request: SLOW, deltas=True)
    nodes = [
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    ]
    for number in (1, 2):
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, (*nodes, *nodes), [number] * 4))
        assert set(answers) == {SLOW.text}
    assert len(turns(nodes[0], "t")) == 2

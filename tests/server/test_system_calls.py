"""Calls of a session's tools, memory, files and model, by programs and by other agents, with rights."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.doors.test_coding_agents import events
from tests.server.accounts import tenant
from tests.server.conftest import Served

from roost import SyncClient, tool
from roost.agent.definition import Agent
from roost.features.system_calls.events import SystemCallInput
from roost.features.system_calls.service import SystemCallsService
from roost.testing.scripted import Answer, Call, ScriptedModel

SERVES = {"@program": ("echo", "write_file", "nothing", "pay"), "writer*": ("recall", "remember", "model")}


@tool(replay="safe", safety="read_only")
async def echo(text: str) -> str:
    """Say it."""
    return f"said {text}"


@tool(replay="never", safety="high_risk")
async def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


def says(request: Any) -> Answer:
    if request.messages[-1].parts[-1].text == "call echo":
        return Answer(calls=(Call("echo", {"text": "x"}),))
    return Answer(text=f"{request.instruction[:8]} heard {request.messages[-1].parts[-1].text}")


@pytest.fixture(params=["sqlite", "postgres"])
def served(request: pytest.FixtureRequest, serve: Any) -> Served:
    more = {}
    if request.param == "postgres":
        more["store"] = asyncio.run(request.getfixturevalue("postgres").database())
    tools = [echo, pay, "write_file", "remember", "recall"]
    library = Agent("library", instructions="You are a library.", model=ScriptedModel(says), tools=tools, serves=SERVES)
    writer = Agent("writer", model=ScriptedModel(says))
    return serve(agents=[library, writer], **more)


def call(served: Any, session: str, tool: str, given: Any = None, wait: int = 30, **more: Any) -> Any:
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    if key := more.pop("key", None):
        headers["Idempotency_Key"] = key
    body = {"tool": tool, "arguments": given or {}, **more}
    return served.request("POST", f"/sessions/{session}/calls", body, **headers)


def test_a_call_is_judged_logged_and_answered(served: Served) -> None:
    session = served.session("library")
    done = call(served, session, "echo", {"text": "hello"})
    assert (done.status, done.json["state"], done.json["outcome"], done.json["text"]) == (
        200,
        "done",
        "ok",
        "said hello",
    )
    assert served.get(f"/sessions/{session}/calls/{done.json['input']}")["text"] == "said hello"
    written = call(served, session, "write_file", {"path": "a.txt", "content": "words"})
    assert written.json["outcome"] == "ok"
    assert (served.home / "workspaces" / session / "a.txt").read_text() == "words"
    for kind in ("system.called", "system.answered", "tool.completed"):
        assert len(events(served, session, kind)) == 2
    wrong = call(served, session, "echo", {"words": "hello"}).json
    assert wrong["outcome"] == "error"
    assert call(served, session, "nothing").json["outcome"] == "error"  # it is served, and there is no such tool
    assert served.get(f"/sessions/{session}/calls/{done.json['input']}")["text"] == "said hello"
    assert served.request("GET", f"/sessions/{session}/calls/99999").code == "no_call"


def test_nobody_may_call_what_the_definition_does_not_serve(served: Served) -> None:
    session, writer, other = (served.session(name) for name in ("library", "writer", "library"))
    assert call(served, session, "recall", {"query": "sky"}).code == "not_served"
    assert call(served, session, "echo", {"text": "x"}, caller=writer).code == "not_served"
    assert call(served, session, "model", {"prompt": "x"}, caller=other).code == "not_served"
    assert call(served, writer, "echo", {"text": "x"}).code == "not_served"  # it serves nobody
    assert call(served, session, "model", {"words": "x"}, caller=writer).status == 422
    talked = call(served, session, "model", {"prompt": "call echo"}, caller=writer).json
    assert talked["outcome"] == "ok"
    assert not events(served, session, "tool.completed")  # the right to its model is none to its tools
    kept = call(served, session, "remember", {"text": "The sky is green."}, caller=writer)
    assert kept.json["outcome"] == "ok"
    assert "The sky is green." in call(served, session, "recall", {"query": "sky"}, caller=writer).json["text"]
    said = call(served, session, "model", {"prompt": "Who?"}, caller=writer).json
    assert (said["outcome"], said["text"]) == ("ok", "You are  heard Who?")
    said = call(served, session, "model", {"prompt": "Who?", "instructions": "Be kind."}, caller=writer).json
    assert said["text"] == "Be kind. heard Who?"
    assert served.get(f"/sessions/{session}")["usage"]["input"] >= 0
    alice = tenant(served, "alice", agents=["*"])
    own = alice.session("library")
    assert call(alice, own, "echo", {"text": "mine"}).json["text"] == "said mine"
    assert call(alice, session, "echo", {"text": "x"}).status == 404
    assert call(alice, own, "recall", {"query": "x"}, caller=writer).status == 404  # another's session is no caller


def test_a_call_waits_in_the_queue_and_for_a_person(served: Served, wait: Any) -> None:
    session = served.session("library")
    asked = call(served, session, "pay", {"amount": 5}, wait=0, key="once")
    assert asked.status == 202
    later = call(served, session, "echo", {"text": "after"}, wait=0).json
    number = asked.json["input"]
    wait(lambda: served.get(f"/sessions/{session}/approvals")["approvals"], 60)
    assert served.get(f"/sessions/{session}/calls/{number}")["state"] == "running"
    assert served.get(f"/sessions/{session}/calls/{later['input']}")["state"] == "queued"
    again = call(served, session, "pay", {"amount": 5}, wait=0, key="once").json
    assert (again["input"], again["duplicate"]) == (number, True)
    (approval,) = served.get(f"/sessions/{session}/approvals")["approvals"]
    served.post(f"/sessions/{session}/approvals/{approval['call']}", {"decision": "reject"})
    with SyncClient.at(served.url, token=served.token) as client:
        found = client.calls.call(session, "pay", {"amount": 5}, key="once", wait=60)
        assert (found.state, found.outcome) == ("done", "denied")
        wait(lambda: client.calls.get(session, str(later["input"])).state == "done", 60)


def test_a_message_in_the_middle_of_a_call_is_answered(served: Served, wait: Any, tmp_path: Path) -> None:
    session = served.session("library")
    call(served, session, "pay", {"amount": 5}, wait=0)
    wait(lambda: served.get(f"/sessions/{session}/approvals")["approvals"], 60)
    served.post(f"/sessions/{session}/messages", {"text": "and you?", "mode": "steer"})
    (approval,) = served.get(f"/sessions/{session}/approvals")["approvals"]
    served.post(f"/sessions/{session}/approvals/{approval['call']}", {"decision": "approve"})
    wait(lambda: "heard and you?" in str(served.get(f"/sessions/{session}/messages")), 60)


async def test_a_call_that_begins_while_it_is_looked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    async def pending(session: str) -> list[Any]:
        queued = SimpleNamespace(id=1, input=SystemCallInput("echo"))
        return [] if looked else [queued]

    async def get(session: str) -> Any:
        looked.append(session)
        return SimpleNamespace(head=0)

    inboxes, sessions = SimpleNamespace(pending=pending), SimpleNamespace(get=get)
    host: Any = SimpleNamespace(sessions=sessions, store=SimpleNamespace(inboxes=inboxes))
    assert (await SystemCallsService(host).get("s", "1")).state == "queued"

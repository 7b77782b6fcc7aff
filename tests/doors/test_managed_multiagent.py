"""Managed agents that call others: pinned versions, questions of threads in the session's stream."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import pytest
from tests.doors.test_managed import managed, say, until_idle

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

__all__ = ["managed"]
SCRIPT = Script(
    rules=(
        Rule(
            when="agent_",
            answers=(Reply(calls=(Call("task", {"agent": "{input}", "prompt": "make it"}),)), Reply(text="{result}")),
        ),
        Rule(when="make it", answers=(Reply(calls=(Call("shell", {"command": "echo made"}),)), Reply(text="{result}"))),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)
ASKS: Any = {
    "type": "agent_toolset_20260401",
    "default_config": {"enabled": False, "permission_policy": {"type": "always_ask"}},
    "configs": [{"name": "bash", "enabled": True}],
}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ONE_KEY", "k")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ProviderServer(SCRIPT) as server:
        yield server


def team(client: Any, **worker: Any) -> tuple[Any, Any, Any]:
    """Make a worker, a coordinator that may call it, and a session."""
    one = client.beta.agents.create(name="worker", description="Makes it.", model="one/m", **worker)
    roster = {"type": "coordinator", "agents": [one.id, {"type": "self"}]}
    lead = client.beta.agents.create(name="lead", model="one/m", multiagent=roster)
    environment = client.beta.environments.create(name="e")
    return one, lead, client.beta.sessions.create(agent=lead.id, environment_id=environment.id)


def test_an_agent_calls_the_agents_of_its_roster_in_their_versions(managed: Any) -> None:
    client = managed()
    worker, lead, session = team(client, system="first", tools=[{"type": "agent_toolset_20260401"}])
    members = [(one.id, one.version) for one in lead.multiagent.agents]
    assert members == [(worker.id, 1), (lead.id, 1)]
    assert [one.name for one in session.agent.multiagent.agents] == ["worker"]
    client.beta.agents.update(worker.id, system="second", tools=[])
    say(client, session.id, worker.id)
    heard = until_idle(client, session.id)
    (said,) = (one.content[0].text for one in heard if one.type == "agent.message")
    assert "made" in said, "the version of the roster still has its tools"
    (created,) = (one for one in heard if one.type == "session.thread_created")
    assert created.agent_name == worker.id
    _, thread = client.beta.sessions.threads.list(session.id)
    assert (thread.agent.id, thread.parent_thread_id) == (worker.id, session.id)
    assert client.beta.agents.retrieve(lead.id).multiagent.agents[0].version == 1
    changed = client.beta.agents.update(lead.id, multiagent={"type": "coordinator", "agents": [worker.id]})
    assert [(one.id, one.version) for one in changed.multiagent.agents] == [(worker.id, 2)]
    assert client.beta.agents.update(lead.id, multiagent=None).multiagent is None


@pytest.mark.parametrize("answer", ["allow", "deny"])
def test_the_question_of_a_thread_is_asked_in_the_stream_of_the_session(managed: Any, answer: Any) -> None:
    client = managed()
    worker, _, session = team(client, tools=[ASKS])
    say(client, session.id, worker.id)
    heard = until_idle(client, session.id)
    (asked,) = (one for one in heard if one.type == "agent.tool_use" and one.session_thread_id)
    assert (asked.name, asked.input, asked.evaluated_permission) == ("bash", {"command": "echo made"}, "ask")
    assert heard[-1].stop_reason.event_ids == [asked.id]
    listed = list(client.beta.sessions.events.list(session.id, types=["agent.tool_use"]))
    assert [one.to_dict() for one in listed if one.id == asked.id] == [asked.to_dict()]
    assert client.beta.sessions.retrieve(session.id).status == "idle"
    decision: Any = {"type": "user.tool_confirmation", "tool_use_id": asked.id, "result": answer}
    for _ in range(2):
        client.beta.sessions.events.send(session.id, events=[decision])
    heard = until_idle(client, session.id)
    assert heard[-1].stop_reason.type == "end_turn"
    (said,) = (one.content[0].text for one in heard if one.type == "agent.message")
    assert ("made" in said) == (answer == "allow")


def answer_elsewhere(client: Any, thread: str, decision: str) -> None:
    """Answer the question of a thread by Roost's own HTTP, as the terminal and the console do."""
    headers = {"authorization": f"Bearer {client.api_key}", "content-type": "application/json"}
    with httpx2.Client(base_url=str(client.base_url), headers=headers) as own:
        (waiting,) = own.get(f"/sessions/{thread}").json()["approvals"]
        said = {"decision": decision, "note": "by a person"}
        assert own.post(f"/sessions/{thread}/approvals/{waiting['call']}", json=said).status_code == 202


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_question_of_a_thread_that_is_answered_elsewhere_is_answered_in_the_stream(
    managed: Any, decision: str
) -> None:
    client = managed()
    worker, _, session = team(client, tools=[ASKS])
    say(client, session.id, worker.id)
    (asked,) = (
        one
        for one in until_idle(client, session.id)
        if getattr(one, "session_thread_id", None) and one.type == "agent.tool_use"
    )
    heard: list[Any] = []
    with client.beta.sessions.events.stream(session.id) as stream:
        answer_elsewhere(client, asked.session_thread_id, decision)
        for one in stream:
            heard.append(one)
            if one.type == "session.status_idle":
                break
    kinds = [one.type for one in heard]
    assert kinds[:2] == ["user.tool_confirmation", "session.status_running"]
    assert kinds.count("session.status_running") == 1
    result, note = ("allow", None) if decision == "approve" else ("deny", "by a person")
    assert (heard[0].tool_use_id, heard[0].result, heard[0].deny_message) == (asked.id, result, note)
    assert heard[-1].stop_reason.type == "end_turn"
    listed = [one.to_dict() for one in client.beta.sessions.events.list(session.id)]
    back = [one.to_dict() for one in client.beta.sessions.events.list(session.id, order="desc")]
    assert [one for one in listed if one["type"] == "user.tool_confirmation"] == [heard[0].to_dict()]
    assert back == listed[::-1]
    known = {one["id"] for one in listed}
    assert {one.id for one in heard} <= known, "a client that lost the stream finds all of it in the list"
    thread = client.beta.sessions.threads.events.list(asked.session_thread_id, session_id=session.id)
    assert [one.result for one in thread if one.type == "user.tool_confirmation"] == [result]
    say(client, session.id, "and you?")
    assert "user.tool_confirmation" not in [one.type for one in until_idle(client, session.id)]


def test_rosters_that_are_refused(managed: Any) -> None:
    client = managed()
    worker, lead, _ = team(client)
    custom = {"type": "custom", "name": "x", "description": "d", "input_schema": {"type": "object"}}
    asking = client.beta.agents.create(name="c", model="one/m", tools=[custom]).id
    for agents, why in (
        ([lead.id], "calls others itself"),
        ([asking], "custom tools"),
        ([worker.id, {"type": "agent", "id": worker.id}], "each agent once"),
        ([{"type": "advisor", "model": "one/m"}], "no advisors"),
        ([], "empty"),
    ):
        with pytest.raises(anthropic.BadRequestError, match=why):
            client.beta.agents.create(name="d", model="one/m", multiagent={"type": "coordinator", "agents": agents})
    for given in ({"type": "agent", "id": worker.id, "version": 9}, "agent_nobody"):
        with pytest.raises(anthropic.NotFoundError):
            client.beta.agents.create(name="d", model="one/m", multiagent={"type": "coordinator", "agents": [given]})
    off = {"type": "disabled"}
    newer: Any = {"type": "multiagent_20261001", "workflows": off, "advisor": off}
    subagents = {"type": "enabled", "predefined_agents": [worker.id], "inline_agents": off}
    made = client.beta.agents.create(name="d", model="one/m", multiagent={**newer, "subagents": subagents})
    assert made.multiagent.agents[0].id == worker.id
    with pytest.raises(anthropic.BadRequestError, match="workflows"):
        client.beta.agents.create(
            name="d", model="one/m", multiagent={"type": "multiagent_20261001", "subagents": subagents}
        )

"""Agents of other frameworks as sessions: their model calls are steps, their tool calls are judged and logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.features.frameworks import hosted_agent
from roost.features.frameworks.duties import FrameworkDuties
from roost.features.frameworks.installations import InstalledAgents
from roost.policy.rules import Rule as Policy
from roost.stub.provider import ProviderServer
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.doors.test_coding_agents import answer, calls, events, file_of, result, say, turn_of
from tests.frameworks.hosting import SCRIPT, hosted, need, share_environments
from tests.server.accounts import tenant
from tests.server.conftest import Served

pytestmark = pytest.mark.timeout(600)  # each turn imports its framework


@pytest.fixture
def start(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    """Start a daemon with the agent `coder` of a framework, on a scripted provider."""
    monkeypatch.setenv("ONE_KEY", "k")
    stubs: list[ProviderServer] = []

    def begin(framework: str, **options: Any) -> Served:
        need(framework, cache)
        stubs.append(ProviderServer(SCRIPT).__enter__())
        share_environments(tmp_path / "home", cache)
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stubs[0].url, wire="openai_chat"))
        served = serve(agents=[Agent("coder", model="one/m", **hosted(framework, **options))])
        served.stub = stubs[0]
        return served

    yield begin
    for stub in stubs:
        stub.__exit__(None, None, None)
        assert not stub.stats.violations, stub.stats.reasons


def test_work_without_tools_is_a_step_for_each_model_call(start: Any, wait: Any) -> None:
    served = start("python")
    session = served.session("coder")
    say(served, session, "HELLO and TWICE")
    done = turn_of(served, session, wait)
    assert (done["outcome"], done["steps"]) == ("answered", 3)  # the third is the result, another text
    assert answer(served, session) == "checked!"
    assert served.stub.stats.requests == 2
    assert len(events(served, session, "framework.went_on")) == 2


def test_a_handoff_is_a_call_with_the_result_that_the_framework_gave_it(start: Any, wait: Any) -> None:
    served = start("openai-agents")
    session = served.session("coder")
    say(served, session, "HAND OVER now")
    assert turn_of(served, session, wait).get("reason") is None
    assert answer(served, session) == "I am the other"
    (call,) = calls(served, session)
    assert (call["outcome"], "Other" in result(call)) == ("ok", True)


def test_an_agent_that_is_a_tool_is_recorded_inside_its_call(start: Any, wait: Any) -> None:
    served = start("openai-agents", permissions="ask")
    session = served.session("coder")
    say(served, session, "DELEGATE it")
    wait(lambda: events(served, session, "approval.requested"), 240)
    (asked,) = events(served, session, "approval.requested")
    assert asked["name"] == "ask_helper"
    assert "pay" in asked["reason"]
    served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "approve"})
    done = turn_of(served, session, wait)
    assert (done["outcome"], answer(served, session)) == ("answered", "IT SAID: HELPED: paid 7")
    assert file_of(served, session, "paid.txt") == "7\n"
    assert len(events(served, session, "framework.answered")) == 3
    assert {one["scope"] for one in events(served, session, "framework.answered")} == {asked["call"]}
    assert [one["name"] for one in events(served, session, "framework.call_started")] == ["look", "pay"]
    assert served.stub.stats.requests == 5
    assert served.get(f"/sessions/{session}")["usage"]["cost"] == 5 * 140000 == done["usage"]["cost"]


def test_what_is_wrong_with_an_agent_is_said(start: Any, wait: Any) -> None:
    served = start("python", object="nowhere:answer")
    session = served.session("coder")
    say(served, session, "HELLO")
    reason = turn_of(served, session, wait)["reason"]
    assert "nowhere:answer cannot be imported: ModuleNotFoundError" in reason


def test_a_tool_that_is_made_while_the_agent_works_asks_a_person(start: Any, wait: Any) -> None:
    served = start("python", object="late:making", permissions="ask")
    session = served.session("coder")
    say(served, session, "GIVE it")
    wait(lambda: events(served, session, "approval.requested") or events(served, session, "turn.completed"), 60)
    (asked,) = events(served, session, "approval.requested")
    assert asked["name"] == "give"
    served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "approve"})
    assert turn_of(served, session, wait).get("reason") is None
    assert answer(served, session).startswith("GIVEN: ")


def test_an_agent_that_does_not_end_after_its_answer_ends_the_turn(
    start: Any, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted_agent, "SILENCE", 2.0)
    served = start("python", object="late:lasting")
    session = served.session("coder")
    say(served, session, "HELLO")
    done = turn_of(served, session, wait)
    assert "asked for nothing for 2 seconds, and did not end" in done["reason"]


def test_an_account_uses_an_agent_of_the_home_and_defines_none(start: Any, wait: Any) -> None:
    served = start("python")
    alice = tenant(served, "alice", agents=["coder"])
    session = alice.session("coder")
    say(served, session, "HELLO")
    assert turn_of(served, session, wait).get("reason") is None
    own = {"framework": "python", "object": "os:system", "source": "/etc", "requirements": ["pip"], "replay": {}}
    for name in ("coder", "mine"):
        definition = {"name": name, **own}
        assert alice.post("/sessions", {"agent": name, "definition": definition}).code == "forbidden"
        assert alice.request("PUT", f"/definitions/{name}", {"definition": definition}).status in (403, 409)


@pytest.mark.parametrize(
    "change",
    [
        {"object": "counting:work"},
        {"source": str(Path(__file__).parent)},
        {"requirements": ["pip"]},
        {"replay": {"look": "safe", "pay": "safe"}},
    ],
    ids=str,
)
def test_a_session_of_an_account_runs_only_what_the_home_defines(start: Any, wait: Any, change: Any) -> None:
    """However a session of an account came by its definition: here the home has changed its own since."""
    served = start("python", **change)
    session = tenant(served, "alice", agents=["coder"]).session("coder")
    served.daemon._runtime.agents.add(Agent("coder", model="one/m", **hosted("python")))
    say(served, session, "HELLO")
    reason = turn_of(served, session, wait)["reason"]
    assert "this account may only use agents of frameworks that an agent file of this node defines" in reason


def test_the_mcp_client_of_a_framework_has_tools_of_the_runtime(start: Any, wait: Any) -> None:
    served = start(
        "openai-agents", object="openai_agents_mcp:agent", tools=["remember", "recall"], permissions="workspace"
    )
    session = served.session("coder")
    say(served, session, "KEEP it")
    assert turn_of(served, session, wait).get("reason") is None
    assert answer(served, session).startswith("KEPT: remembered as")
    assert [one["name"] for one in events(served, session, "tool.started")] == ["remember"]
    assert [one["outcome"] for one in calls(served, session)] == ["ok"]
    assert not events(served, session, "approval.requested")  # it is judged as Roost's tool, not as code of the agent
    assert served.stub.stats.requests == 2


def test_an_agent_calls_tools_of_the_runtime_over_mcp(start: Any, wait: Any) -> None:
    served = start(
        "python", object="calling:answer", tools=["remember", "recall"], rules=[Policy(effect="deny", tool="recall")]
    )
    session = served.session("coder")
    say(served, session, "HELLO")
    assert turn_of(served, session, wait).get("reason") is None
    name, names, kept, inside, found, said = json.loads(answer(served, session))
    assert (name, names, said) == ("roost", ["recall", "remember"], "hello back")
    assert kept.startswith("remembered as")
    assert inside.startswith("a tool of Roost cannot be called inside another call")
    assert "denied" in found
    assert [one["name"] for one in events(served, session, "tool.started")] == ["remember", "nested"]
    assert [one["outcome"] for one in calls(served, session)] == ["ok", "ok", "denied"]


def test_the_next_turn_begins_in_a_copy_of_the_same_program(start: Any, wait: Any) -> None:
    """Each run is a copy of a program that knows no key, and that has seen nothing of the runs before."""
    served = start("python", object="late:telling")
    session = served.session("coder")
    runs: list[list[str]] = []
    for number in (1, 2):
        say(served, session, "HELLO")
        assert turn_of(served, session, wait, number).get("reason") is None
        runs.append(answer(served, session).split())
    (program, first, *said), (same, second, *more) = runs
    assert (same, first != second, said, more) == (program, True, ["1", "False"], ["1", "False"])
    agents = served.daemon._runtime.node.features
    (duties,) = [one for one in agents if isinstance(one, FrameworkDuties)]
    wait(lambda: duties._made().warm.count == 1)
    served.loop.call_soon_threadsafe(duties._made().warm.end_all)
    wait(lambda: not served.daemon._runtime.node.slots.live)  # then the session sleeps


async def test_uv_does_not_obey_the_folder_in_which_roost_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cloned").mkdir()
    (tmp_path / "cloned" / "uv.toml").write_text("it could name another index, and is not even TOML")
    monkeypatch.chdir(tmp_path / "cloned")
    found = await InstalledAgents(tmp_path / "home").environment(Agent("coder", **hosted("python")).spec)
    assert Path(found.python).exists()


@pytest.mark.parametrize(
    "decisions",
    [
        [({"decision": "modify", "arguments": {"answer": 7}}, 7)],
        pytest.param([({"decision": "approve"}, True), ({"decision": "reject"}, False)], marks=pytest.mark.soak),
    ],
    ids=["changed", "yes and no"],
)
def test_an_interrupt_of_a_graph_waits_for_a_person(start: Any, wait: Any, decisions: list[tuple[Any, Any]]) -> None:
    """Whatever the permissions are. The graph's checkpoints outlive its program, which is stopped while it waits."""
    served = start("langgraph", object="langgraph_agent:asking")
    session = served.session("coder")
    for number, (decision, answered) in enumerate(decisions, 1):
        say(served, session, "HELLO")
        wait(lambda number=number: len(events(served, session, "approval.requested")) == number, 240)
        asked = events(served, session, "approval.requested")[-1]
        assert (asked["name"], "May I?" in asked["reason"]) == ("ask_person", True)
        assert served.post(f"/sessions/{session}/approvals/{asked['call']}", decision).status == 202
        assert turn_of(served, session, wait, number).get("reason") is None
        assert answer(served, session) == f"THE PERSON SAID {answered!r}, AFTER {3 * number - 1} MESSAGES"
    assert served.stub.stats.requests == len(decisions)

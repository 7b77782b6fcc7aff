"""Kill the daemon while a coding agent works: it goes on with its own conversation, and nothing is doubled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.doors.test_coding_agents import program, pytest_generate_tests, script
from tests.doors.test_openai_killed import Node

from roost.stub.provider import ProviderServer

pytestmark = pytest.mark.timeout(1200)
__all__ = ["program", "pytest_generate_tests"]
AGENT = """
from roost import Agent

coder = Agent("coder", model="openai/m", program={program!r})
"""


class Coder(Node):
    """A daemon with a coding agent."""

    def __init__(self, folder: Path, provider: str, program: str) -> None:
        self.program = program
        super().__init__(folder, provider)

    def up(self) -> None:
        (self.folder / "agents.py").write_text(AGENT.format(program=self.program))
        super().up()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        url, headers = f"http://127.0.0.1:{self.port}{path}", {"authorization": f"Bearer {self.token}"}
        return json.loads(httpx2.post(url, headers=headers, json=body).raise_for_status().content)

    def events(self, session: str, kind: str) -> list[Any]:
        found = self.get(f"/sessions/{session}/events?limit=1000")["events"]
        return [one["event"] for one in found if one["event"]["type"] == kind]


@pytest.fixture
def coder(tmp_path: Path, program: str) -> Any:
    with ProviderServer(script(program)) as provider:
        node = Coder(tmp_path, provider.url, program)
        node.provider = provider  # pyright: ignore[reportAttributeAccessIssue]
        yield node
        node.kill()


def test_a_call_that_waits_for_a_person_outlives_the_daemon(coder: Any, wait: Any) -> None:
    session = coder.post("/sessions", {"agent": "coder"})["id"]
    coder.post(f"/sessions/{session}/messages", {"text": "ASK ME please"})
    wait(lambda: coder.events(session, "approval.requested"), 500)
    (asked,) = coder.events(session, "approval.requested")
    coder.kill()
    before = coder.provider.stats.requests
    coder.up()
    coder.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "approve"})
    wait(lambda: coder.events(session, "turn.completed"), 500)
    (done,) = coder.events(session, "turn.completed")
    assert done["outcome"] == "answered"
    (call,) = coder.events(session, "tool.completed")
    assert (call["call"], call["outcome"]) == (asked["call"], "ok")
    ran = coder.folder / "home" / "workspaces" / session / "ran.txt"
    assert ran.read_text() == "ran\n"
    assert len(coder.events(session, "approval.requested")) == 1
    assert coder.provider.stats.requests == before + 1  # the answer that asked for the call was not asked for again
    assert len(coder.events(session, "coding_agent.prompted")) == 2


def test_a_call_that_was_cut_off_is_told_and_not_repeated(coder: Any, wait: Any) -> None:
    session = coder.post("/sessions", {"agent": "coder"})["id"]
    coder.post(f"/sessions/{session}/messages", {"text": "LONG work"})
    wait(lambda: coder.events(session, "tool.started"), 500)
    coder.kill()
    coder.up()
    wait(lambda: coder.events(session, "tool.completed"), 500)
    assert coder.events(session, "tool.completed")[0]["outcome"] == "interrupted"
    wait(lambda: len(coder.events(session, "coding_agent.prompted")) == 2, 500)
    coder.post(f"/sessions/{session}/cancel", {})
    wait(lambda: coder.events(session, "turn.completed"), 500)


def test_a_model_call_that_was_cut_off_is_made_again(coder: Any, wait: Any) -> None:
    session = coder.post("/sessions", {"agent": "coder"})["id"]
    coder.post(f"/sessions/{session}/messages", {"text": "SLOWLY now"})
    wait(lambda: coder.provider.stats.requests, 500)
    coder.kill()
    before = coder.provider.stats.requests
    coder.up()
    wait(lambda: coder.events(session, "turn.completed"), 500)
    (done,) = coder.events(session, "turn.completed")
    assert (done["outcome"], done["steps"]) == ("answered", 1)
    assert coder.provider.stats.requests > before
    assert len(coder.events(session, "model.completed")) == 1
    assert [one["told"] for one in coder.events(session, "coding_agent.prompted")] == [1, 1]

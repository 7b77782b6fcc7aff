"""Kill the daemon in the middle of a stream: clients of termo-agent and AgentRuntime go on by their own means."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doors.plain_clients import AgentdClient, TermoClient
from tests.doors.test_openai_killed import LONG, SCRIPT, Node

from roost.stub.provider import ProviderServer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with ProviderServer(SCRIPT) as provider:
        node = Node(tmp_path, provider.url)
        yield node
        node.kill()


def cut_off(node: Node, client: TermoClient) -> str:
    """Begin a stream, kill the node in the middle of it, and return what was said until then."""
    heard, kinds = "", list[str]()
    with contextlib.suppress(http.client.HTTPException, OSError):
        for event in client.stream("mark it", "user:1"):
            kinds.append(event["type"])
            heard += event["content"] if event["type"] == "token" else ""
            if len(heard) > 60 and node.process.returncode is None:
                node.kill()
    assert "done" not in kinds
    return heard


def test_a_message_sent_again_gets_the_turn_that_a_kill_cut_off(node: Node) -> None:
    client = TermoClient(f"http://127.0.0.1:{node.port}/termo/marker", node.token)
    heard = cut_off(node, client)
    assert LONG[:20] in heard
    assert len(heard) < len(LONG)
    node.up()
    client = TermoClient(f"http://127.0.0.1:{node.port}/termo/marker", node.token)
    *_, done = client.stream("mark it", "user:1")
    assert (done["type"], done["content"]) == ("done", f"I mark.\n\n{LONG}")
    assert node.marks.read_text() == "x", "the tool ran once"
    assert [one["role"] for one in client.history("user:1")] == ["user", "assistant", "tool", "assistant"]
    assert client.get("/api/sessions") == [{"session_key": "user:1"}]


def test_a_session_survives_a_kill_with_its_memory_and_checkpoints(node: Node) -> None:
    def client() -> AgentdClient:
        return AgentdClient(f"http://127.0.0.1:{node.port}/agentruntime", node.token)

    session = client().create("marker")["session_id"]
    client().act(session, "start")
    client().store(session, "user_preference", {"theme": "dark", "language": "en"})
    made = client().ask("POST", f"/sessions/{session}/checkpoints?label=before")
    node.kill()
    node.up()
    assert client().get(f"/sessions/{session}")["status"] == "running"
    assert client().recall(session, "user_preference") == {"theme": "dark", "language": "en"}
    assert [one["checkpoint_id"] for one in client().checkpoints(session)] == [made.json["checkpoint_id"]]
    assert client().act(session, "pause")["status"] == "paused"
    body = {"session_id": session, "checkpoint_id": made.json["checkpoint_id"]}
    assert client().act(session, "resume", body)["status"] == "running"

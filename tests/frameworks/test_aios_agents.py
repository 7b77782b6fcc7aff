"""Agents of AIOS: its public examples, unchanged, and each kind of system call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.doors.test_coding_agents import answer, calls, events, file_of, say, turn_of
from tests.frameworks.hosting import need, share_environments
from tests.frameworks.test_hosted_agents_killed import Turn

pytestmark = pytest.mark.timeout(600)
TOOLS = ["remember", "recall", "update_memory", "forget", "write_file", "read_file", "grep"]
_FILES = Path(__file__).parent / "agents" / "aios"
_ASKS = Reply(calls=(Call("demo_author__arxiv", {"query": "kernels"}),))
SCRIPT = Script(
    rules=(
        Rule(when="FILE it", answers=(Reply(calls=(Call("write_file", {"path": "b.txt", "content": "b"}),)),)),
        Rule(when="At step 2", answers=(Reply(text="It is about kernels."),)),
        Rule(when="HELLO", answers=(Reply(text="hello back"),)),
        Rule(when="kernels", answers=(_ASKS, _ASKS)),
    )
)


def source_of(folder: Path, example: str) -> str:
    """Make the folder of an agent: the example with its `config.json`, and the tool beside it."""
    tool = folder / "tools" / "demo_author" / "arxiv"
    tool.mkdir(parents=True)
    (tool / "tool.py").write_text((_FILES / "arxiv.py").read_text())
    (tool / "config.json").write_text(json.dumps({"build": {"entry": "tool.py", "module": "Arxiv"}}))
    text = _FILES / f"{example}.py.txt"
    (folder / "agent.py").write_text((text if text.exists() else _FILES / f"{example}.py").read_text())
    if (config := _FILES / f"{example}.json").exists():
        (folder / "config.json").write_text(config.read_text())
    return str(folder)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[ProviderServer]:
    """Let the home of the test use a scripted provider, and the environments of all tests."""
    monkeypatch.setenv("ONE_KEY", "k")
    need("python", cache)  # an agent of AIOS needs no packages
    share_environments(tmp_path / "home", cache)
    with ProviderServer(SCRIPT) as server:
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=server.url, wire="openai_chat"))
        yield server
        assert not server.stats.violations, server.stats.reasons


def agent_of(source: Path, example: str, kind: str, **options: Any) -> Agent:
    given = {"framework": "aios", "object": f"agent:{kind}", "source": source_of(source, example), **options}
    return Agent("coder", model="one/m", permissions="all", **given)


@pytest.fixture
def start(serve: Any, tmp_path: Path, stub: ProviderServer) -> Any:
    def begin(example: str, kind: str, **options: Any) -> Any:
        served = serve(agents=[agent_of(tmp_path / "source", example, kind, **options)])
        served.stub = stub
        return served

    return begin


@pytest.mark.parametrize(
    ("example", "kind"), [pytest.param("test_agent", "TestAgent", marks=pytest.mark.soak), ("demo_agent", "DemoAgent")]
)
def test_a_public_example_runs_unchanged(start: Any, wait: Any, example: str, kind: str) -> None:
    served = start(example, kind)
    session = served.session("coder")
    say(served, session, "kernels please")
    assert turn_of(served, session, wait).get("reason") is None
    wanted = "an article about kernels" if example == "test_agent" else "It is about kernels."
    assert answer(served, session) == wanted
    (call,) = calls(served, session)
    assert (call["outcome"], file_of(served, session, "asked.txt")) == ("ok", "kernels\n")
    assert served.stub.stats.requests == len(events(served, session, "framework.asked"))


def test_each_kind_of_system_call_is_one_of_the_session(start: Any, wait: Any) -> None:
    served = start("calls", "Calls", tools=TOOLS)
    session = served.session("coder")
    say(served, session, "HELLO")
    assert turn_of(served, session, wait).get("reason") is None
    check(json.loads(answer(served, session)))
    assert file_of(served, session, "notes/a.txt") == "first words"
    assert file_of(served, session, "b.txt") == "b"
    names = {one["name"] for one in events(served, session, "tool.started")}
    assert names >= {*TOOLS, "arxiv"}


def check(said: dict[str, Any]) -> None:
    """Check what the agent `calls` was told."""
    assert (said["made"], said["deleted"], said["said"]) == (True, True, "hello back")
    assert (said["got"]["content"], said["got"]["metadata"]) == ("The sky is blue.", {"tags": ["sky"]})
    assert [one["content"] for one in said["found"]] == ["The sky is blue."]
    assert "there is no memory" in said["gone"]
    assert [said[name] for name in ("first words", "second words", "rolled")] == [None] * 3
    assert "b.txt" in (said["file"]["response_message"] or ""), said["file"]
    assert said["files"] == [{"file_path": "notes/a.txt", "matches": 1}]
    assert (said["shared"], said["tool"], said["none"]) == (501, "an article about tools", 404)


async def test_a_turn_that_was_cut_off_tells_the_same(tmp_path: Path, stub: ProviderServer) -> None:
    turn = Turn(tmp_path / "home", None, agent_of(tmp_path / "source", "calls", "Calls", tools=TOOLS))
    assert not await turn.live("HELLO", 9, "after", only="tool.completed")
    assert await turn.live("HELLO", None, "after")
    (done,) = turn.kinds("turn.completed")
    assert done.outcome == "answered", done.reason
    check(json.loads(turn.kinds("model.completed")[-1].parts[0].text))
    files = turn.home / "workspaces" / "s"
    assert ((files / "notes/a.txt").read_text(), (files / "asked.txt").read_text()) == ("first words", "tools\n")
    assert stub.stats.requests == 2
    assert [one.unclaimed for one in turn.kinds("framework.ended")] == [0]


def test_a_system_call_that_the_definition_does_not_name_is_refused(start: Any, wait: Any) -> None:
    served = start("calls", "Calls", tools=["recall"])
    session = served.session("coder")
    say(served, session, "HELLO")
    assert turn_of(served, session, wait).get("reason")  # it takes the id of a memory that was not made
    assert not events(served, session, "memory.learned")

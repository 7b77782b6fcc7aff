"""The quick starts of four frameworks, as their own packages document them, killed in mid-turn and finished.

Each is read from the package that is installed, and runs unchanged: the key and the address of the model are Roost's.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roost.agent.definition import Agent
from roost.features.frameworks.installations import InstalledAgents
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.cut_store import When
from roost.testing.frameworks import HostedHome, tagged
from roost.testing.scripted import Call
from tests.frameworks.hosting import AGENTS, hosted, need

pytestmark = pytest.mark.timeout(1800)
SCRIPT = Script(
    rules=(
        Rule(when="haiku about recursion", answers=(Reply(text="Functions call themselves"),)),
        Rule(when="capital of France", answers=(Reply(text="Paris"),)),
        Rule(when="current time", answers=(Reply(calls=(Call("get_current_time", {}),)), Reply(text="It is noon"))),
        Rule(
            when="weather in sf",
            answers=(Reply(calls=(Call("check_weather", {"location": "sf"}),)), Reply(text="It is sunny")),
        ),
    )
)


class QuickStart(NamedTuple):
    """file: below the packages of the environment. begins: text just before the example. says: what it prints. asks:
    how many model calls it makes."""

    framework: str
    file: str
    begins: str
    says: str
    asks: int


QUICK_STARTS = (
    QuickStart(
        "autogen",
        "autogen_agentchat/agents/_assistant_agent.py",
        "**Example 3: agent with tools**",
        "The current time is 12:00 PM.",
        1,
    ),
    QuickStart("openai-agents", "openai_agents-*.dist-info/METADATA", "", "Functions call themselves", 1),
    QuickStart("pydantic-ai", "pydantic_ai/agent/__init__.py", "class Agent(", "Paris", 1),
    QuickStart("langgraph", "langgraph/prebuilt/chat_agent_executor.py", "Example:", "It is sunny", 2),
)


def code_of(start: QuickStart, packages: Path) -> str:
    """Return the first example after `begins`."""
    (file,) = packages.glob(start.file)
    text = file.read_text()
    if start.framework == "langgraph":  # in the docstring of a function, of which only a part is indented
        text = next(
            ast.get_docstring(node) or ""
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef) and node.name == "create_react_agent"
        )
    text = text[text.index(start.begins) :]
    if start.framework == "autogen":
        found = re.search(r"\.\. code-block:: python\n\n(.*?)\n\n +\*\*Example", text, re.DOTALL)
    else:
        found = re.search(r"^ *```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return textwrap.dedent(found[1])


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    monkeypatch.setenv("ROOST_CONTRACT_KEY", "k")
    with ProviderServer(SCRIPT) as server:
        yield server
        assert not server.stats.violations, server.stats.reasons


@pytest.mark.parametrize(
    "start",
    [pytest.param(one, marks=() if one.framework == "autogen" else pytest.mark.soak) for one in QUICK_STARTS],
    ids=lambda one: one.framework,
)
async def test_a_quick_start_killed_in_mid_turn(
    tmp_path: Path, provider: ProviderServer, cache: Path, start: QuickStart, request: pytest.FixtureRequest
) -> None:
    """At one commit in a run of CI, and at each in `make soak`."""
    await asyncio.to_thread(need, start.framework, cache)
    agent = Agent("coder", **hosted(start.framework)).spec
    found = await InstalledAgents(cache.parent / f"home-of-{cache.name}").environment(agent)
    (packages,) = Path(found.python).parent.parent.glob("lib/python*/site-packages")
    source = tmp_path / "source"
    source.mkdir()
    (source / "quick_start.py").write_text(code_of(start, packages))
    for at, when in cuts_of(request):
        home = home_of(tmp_path / f"{when}-{at}", provider, cache, start, source)
        before = provider.stats.requests
        ended = await home.live("Go.", (at, when))
        if not ended:
            assert await home.live("Go.", None)
        events = await home.events()
        (done,) = tagged(events, "turn.completed")
        assert done.outcome == "answered", done.reason
        said = "".join(part.text for part in tagged(events, "model.completed")[-1].parts)
        assert start.says in said
        answers = [one for one in tagged(events, "model.completed") if one.usage.cost]
        begun = [one.step for one in tagged(events, "model.started")]
        assert len(answers) >= start.asks
        assert provider.stats.requests - before - len(answers) <= len(begun) - len(set(begun))
        if ended:
            return


def cuts_of(request: pytest.FixtureRequest) -> list[tuple[int, When]]:
    if request.node.get_closest_marker("soak") is None:
        return [(6, "after")]
    return [(at, when) for at in range(2, 60) for when in ("before", "after")]


def home_of(folder: Path, provider: ProviderServer, cache: Path, start: QuickStart, source: Path) -> HostedHome:
    options: dict[str, Any] = {**AGENTS[start.framework], "framework": start.framework, "permissions": "all"}
    home = HostedHome(folder, provider, {**options, "object": "quick_start:__main__", "source": str(source)}, None)
    os.symlink(cache, folder / "frameworks")
    return home

"""What the tests of hosted agents share: the agents, their model, and the environments, which are built once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.features.frameworks.installations import InstalledAgents
from roost.features.frameworks.ports import InstallFailed
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

SOURCE = Path(__file__).parent / "agents"
AGENTS: dict[str, dict[str, Any]] = {
    "python": {"object": "counting:answer"},
    "openai-agents": {"object": "openai_agents_agent:agent", "requirements": ["openai-agents==0.24.0"]},
    "langgraph": {
        "object": "langgraph_agent:build",
        "requirements": [
            *("langgraph==1.2.22", "langchain==1.4.7", "langchain-openai", "langchain-anthropic"),
            "langgraph-checkpoint-conformance==0.0.2",
        ],
    },
    "termo-agent": {"object": "termo_adapter:Adapter", "requirements": ["termo-agent==0.5.13"]},
    "pydantic-ai": {"object": "pydantic_agent:agent", "requirements": ["pydantic-ai-slim[openai]==2.68.0"]},
    "autogen": {
        "object": "autogen_agent:build",
        "requirements": ["autogen-agentchat==0.7.5", "autogen-ext[openai]==0.7.5"],
    },
    "crewai": {"object": "crewai_agent:build", "requirements": ["crewai==1.15.30"]},
    "claude-agent-sdk": {"object": "claude_agent:options", "requirements": ["claude-agent-sdk==0.2.187"]},
}
SCRIPT = Script(
    rules=(
        Rule(when="HAND OVER", answers=(Reply(calls=(Call("transfer_to_other", {}),)), Reply(text="I am the other"))),
        Rule(
            when="SUB TASK",
            answers=(
                Reply(calls=(Call("look", {"what": "inside"}),)),
                Reply(calls=(Call("pay", {"amount": 7}),)),
                Reply(text="HELPED: {result}"),
            ),
        ),
        Rule(
            when="DELEGATE",
            answers=(Reply(calls=(Call("ask_helper", {"input": "SUB TASK"}),)), Reply(text="IT SAID: {result}")),
        ),
        Rule(when="GIVE", answers=(Reply(calls=(Call("give", {"what": "all"}),)), Reply(text="GIVEN: {result}"))),
        Rule(
            when="KEEP",
            answers=(
                Reply(calls=(Call("remember", {"text": "The sky is green.", "key": "sky"}),)),
                Reply(text="KEPT: {result}"),
            ),
        ),
        Rule(when="CHECK", answers=(Reply(text="checked"),)),
        Rule(when="RECALL", answers=(Reply(text="HEARD: {input}"),)),
        Rule(when="HELLO", answers=(Reply(text="hello back"),)),
        Rule(
            when="WORK",
            answers=(
                Reply(text="I look.", calls=(Call("look", {"what": "a"}), Call("look", {"what": "b"}))),
                Reply(calls=(Call("pay", {"amount": 5}),)),
                Reply(text="DONE: {result}"),
            ),
        ),
    )
)


def hosted(framework: str, **options: Any) -> dict[str, Any]:
    """Return the options of an agent."""
    given = {"framework": framework, "source": str(SOURCE), "permissions": "all", "replay": {"look": "safe"}}
    return {**given, **AGENTS[framework], **options}


def share_environments(home: Path, cache: Path) -> None:
    """Let a home use the environments of all tests."""
    home.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    os.symlink(cache, home / "frameworks")


def need(framework: str, cache: Path) -> None:
    """Build the environment of a framework, or skip the test where no registry can be reached."""
    home = cache.parent / f"home-of-{cache.name}"
    if not home.exists():
        share_environments(home, cache)
    try:
        asyncio.run(InstalledAgents(home).environment(Agent("coder", **hosted(framework)).spec))
    except InstallFailed as failed:
        pytest.skip(f"no environment for {framework}: {failed}")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of environments: `ROOST_TEST_ENVIRONMENTS`, else one for this run."""
    given = os.environ.get("ROOST_TEST_ENVIRONMENTS")
    return Path(given) if given else tmp_path_factory.getbasetemp().parent / "environments"

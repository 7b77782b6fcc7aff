"""Every adapter that comes with Roost passes the public conformance suite."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from roost.agent.definition import Agent
from roost.features.frameworks.installations import RUNNER, InstalledAgents
from roost.runtime import TurnFailed
from roost.testing.frameworks import FrameworkContract, HostedHome
from tests.frameworks.hosting import AGENTS, SOURCE, hosted, need

pytestmark = pytest.mark.timeout(1800)
_MOST_MEMORY = 400 * 1024
"""KiB that a hostile program may cost: one line of 16 MiB, some copies of it, and what the process keeps."""


class Contract(FrameworkContract):
    __test__ = False

    @pytest.fixture
    def environments(self, cache: Path) -> Path:
        need(self.options["framework"], cache)
        return cache

    @pytest.mark.soak
    async def test_a_crash_at_every_commit(self, make_home: Any, provider: Any) -> None:
        await super().test_a_crash_at_every_commit(make_home, provider)


def of(framework: str) -> dict[str, Any]:
    return {"framework": framework, "source": str(SOURCE), **AGENTS[framework]}


class TestPython(Contract):
    __test__ = True
    options = of("python")

    @pytest.mark.parametrize("calls", ["small", "medium", pytest.param("large", marks=pytest.mark.soak)])
    async def test_calls_without_end_cost_bounded_memory(
        self, make_home: Callable[..., HostedHome], calls: str
    ) -> None:
        home = make_home(object=f"hostile:{calls}")
        async with home.runtime() as runtime:
            session = await runtime.session("coder", id="s")
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
            before = _memory("VmRSS")
            with pytest.raises(TurnFailed, match="it has begun more than 256 calls at once"):
                await session.ask("WORK please")
            assert _memory("VmHWM") - before < _MOST_MEMORY
        assert not home.paid()


def blocks(language: str) -> list[str]:
    page = Path(__file__).parents[2] / "docs" / "extend" / "first-adapter.md"
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def _memory(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


class Short(Contract):
    """What a run of CI has time for: the frameworks take seconds to start. `make soak` runs all of it."""

    @pytest.mark.soak
    async def test_a_cancel_ends_the_program(self, make_home: Any) -> None:
        await super().test_a_cancel_ends_the_program(make_home)

    @pytest.mark.soak
    async def test_a_limit_ends_the_turn(self, make_home: Any) -> None:
        await super().test_a_limit_ends_the_turn(make_home)

    @pytest.mark.soak
    async def test_two_sessions_at_once(self, make_home: Any) -> None:
        await super().test_two_sessions_at_once(make_home)

    @pytest.mark.soak
    async def test_crashes_in_one_turn(self, make_home: Any) -> None:
        await super().test_crashes_in_one_turn(make_home)


class TestYourFirstAdapter(Short):
    """The adapter of the page `docs/extend/first-adapter.md`, which is a file beside the agent."""

    __test__ = True
    options = of("python")

    @pytest.fixture
    def environments(self, cache: Path, tmp_path: Path) -> Path:
        need("python", cache)
        source = tmp_path / "tiny"
        shutil.copytree(SOURCE, source)
        (adapter,), (definition,) = blocks("python")[:1], blocks("toml")
        (source / "tiny_adapter.py").write_text(adapter)
        about = tomllib.loads(definition)
        self.options = {"framework": about["framework"], "object": about["object"], "source": str(source)}
        return cache


class TestOpenAIAgents(Short):
    __test__ = True
    options = of("openai-agents")
    commits = 4

    async def test_crashes_in_one_turn(self, make_home: Any) -> None:
        await FrameworkContract.test_crashes_in_one_turn(self, make_home)


class TestLangGraph(Short):
    __test__ = True
    options = of("langgraph")


@pytest.mark.soak
class TestLangGraphWithCheckpoints(Contract):
    __test__ = True
    options: ClassVar = {**of("langgraph"), "object": "langgraph_agent:build_with"}


class TestPydanticAI(Short):
    __test__ = True
    options = of("pydantic-ai")


class TestAutoGen(Short):
    __test__ = True
    options = of("autogen")


@pytest.mark.soak
class TestCrewAI(Contract):
    """Its environment has 835 MB, and it takes 10 s of CPU to import."""

    __test__ = True
    options = of("crewai")


@pytest.mark.soak
class TestClaudeAgentSDK(Contract):
    """Its environment has 397 MB."""

    __test__ = True
    options = of("claude-agent-sdk")
    look = "mcp__own__look"
    pay = "mcp__own__pay"


@pytest.mark.parametrize(
    ("framework", "script"), [("langgraph", "langgraph_conformance.py"), ("openai-agents", "openai_session.py")]
)
async def test_a_store_of_a_framework(cache: Path, framework: str, script: str) -> None:
    """LangGraph's own conformance suite, and what the sessions of the OpenAI Agents SDK do."""
    await asyncio.to_thread(need, framework, cache)
    home = cache.parent / f"home-of-{cache.name}"
    found = await InstalledAgents(home).environment(Agent("coder", **hosted(framework)).spec)
    assert sys.executable != found.python
    work = await asyncio.create_subprocess_exec(
        *(found.python, "-B", str(Path(__file__).parent / "stores" / script), str(RUNNER)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await work.communicate()
    assert work.returncode == 0, said.decode()

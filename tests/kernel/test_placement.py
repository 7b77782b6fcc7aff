"""What a session needs and what a node offers; the names that a home gives itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import StoreFailed
from roost.kernel.home import belongs_to, home_id
from roost.kernel.placement import NodeLocation, needs, offers
from roost.kernel.resources import Agents
from roost.log.dispatch import NodeCard, NodeInfo
from roost.providers.accounts import Models
from roost.providers.config import ModelsConfig
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel, by_step
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
PLACE = NodeLocation(home="h1")
OFFERED = {"account:openai"}


@tool
def pure(what: str) -> str:
    """Touches nothing here."""
    return what


@tool
async def local(context: ToolContext) -> str:
    """May work on files."""
    return str(context.workspace.root)


@tool(files=False)
async def keyed(context: ToolContext) -> str:
    """Wants the key alone."""
    return context.key


@pytest.mark.parametrize(
    ("model", "tools", "expected"),
    [
        (None, [], set()),
        ("openai/m", [], {"account:openai"}),
        ("openai", [], {"account:openai"}),
        ("groq/m", [], set()),
        ("http://host/v1#m", [], set()),
        ("https://openai/v1#m", ["shell"], {"home:h1"}),
        (None, ["read_file"], {"home:h1"}),
        (None, [pure], {"agent:a"}),
        (None, [keyed], {"agent:a"}),
        (None, [local], {"agent:a", "home:h1"}),
        ("openai/m", [pure, "shell"], {"agent:a", "account:openai", "home:h1"}),
        (ScriptedModel(by_step(["x"])), [], {"agent:a"}),
    ],
)
def test_needs(model: str | ScriptedModel | None, tools: list[str | Tool], expected: set[str]) -> None:
    agent = Agent("a", model=model, tools=tools)
    assert set(needs(agent, agent.model, None, PLACE, OFFERED)) == expected
    followed = NodeLocation(home="h1", files_follow=True)
    assert set(needs(agent, agent.model, None, followed, OFFERED)) == expected - {"home:h1"}


def test_a_folder_of_the_user_is_on_one_machine_unless_it_is_said_to_be_shared(tmp_path: Path) -> None:
    shared, inside, beside = tmp_path / "shared", tmp_path / "shared" / "in", tmp_path / "shared2"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inside)
    place = NodeLocation(home="h1", shared_folders=(shared,), files_follow=True)
    agent = Agent("a", tools=["shell"])
    assert needs(agent, agent.model, str(beside), place, ()) == ("folder:h1",)
    for folder in (shared, inside, tmp_path / "link", shared / ".." / "shared" / "in"):
        assert needs(agent, agent.model, str(folder), place, ()) == ()


def info(node: str, *tags: str, alive: bool = True, draining: bool = False) -> NodeInfo:
    return NodeInfo(NodeCard(id=node, offers=tags, draining=draining), alive, 1.0)


def test_offers() -> None:
    agents = Agents()
    agents.add(Agent("python", tools=[pure]))
    agents.add(Agent("plain", tools=["shell"]))
    accounts = {"openai": True, "groq": False}
    alone = offers(agents, accounts, 1, PLACE, "b", [info("b")])
    expected = {"account:openai", "agent:python", "home:h1", "folder:h1", "sandbox:0", "sandbox:1"}
    assert alone == expected | {"account:groq"}
    assert offers(agents, accounts, 1, PLACE, "b", [info("a"), info("b")]) == expected
    assert offers(agents, accounts, 1, PLACE, "b", [info("c", "account:groq")]) == expected
    for gone in (info("a", alive=False), info("a", draining=True)):
        assert offers(agents, accounts, 1, PLACE, "b", [gone]) == alone


async def test_a_home_has_one_name_for_ever_whoever_asks_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        names = await asyncio.gather(*(loop.run_in_executor(threads, home_id, tmp_path / "home") for _ in range(32)))
    assert set(names) == {home_id(tmp_path / "home")}
    assert home_id(tmp_path / "other") not in names
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["home.id"]


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xff\xfe"])
def test_a_damaged_name_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "home.id").write_bytes(content)
    with pytest.raises(StoreFailed, match=r"home\.id"):
        home_id(tmp_path)


def test_folders_belong_to_the_store_that_a_home_was_first_used_with(tmp_path: Path) -> None:
    assert belongs_to(tmp_path, "first", own=False)
    assert not belongs_to(tmp_path, "second", own=True)
    assert belongs_to(tmp_path, "first", own=False)


@pytest.mark.parametrize("own", [True, False])
def test_folders_that_were_there_before_belong_to_the_homes_own_store(tmp_path: Path, own: bool) -> None:
    (tmp_path / "workspaces" / "ses_1").mkdir(parents=True)
    assert belongs_to(tmp_path, "first", own=own) is own
    assert belongs_to(tmp_path, "first", own=own) is own


async def test_an_alias_needs_the_account_of_its_model(tmp_path: Path) -> None:
    config = ModelsConfig(aliases={"fast": "openai/gpt-5-mini"})
    models = Models(environ={"OPENAI_API_KEY": "stub"}, dotenv=None, config=config)
    async with Runtime(tmp_path, agents=[Agent("a", model="fast")], models=models) as runtime:
        session = await runtime.session("a")
        assert "account:openai" in (await runtime.sessions.get(session.id)).needs

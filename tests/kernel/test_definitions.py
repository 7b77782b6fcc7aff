"""Agents that were defined over HTTP: their versions, and changes by several clients at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost import Agent, Runtime
from roost.agent.definition import AgentSpec
from roost.errors import Conflict, Invalid, NotFound
from roost.features.definitions.definitions import Definition, Definitions
from roost.log.store import Store
from roost.stores.open import open_store

from .support import place


@pytest.fixture
async def definitions(tmp_path: Path) -> AsyncIterator[Definitions]:
    kept: Store = await open_store(place.url or tmp_path / "roost.db")
    yield Definitions(kept.documents)
    await kept.close()


def spec(words: str = "Be brief.") -> AgentSpec:
    return AgentSpec("agent_1", instructions=words)


def saying(words: str, **shown: Any) -> Any:
    return lambda newest: (spec(words), shown)


async def made(definitions: Definitions) -> Definition:
    return await definitions.make(spec(), door="managed", shown={"name": "Clerk"}, owner="ann")


async def test_a_change_is_a_version_and_the_former_ones_stay(definitions: Definitions) -> None:
    first = await made(definitions)
    second = await definitions.change("agent_1", saying("Be kind.", name="Clerk"), version=1)
    assert (first.version, second.version) == (1, 2)
    assert await definitions.get("agent_1") == second
    assert (await definitions.get("agent_1", version=1)).agent() == spec()
    assert [one.version for one in await definitions.versions("agent_1")] == [2, 1]
    assert [one.version for one in await definitions.versions("agent_1", before=2)] == [1]
    same = await definitions.change("agent_1", saying("Be kind.", name="Clerk"))
    assert same.version == 2
    for version in (0, 3, -1):
        with pytest.raises(NotFound):
            await definitions.get("agent_1", version=version)


async def test_a_name_is_taken_once(definitions: Definitions) -> None:
    await made(definitions)
    with pytest.raises(Conflict):
        await made(definitions)


async def test_changes_at_once_are_all_kept_unless_one_names_the_version(definitions: Definitions) -> None:
    await made(definitions)
    changes = [definitions.change("agent_1", saying(f"Be {number}.")) for number in range(5)]
    assert sorted(one.version for one in await asyncio.gather(*changes)) == [2, 3, 4, 5, 6]
    with pytest.raises(Conflict) as caught:
        await definitions.change("agent_1", saying("Be late."), version=5)
    assert caught.value.code == "version_conflict"


async def test_an_archived_agent_takes_no_version_and_no_session(definitions: Definitions) -> None:
    await made(definitions)
    closed = await definitions.archive("agent_1")
    assert closed.archived is not None
    assert await definitions.archive("agent_1") == closed
    assert (await definitions.get("agent_1", version=1)).archived == closed.archived
    for attempt in (definitions.change("agent_1", saying("Be back.")), definitions.open_agent("agent_1")):
        with pytest.raises(Conflict) as caught:
            await attempt
        assert caught.value.code == "agent_archived"


async def test_an_account_reads_only_what_is_its_own(definitions: Definitions) -> None:
    await made(definitions)
    assert await definitions.find(owner="bob") == []
    assert len(await definitions.find(owner="ann")) == 1
    for attempt in (definitions.get("agent_1", owner="bob"), definitions.archive("agent_1", owner="bob")):
        with pytest.raises(NotFound):
            await attempt


async def test_a_node_finds_an_agent_that_another_one_was_given(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    here = Runtime(tmp_path / "here", store=place.url or tmp_path / "roost.db", snapshots=f"file://{tmp_path}/objects")
    there = Runtime(
        tmp_path / "there",
        store=place.url or tmp_path / "roost.db",
        snapshots=f"file://{tmp_path}/objects",
        agents=[Agent("own")],
    )
    async with here, there:
        await Definitions(here.node.store.documents).make(spec(), door="managed", shown={})
        session = await there.session("agent_1")
        assert await there.sessions.spec(session.id) == spec()
        assert (await there.sessions.named("agent_1", model="openai/m")).model == "openai/m"
        with pytest.raises(Invalid):
            await there.session("agent_2")
        await Definitions(here.node.store.documents).archive("agent_1")
        with pytest.raises(Conflict):
            await there.session("agent_1")

"""The five operations for programs, proposals, and what deletion takes along."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.errors import Conflict, Invalid, NotFound
from roost.log.memory import Fact, NewFact, PutFact
from roost.memory.spaces import check_space
from roost.policy.vault import Vault
from tests.kernel.support import agent, running


async def test_add_get_update_remove_retrieve(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        one = (await memories.add("user:ann", " Ann drinks mate\n", category="preference")).fact
        assert (one.text, one.category) == ("Ann drinks mate", "preference")
        assert (await memories.add("user:ann", "Ann drinks mate", category="preference")).op == "known"
        two = await memories.update(one.id, "Ann drinks oolong", confidence=0.5)
        assert (two.category, two.confidence, two.supersedes) == ("preference", 0.5, (one.id,))
        with pytest.raises(Conflict):
            await memories.update(one.id, "again")
        assert (await memories.get(one.id)).ended is not None
        found = await memories.retrieve("oolong", ["user:*"])
        assert [hit.fact.id for hit in found.facts] == [two.id]
        assert (await memories.remove(two.id)).ended is not None
        assert (await memories.remove(two.id)).ended is not None
        assert await memories.list(["user:ann"]) == []
        assert [fact.id for fact in await memories.list(["user:ann"], at=1)] == [one.id]
        with pytest.raises(NotFound):
            await memories.remove("fct_none")


async def test_spaces_by_globs(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        for space in ("user:ann", "user:anna", "shared:a", "shared:b"):
            await memories.add(space, f"of {space}")
        assert await memories.names(["user:ann"]) == ["user:ann"]
        assert await memories.names(["user:ann*", "shared:[b-z]"]) == ["shared:b", "user:ann", "user:anna"]
        assert len(await memories.list()) == 4
        assert len(await memories.list(limit=1)) == 1
        with pytest.raises(Invalid):
            await memories.list(["shared:*"], at=1)
        assert (await memories.retrieve("of", ["shared:none*"])).facts == []


@pytest.mark.parametrize("name", ["", "user", "user:", "turn:1", "USER:x", "user:a b", "user:" + "x" * 129, "user:a*"])
def test_names_that_are_no_space(name: str) -> None:
    with pytest.raises(Invalid):
        check_space(name)


async def test_proposals(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        fact = NewFact(id="p", space="user:ann", text="likes tea", key="k", proposed=True)
        await runtime.kernel.journal.change_facts([PutFact(fact)], by="t")
        assert [one.id for one in await memories.review()] == ["p"]
        accepted = await memories.accept("p", text="likes oolong")
        assert (accepted.text, accepted.key, accepted.proposed) == ("likes oolong", "k", False)
        for answer in (memories.accept, memories.reject):
            with pytest.raises(Conflict):
                await answer("p")
            with pytest.raises(NotFound):
                await answer(accepted.id)


async def test_the_same_said_by_many_at_once_is_kept_once(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        done = await asyncio.gather(*(memories.add("user:eve", "she likes tea") for _ in range(10)))
        assert sorted(one.op for one in done) == ["add"] + ["known"] * 9
        (kept,) = await memories.list(["user:eve"])
        assert {(one.former or (one.fact,))[0].id for one in done} == {kept.id}
        done = await asyncio.gather(*(memories.add("user:eve", f"tea number {n}", key="tea") for n in range(10)))
        assert "known" not in [one.op for one in done]
        assert len(await memories.list(["user:eve"], key="tea")) == 1


async def test_one_of_many_updates_at_once_has_its_place(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        boat = (await memories.add("user:ann", "the boat is red")).fact
        work = (memories.update(boat.id, f"the boat is {colour}") for colour in ("blue", "green", "black", "white"))
        done = await asyncio.gather(*work, return_exceptions=True)
        (text,) = [one.text for one in done if not isinstance(one, BaseException)]
        assert [one.code for one in done if isinstance(one, Conflict)] == ["fact_ended"] * 3
        (fact,) = await memories.list(["user:ann"])
        assert (fact.text, fact.supersedes) == (text, (boat.id,))
        cat = (await memories.add("user:ann", "there is a cat")).fact
        assert (await memories.update(cat.id, text)).id == fact.id, "it was said already"
        assert [one.id for one in await memories.list(["user:ann"])] == [fact.id]


async def test_a_proposal_is_answered_once(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        former = (await memories.add("user:eve", "eve likes plums")).fact
        for n in range(6):
            new = NewFact(id=f"p{n}", space="user:eve", text=f"jam {n}", supersedes=(former.id,), proposed=True)
            await runtime.kernel.journal.change_facts([PutFact(new)], by="x")
            work = [memories.accept(new.id), memories.accept(new.id), memories.reject(new.id)]
            done = await asyncio.gather(*(work if n % 2 else reversed(work)), return_exceptions=True)
            assert [one.code for one in done if isinstance(one, Conflict)] == ["fact_ended"] * 2, done
            accepted = [one.text for one in done if isinstance(one, Fact) and not one.proposed]
            assert [fact.text for fact in await memories.list(["user:eve"]) if fact.text == new.text] == accepted
        assert await memories.review() == []


async def test_what_a_person_says_answers_what_was_proposed(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memories
        old = (await memories.add("user:ann", "likes tea")).fact
        for id, text in (("p", "likes oolong"), ("q", "likes mate")):
            fact = NewFact(id=id, space="user:ann", text=text, supersedes=(old.id,), proposed=True)
            await runtime.kernel.journal.change_facts([PutFact(fact)], by="x")
        added = await memories.add("user:ann", "likes oolong")
        assert [one.id for one in await memories.review()] == ["q"]
        assert (await memories.accept("q", text="likes oolong")).id == added.fact.id
        assert await memories.review() == []
        assert [one.id for one in await memories.list(["user:ann"])] == [added.fact.id]


async def test_a_session_takes_its_private_space_along(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        await runtime.memories.add(f"session:{session.id}", "ours")
        await runtime.memories.add("agent:a", "theirs")
        await session.delete()
        assert [fact.text for fact in await runtime.memories.list()] == ["theirs"]


async def test_what_a_person_adds_is_masked_too(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        runtime.memories.vault = Vault({"DB": "hunter2hunter2"})
        learned = await runtime.memories.add("user:ann", "it is hunter2hunter2", key="of hunter2hunter2")
        assert (learned.fact.text, learned.fact.key) == ("it is [secret:DB]", "of [secret:DB]")

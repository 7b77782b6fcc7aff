"""The five operations for programs, proposals, and what deletion takes along."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.errors import Conflict, Invalid, NotFound
from roost.kernel.check import check
from roost.local.embed.base import Embedding, Vector
from roost.log.facts import Fact, NewFact, PutFact
from roost.memory.spaces import check_space
from roost.memory.vectors import digest_of
from roost.policy.vault import Vault
from roost.testing.scripted import Answer, Call
from tests.kernel.nodes import node
from tests.kernel.support import agent, calling, place, running
from tests.memory.concepts import Concepts
from tests.memory.test_tools import with_meanings


async def test_add_get_update_remove_retrieve(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        one = (await memories.add("user:ann", " Ann drinks mate\n", category="preference")).fact
        assert (one.text, one.category) == ("Ann drinks mate", "preference")
        assert (await memories.add("user:ann", "Ann drinks mate", category="preference")).op == "known"
        two = await memories.update(one.id, "Ann drinks oolong", confidence=0.5)
        assert (two.category, two.confidence, two.supersedes) == ("preference", 0.5, (one.id,))
        with pytest.raises(Conflict):
            await memories.update(one.id, "again")
        assert (await memories.get(one.id)).ended is not None
        found = await memories.retrieve("oolong", space="user:*")
        assert [hit.fact.id for hit in found.facts] == [two.id]
        assert (await memories.remove(two.id)).ended is not None
        assert (await memories.remove(two.id)).ended is not None
        assert (await memories.list(space="user:ann")).facts == []
        assert [fact.id for fact in (await memories.list(space="user:ann", at=1)).facts] == [one.id]
        with pytest.raises(NotFound):
            await memories.remove("fct_none")


async def test_purging_erases_the_text_and_its_vector(tmp_path: Path) -> None:
    needle = b"harpsichord"
    keeper = agent([calling("remember", text="Ann plays the clavichord", scope="agent"), "done"], ["remember"])
    async with running(tmp_path, keeper) as runtime:
        with_meanings(runtime, Concepts())
        memories = runtime.memory
        one = (await memories.add("user:ann", "Ann plays the harpsichord")).fact
        same = (await memories.add("user:bob", "Ann plays the harpsichord")).fact
        found = await memories.retrieve("harpsichord")
        vector = found.facts[0].likeness
        (file,) = (runtime.home / "memory").glob("*.vectors")
        before = file.read_bytes()
        assert (await memories.purge([one.id])).facts == 1
        assert file.read_bytes() != before
        assert [fact.id for fact in (await memories.list(space="user:*")).facts] == [same.id]
        found = await memories.retrieve("harpsichord")
        assert [(hit.fact.id, hit.likeness) for hit in found.facts] == [(same.id, vector)]
        await memories.remove(same.id)
        done = await memories.purge(space="user:*")
        assert (done.facts, done.logs) == (1, ())
        assert (await memories.get(same.id)).text == ""
        if place.url is None:
            holding = [path for path in runtime.home.rglob("*") if path.is_file() and needle in path.read_bytes()]
            assert holding == []
        session = await runtime.session("a")
        await session.ask("go")
        (fact,) = (await memories.list(space="agent:a")).facts
        done = await memories.purge([fact.id])
        assert (done.facts, done.logs) == (1, (session.id,))
        assert (await check(place.url or tmp_path / "roost.db")).faults == []
        assert (await memories.undo(session.id, 0)).changed == 0
        with pytest.raises(NotFound):
            await memories.purge(["fct_none"])


class Late(Concepts):
    """Embeds documents when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def embed(self, job: Embedding) -> list[Vector]:
        if job.use == "document" and any("harpsichord" in text for text in job.texts):
            self.asked.set()
            await self.go.wait()
        return await super().embed(job)


@pytest.mark.parametrize("known", [False, True])
async def test_what_is_embedded_while_it_is_purged_leaves_no_vector(tmp_path: Path, known: bool) -> None:
    """`known`: there are vectors on this node already."""
    async with running(tmp_path, agent([])) as runtime:
        late = Late()
        with_meanings(runtime, late)
        memories = runtime.memory
        if known:
            await memories.add("user:ann", "Ann drinks water")
            await memories.retrieve("water")
        other = (await memories.add("user:ann", "Ann likes tea")).fact
        fact = (await memories.add("user:ann", "Ann plays the harpsichord")).fact
        asked = asyncio.create_task(memories.retrieve("music"))
        async with asyncio.timeout(30):
            await late.asked.wait()
        await memories.purge([fact.id])
        late.go.set()
        await asked
        (file,) = (runtime.home / "memory").glob("*.vectors")
        assert digest_of(fact.text) not in file.read_bytes()
        assert next(hit.fact.id for hit in (await memories.retrieve("likes tea")).facts) == other.id
        assert digest_of(other.text) in file.read_bytes()


async def test_a_purge_names_the_vectors_of_other_homes(tmp_path: Path) -> None:
    async with node(tmp_path, "one", agent([])) as one, node(tmp_path, "two", agent([])) as two:
        fact = (await one.memory.add("user:ann", "Ann plays the harpsichord")).fact
        (left,) = [line for line in (await one.memory.purge([fact.id])).left if "vectors" in line]
        assert two.node.place.home in left
        assert two.node.id in left
        assert one.node.place.home not in left
        assert not [line for line in (await one.memory.purge()).left if "vectors" in line], "nothing was erased"


async def test_a_fact_tells_what_it_superseded_and_what_superseded_it(tmp_path: Path) -> None:
    keeper = agent([calling("remember", text="Ann drinks water", key="drink", scope="agent"), "done"], ["remember"])
    async with running(tmp_path, keeper) as runtime:
        memories = runtime.memory
        one = (await memories.add("agent:a", "Ann drinks mate", key="drink")).fact
        alone = await memories.get(one.id)
        assert (alone.superseded, alone.superseded_by, alone.ended_source) == ((), None, None)
        two = await memories.update(one.id, "Ann drinks oolong")
        session = await runtime.session("a")
        await session.ask("she drinks water now")
        (three,) = (await memories.list(space="agent:a")).facts
        first, second, third = [await memories.get(fact.id) for fact in (one, two, three)]
        assert (first.superseded_by, first.ended_source) == ((await runtime.node.store.facts.get(two.id)), None)
        assert [fact.text for fact in second.superseded] == ["Ann drinks mate"]
        assert second.superseded_by == three
        assert second.ended_source == three.source
        assert (three.source or "").startswith(f"{session.id}:")
        assert (third.superseded, third.superseded_by) == (((await runtime.node.store.facts.get(two.id)),), None)
        await memories.remove(three.id)
        await memories.add("agent:a", "Ann drinks milk", key="drink")
        gone = await memories.get(three.id)
        assert (gone.superseded_by, gone.ended_source) == (None, None)  # it was taken out before the key was free
        assert (await memories.get(two.id)).superseded_by == (await runtime.node.store.facts.get(three.id))
        with pytest.raises(NotFound):
            await memories.get("fct_none")


async def test_of_two_calls_of_one_message_the_second_took_the_key(tmp_path: Path) -> None:
    """Whether or not it knew of the other when it began."""
    calls = [Call("remember", {"text": f"it is {word}", "key": "state", "scope": "agent"}) for word in ("red", "blue")]
    async with running(tmp_path, agent([Answer(calls=tuple(calls)), "done"], ["remember"])) as runtime:
        await (await runtime.session("a")).ask("both")
        (blue,) = (await runtime.memory.list(space="agent:a")).facts
        (red,) = [fact for fact in (await runtime.memory.list(space="agent:a", ended=True)).facts if fact.id != blue.id]
        told = await runtime.memory.get(red.id)
        assert (told.superseded_by, told.ended_source) == (blue, blue.source)


async def test_spaces_by_globs(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        for space in ("user:ann", "user:anna", "shared:a", "shared:b"):
            await memories.add(space, f"of {space}")
        assert await memories.names("user:ann") == ["user:ann"]
        assert await memories.names("user:ann*,shared:[b-z]") == ["shared:b", "user:ann", "user:anna"]
        assert len((await memories.list()).facts) == 4
        assert len((await memories.list(limit=1)).facts) == 1
        with pytest.raises(Invalid):
            await memories.list(space="shared:*", at=1)
        assert (await memories.retrieve("of", space="shared:none*")).facts == []


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("name", ["", "user", "user:", "turn:1", "USER:x", "user:a b", "user:" + "x" * 129, "user:a*"])
def test_names_that_are_no_space(name: str) -> None:
    with pytest.raises(Invalid):
        check_space(name)


async def test_proposals(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        fact = NewFact(id="p", space="user:ann", text="likes tea", key="k", proposed=True)
        await runtime.node.store.facts.change([PutFact(fact)], by="t")
        assert [one.id for one in (await memories.list(proposed=True)).facts] == ["p"]
        accepted = await memories.accept("p", text="likes oolong")
        assert (accepted.text, accepted.key, accepted.proposed) == ("likes oolong", "k", False)
        for answer in (memories.accept, memories.reject):
            with pytest.raises(Conflict):
                await answer("p")
            with pytest.raises(NotFound):
                await answer(accepted.id)


async def test_the_same_said_by_many_at_once_is_kept_once(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        done = await asyncio.gather(*(memories.add("user:eve", "she likes tea") for _ in range(10)))
        assert sorted(one.op for one in done) == ["add"] + ["known"] * 9
        (kept,) = (await memories.list(space="user:eve")).facts
        assert {(one.former or (one.fact,))[0].id for one in done} == {kept.id}
        done = await asyncio.gather(*(memories.add("user:eve", f"tea number {n}", key="tea") for n in range(10)))
        assert "known" not in [one.op for one in done]
        assert len((await memories.list(space="user:eve", key="tea")).facts) == 1


async def test_one_of_many_updates_at_once_has_its_place(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        boat = (await memories.add("user:ann", "the boat is red")).fact
        work = (memories.update(boat.id, f"the boat is {colour}") for colour in ("blue", "green", "black", "white"))
        done = await asyncio.gather(*work, return_exceptions=True)
        (text,) = [one.text for one in done if not isinstance(one, BaseException)]
        assert [one.code for one in done if isinstance(one, Conflict)] == ["fact_ended"] * 3
        (fact,) = (await memories.list(space="user:ann")).facts
        assert (fact.text, fact.supersedes) == (text, (boat.id,))
        cat = (await memories.add("user:ann", "there is a cat")).fact
        assert (await memories.update(cat.id, text)).id == fact.id, "it was said already"
        assert [one.id for one in (await memories.list(space="user:ann")).facts] == [fact.id]


async def test_a_proposal_is_answered_once(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        former = (await memories.add("user:eve", "eve likes plums")).fact
        for n in range(6):
            new = NewFact(id=f"p{n}", space="user:eve", text=f"jam {n}", supersedes=(former.id,), proposed=True)
            await runtime.node.store.facts.change([PutFact(new)], by="x")
            work = [memories.accept(new.id), memories.accept(new.id), memories.reject(new.id)]
            done = await asyncio.gather(*(work if n % 2 else reversed(work)), return_exceptions=True)
            assert [one.code for one in done if isinstance(one, Conflict)] == ["fact_ended"] * 2, done
            accepted = [one.text for one in done if isinstance(one, Fact) and not one.proposed]
            assert [
                fact.text for fact in (await memories.list(space="user:eve")).facts if fact.text == new.text
            ] == accepted
        assert (await memories.list(proposed=True)).facts == []


async def test_what_a_person_says_answers_what_was_proposed(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        old = (await memories.add("user:ann", "likes tea")).fact
        for id, text in (("p", "likes oolong"), ("q", "likes mate")):
            fact = NewFact(id=id, space="user:ann", text=text, supersedes=(old.id,), proposed=True)
            await runtime.node.store.facts.change([PutFact(fact)], by="x")
        added = await memories.add("user:ann", "likes oolong")
        assert [one.id for one in (await memories.list(proposed=True)).facts] == ["q"]
        assert (await memories.accept("q", text="likes oolong")).id == added.fact.id
        assert (await memories.list(proposed=True)).facts == []
        assert [one.id for one in (await memories.list(space="user:ann")).facts] == [added.fact.id]


async def test_a_session_takes_its_private_space_along(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        await runtime.memory.add(f"session:{session.id}", "ours")
        await runtime.memory.add("agent:a", "theirs")
        await session.delete()
        assert [fact.text for fact in (await runtime.memory.list()).facts] == ["theirs"]


async def test_a_session_that_is_not_there_has_no_memory(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a", id="gone")
        mine = (await runtime.memory.add("session:gone", "ours")).fact
        await session.delete()
        for space in ("session:zzz", "session:gone"):
            with pytest.raises(Invalid) as refused:
                await runtime.memory.add(space, "whose?")
            assert (refused.value.code, "there is no session" in refused.value.message) == ("no_session", True)
        with pytest.raises(NotFound):
            await runtime.memory.update(mine.id, "whose?")
        assert (await runtime.memory.spaces()).spaces == []


async def test_what_a_person_adds_is_masked_too(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        runtime.node.resources.vault = Vault({"DB": "hunter2hunter2"})
        learned = await runtime.memory.add("user:ann", "it is hunter2hunter2", key="of hunter2hunter2")
        assert (learned.fact.text, learned.fact.key) == ("it is [secret:DB]", "of [secret:DB]")

"""Conformance suite of the Facts protocol:

class TestMyFacts(FactsConformance):
    async def open(self, folder: Path) -> Store: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from roost.errors import Fenced, Invalid, NotFound
from roost.log.fact_rows import COMMON, StoredFact
from roost.log.facts import EndFact, Fact, FactQuery, MemoryRevert, NewFact, PutFact, Space
from roost.log.protocols import Claim
from roost.log.store import Store
from roost.testing.fact_steps import HERE, append, ids, put, texts
from roost.testing.facts_once import FactsOnce
from roost.testing.stores import Opens, new, own


class _Changes(Opens):
    async def test_a_fact_is_kept_as_it_was_given(self, tmp_path: Path) -> None:
        given = NewFact(
            id="f1",
            space="user:ann",
            text="Ann mag Tee ✓ 茶",
            category="preference",
            key="drink",
            confidence=0.5,
            tainted=True,
        )
        async with self.two(tmp_path) as (here, there):
            assert await here.facts.change([PutFact(given)], by="ann") == 1
            found = await there.facts.get("f1")
            assert (found.text, found.category, found.key) == (given.text, "preference", "drink")
            assert (found.confidence, found.tainted, found.by, found.source) == (0.5, True, "ann", None)
            assert found.version == 1
            assert found.ended is None
            assert found.created > 1e9
            assert await there.facts.spaces("user:") == [Space("user:ann", 1, 1)]
            with pytest.raises(NotFound):
                await there.facts.get("f2")

    async def test_the_same_id_is_put_once(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "one")], by="p")
            assert await store.facts.change([put("a", "two")], by="p") == 0
            await store.facts.change([EndFact("a")], by="p")
            assert await store.facts.change([put("a", "three"), EndFact("a"), EndFact("none")], by="p") == 0
            assert await texts(store) == []

    async def test_what_is_superseded_ends_and_stays_readable(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "blue"), put("b", "tea")], by="p")
            assert await store.facts.change([put("c", "red", supersedes=("a",))], by="p") == 2
            assert await texts(store) == ["tea", "red"]
            assert [await texts(store, at=version) for version in range(5)] == [
                [],
                ["blue"],
                ["blue", "tea"],
                ["tea"],
                ["tea", "red"],
            ]
            former = await store.facts.get("a")
            assert former.ended_version == 3
            assert former.ended is not None
            assert (await store.facts.get("c")).supersedes == ("a",)
            assert (await store.facts.spaces())[0] == Space(HERE, 4, 2)

    async def test_a_key_has_one_fact_in_its_space(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "one", key="k"), put("b", "two", key="k", space="user:x")], by="p")
            await store.facts.change([put("c", "three", key="k"), put("d", "other", key="K")], by="p")
            assert await texts(store) == ["three", "other"]
            assert await texts(store, "user:x") == ["two"]
            assert [f.id for f in await store.facts.find(FactQuery(spaces=(HERE, "user:x"), key="k"))] == ["c", "b"]

    async def test_a_proposal_counts_when_it_is_accepted(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "likes tea", key="k")], by="p")
            await store.facts.change([put("p", "likes mate", key="k", supersedes=("a",), proposed=True)], by="p")
            assert await texts(store) == ["likes tea"]
            assert await texts(store, proposed=True) == ["likes mate"]
            assert await ids(store, "likes mate") == ["a"]
            await store.facts.change([put("q", "likes mate", key="k", supersedes=("p", "a"))], by="ann")
            assert await texts(store) == ["likes mate"]
            assert await texts(store, proposed=True) == []
            assert await ids(store, "mate tea") == ["q"]
            assert (await store.facts.spaces())[0].facts == 1

    async def test_pages_and_filters(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put(f"f{n}", category="project" if n % 2 else "fact") for n in range(7)], by="p")
            first = await store.facts.find(FactQuery(spaces=(HERE,), limit=3))
            assert [fact.id for fact in first] == ["f6", "f5", "f4"]
            rest = await store.facts.find(FactQuery(spaces=(HERE,), before="f4", limit=9))
            assert [fact.id for fact in rest] == ["f3", "f2", "f1", "f0"]
            found = await store.facts.find(FactQuery(spaces=(HERE,), category="project"))
            assert [fact.id for fact in found] == ["f5", "f3", "f1"]
            assert await store.facts.find(FactQuery(spaces=("agent:none",))) == []

    async def test_changes_of_a_space_come_in_their_order(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a"), put("b"), put("p", proposed=True), put("c", supersedes=("a",))], by="p")
            found = await store.facts.history(HERE, after=0)
            assert [(fact.id, fact.ended_version) for fact in found] == [("b", None), ("a", 4), ("c", None)]
            assert [fact.id for fact in await store.facts.history(HERE, after=4)] == ["c"]
            assert await store.facts.history(HERE, after=5) == []
            assert [fact.id for fact in await store.facts.history(HERE, after=0, limit=1)] == ["b"]

    async def test_writers_of_one_space_do_not_lose_versions(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            work = [
                store.facts.change([put(f"{n}{i}")], by="p") for n, store in enumerate((here, there)) for i in range(20)
            ]
            await asyncio.gather(*work)
            assert (await here.facts.spaces())[0] == Space(HERE, 40, 40)
            assert sorted(fact.version for fact in await there.facts.history(HERE, after=0)) == list(range(1, 41))


class _Purging(Opens):
    async def test_what_has_ended_is_erased_and_still_counts(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.facts.change([put("a", "blue", key="k"), put("b", "tea"), put("c", "red", key="k")], by="p")
            await here.facts.change([put("x", "blue", space="user:x"), EndFact("b"), EndFact("x")], by="p")
            before = await here.facts.spaces()
            done = await there.facts.purge([HERE], ids=["a", "c"])
            assert (done.facts, done.logs) == (1, ())
            assert [(fact.id, fact.text, fact.key) for fact in await _all(here)] == [
                ("c", "red", "k"), ("b", "tea", None), ("a", "", None)
            ]  # fmt: skip
            assert (await here.facts.get("x")).text == "blue"
            assert (await there.facts.purge([HERE, "user:x"])).facts == 2
            assert (await there.facts.purge([HERE, "user:x"])).facts == 0
            assert (await here.facts.get("x")).ended is not None
            assert await here.facts.spaces() == before
            assert await ids(here, "red tea blue") == ["c"]

    async def test_going_back_does_not_bring_back_what_was_erased(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("old", "old"), put("kept", "kept")], by="p")
            await new(store, "s")
            claim = await own(store, "s")
            head = await append(store, claim, 1, put("b", "b", supersedes=("old",)), EndFact("kept"))
            done = await store.facts.purge([HERE], ids=["old"])
            assert done.logs == ("s",)
            await append(store, claim, head, MemoryRevert(1))
            assert await texts(store) == ["kept"]


class _Sessions(Opens):
    async def test_facts_come_with_the_events_or_not_at_all(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await new(here, "s")
            claim = await own(here, "s")
            assert await append(here, claim, 1, put("a"), put("b")) == 3
            assert await append(here, claim, 1, put("a"), put("b")) == 3
            found = await there.facts.get("b")
            assert (found.source, found.by) == ("s:3", "session:s")
            with pytest.raises(Fenced):
                await append(here, claim._replace(epoch=claim.epoch + 1), 3, put("c"))
            with pytest.raises(NotFound):
                await there.facts.get("c")
            assert len(await there.facts.find(FactQuery(spaces=(HERE,)))) == 2

    async def test_groups_keep_each_sessions_facts_apart(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            claims: list[Claim] = []
            for n in range(6):
                await new(store, f"s{n}")
                claims.append(await own(store, f"s{n}"))
            stale = [claim._replace(epoch=claim.epoch - n % 2) for n, claim in enumerate(claims)]
            writes = [append(store, claim, 1, put(f"f{n}")) for n, claim in enumerate(stale)]
            done = await asyncio.gather(*writes, return_exceptions=True)
            assert [isinstance(one, Fenced) for one in done] == [False, True] * 3
            assert sorted(await texts(store)) == ["text of f0", "text of f2", "text of f4"]

    async def test_a_session_goes_back(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("old", "old"), put("other", "other")], by="p")
            await new(store, "s")
            claim = await own(store, "s")
            head = await append(store, claim, 1, put("a", "a"))
            back = head
            head = await append(store, claim, head, put("b", "b", supersedes=("old",)), EndFact("a"), put("c", "c"))
            await store.facts.change([put("by another", "x")], by="p")
            assert await texts(store) == ["other", "b", "c", "x"]
            head = await append(store, claim, head, MemoryRevert(back))
            assert sorted(await texts(store)) == ["a", "old", "other", "x"]
            assert (await store.facts.get("a")).source == "s:2"
            assert (await store.facts.get("old")).by == "p"
            assert await ids(store, "old b c") == ["old"]
            head = await append(store, claim, head, MemoryRevert(head - 1))
            assert sorted(await texts(store)) == ["b", "c", "other", "x"]
            await append(store, claim, head, MemoryRevert(1))
            assert sorted(await texts(store)) == ["old", "other", "x"]
            assert (await store.facts.spaces())[0].facts == 3

    async def test_going_back_leaves_what_others_did_since(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "one", key="k")], by="p")
            await new(store, "s")
            claim = await own(store, "s")
            head = await append(store, claim, 1, put("b", "two", key="k"), EndFact("b"))
            await store.facts.change([put("c", "three", key="k")], by="p")
            await append(store, claim, head, MemoryRevert(1))
            assert await texts(store) == ["three"]

    async def test_one_event_is_undone_by_a_person(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await new(store, "s")
            claim = await own(store, "s")
            await append(store, claim, 1, put("a", "a"), put("b", "b", supersedes=("a",)), put("c", "c"))
            assert await store.facts.change([MemoryRevert(2, 3, "s")], by="ann") == 2
            assert sorted(await texts(store)) == ["a", "c"]

    async def test_a_deleted_session_takes_its_private_space_along(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await new(store, "s")
            claim = await own(store, "s")
            await append(store, claim, 1, put("a", "mine", space="session:s"), put("b", "ours"))
            assert await ids(store, "mine", "session:s") == ["a"]
            await store.sessions.delete("s", epoch=claim.epoch)
            assert await ids(store, "mine ours", "session:s", HERE) == ["b"]
            assert [space.name for space in await store.facts.spaces()] == [HERE]

    async def test_there_is_no_private_space_without_its_session(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for _ in range(2):  # never there, and not there any more
                with pytest.raises(Invalid) as refused:
                    await here.facts.change([put("b", "ours"), put("a", "mine", space="session:s")], by="p")
                assert refused.value.code == "no_session"
                assert await there.facts.spaces() == []
                await new(there, "s")
                assert await here.facts.change([put("a", "mine", space="session:s")], by="p") == 1
                await there.sessions.delete("s")
            await new(here, "other")
            claim = await own(here, "other")
            await append(here, claim, 1, put("a", "mine", space="session:s"), put("b", "ours"))
            assert await texts(there, "session:s", HERE) == ["ours"]
            assert [space.name for space in await there.facts.spaces()] == [HERE]


class _Search(Opens):
    async def test_the_rarest_words_count_most(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put(f"n{n}", f"Clerk number {n} likes apples") for n in range(30)], by="p")
            await store.facts.change([put("it", "Zora likes pears"), put("no", "nothing at all")], by="p")
            assert (await ids(store, "what does Zora like?"))[0] == "it"
            assert (await ids(store, "which clerk is number 7"))[0] == "n7"
            assert await ids(store, "the of and is") == []
            assert await ids(store, '"zora" OR * NEAR(') == ["it"]
            assert await ids(store, "") == []
            assert await ids(store, "unheard") == []

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("她最喜欢的颜色是蓝色", "喜欢什么颜色"),
            ("名前は山田太郎です", "山田"),
            ("Der Müller wohnt in Zürich", "MULLER zurich"),
            ("uses parseHttpHeader for it", "http parse"),
            ("the cities that she visited", "city"),
            ("ключ лежит под ковром", "где ключ"),
        ],
    )
    async def test_languages(self, tmp_path: Path, text: str, query: str) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("x", text), put("y", "something else entirely")], by="p")
            assert await ids(store, query) == ["x"]

    async def test_only_the_spaces_that_are_named(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change(
                [put("a", "tea"), put("b", "tea", space="user:b"), put("c", "tea", space="user:c")], by="p"
            )
            assert sorted(await ids(store, "tea", "user:b", HERE)) == ["a", "b"]
            assert await ids(store, "tea", "user:none") == []

    async def test_words_that_many_facts_have(self, tmp_path: Path) -> None:
        """More facts than the search examines: the rare word finds it, and the common ones decide between two."""
        async with self.journal(tmp_path) as store:
            many = [put(f"n{n}", f"common thing {n}") for n in range(COMMON + 10)]
            await store.facts.change([*many, put("x", "rare common thing"), put("y", "rare bird song")], by="p")
            assert await ids(store, "rare common thing") == ["x", "y"]
            assert len(await ids(store, "common")) == 20


class _Moving(Opens):
    async def test_a_space_moves_whole(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path / "a") as source, self.journal(tmp_path / "b") as target:
            await source.facts.change([put("a", "tea"), put("b", "mate", key="k"), put("c", supersedes=("a",))], by="p")
            await source.facts.change([put("p", proposed=True)], by="p")
            (space,) = await source.facts.spaces()
            rows = await source.portable.fact_rows(HERE)
            assert await source.portable.fact_rows(HERE, after=rows[0].version, limit=1) == rows[1:2]
            await target.facts.change([put("z", "was there"), put("a", "tea")], by="p")
            await target.portable.restore_space(space, _pages(rows[:2], rows[2:]))
            assert await target.facts.spaces() == [space]
            assert await target.portable.fact_rows(HERE) == rows
            assert await ids(target, "mate tea was") == ["b"]
            assert await _all(target) == await _all(source)
            await target.facts.change([put("new", key="k")], by="p")
            assert (await target.facts.get("new")).version == space.version + 2

    async def test_what_was_cut_off_is_not_seen(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path / "a") as source, self.journal(tmp_path / "b") as target:
            await source.facts.change([put("a", "tea")], by="p")
            (space,), rows = await source.facts.spaces(), await source.portable.fact_rows(HERE)
            with pytest.raises(RuntimeError):
                await target.portable.restore_space(space, _broken(rows))
            assert await target.facts.spaces() == []
            assert await ids(target, "tea") == []
            await target.portable.restore_space(space, _pages(rows))
            assert await ids(target, "tea") == ["a"]


async def _all(store: Store) -> list[Fact]:
    return await store.facts.find(FactQuery(spaces=(HERE,), ended=True, proposed=None))


async def _pages(*pages: Sequence[StoredFact]) -> AsyncIterator[list[StoredFact]]:
    for page in pages:
        yield list(page)


async def _broken(rows: list[StoredFact]) -> AsyncIterator[list[StoredFact]]:
    yield rows
    raise RuntimeError("cut off")


class FactsConformance(_Changes, _Purging, FactsOnce, _Sessions, _Search, _Moving):
    """All parts of the suite."""

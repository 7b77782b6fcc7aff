"""The part of the conformance suite of the Facts protocol about duplicates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.errors import Conflict, NotFound
from roost.log.facts import EndFact, FactQuery, MemoryRevert, Space
from roost.testing.fact_steps import HERE, append, ids, put, texts
from roost.testing.stores import Opens, new, own


class FactsOnce(Opens):
    async def test_the_same_is_kept_once(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            long = "so it is, " * 20
            await store.facts.change([put("a", "tea", key="k"), put("l", long)], by="p")
            assert await store.facts.change([put("b", "tea"), put("c", "tea", key="k"), put("m", long)], by="p") == 0
            with pytest.raises(NotFound):
                await store.facts.get("b")
            other = [put("d", "tea", key="other"), put("e", "tea", space="user:x"), put("f", "tea", category="project")]
            assert await store.facts.change([*other, put("n", long + "not")], by="p") == 4
            found = await store.facts.find(FactQuery(spaces=(HERE, "user:x"), text="tea"))
            assert [fact.id for fact in found] == ["f", "e", "d", "a"]
            assert await store.facts.change([put("g", long, supersedes=("n",))], by="p") == 1, (
                "the one it is to replace"
            )
            assert await store.facts.change([put("h", long, supersedes=("l",))], by="p") == 2, "not what it replaces"

    async def test_proposals_do_not_pile_up(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a", "tea"), put("k1", "red", key="k", proposed=True)], by="p")
            again = [put("b", "tea", proposed=True), put("k2", "red", key="k", proposed=True)]
            assert await store.facts.change(again, by="p") == 0
            assert await store.facts.change([put("k3", "blue", key="k", proposed=True)], by="p") == 2
            assert await store.facts.change([put("p", "a cat", supersedes=("a",), proposed=True)], by="p") == 1
            assert await store.facts.change([put("q", "one cat", supersedes=("a", "p"), proposed=True)], by="p") == 2
            assert await texts(store, proposed=True) == ["blue", "one cat"]
            assert await store.facts.change([put("c", "one cat")], by="p") == 2
            assert await texts(store, proposed=True) == ["blue"]
            assert await texts(store) == ["tea", "one cat"]

    async def test_what_is_gone_is_superseded_no_more(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a"), put("k", key="k"), put("p", key="k", proposed=True)], by="p")
            await store.facts.change([put("b", supersedes=("a",)), put("l", key="k", supersedes=("k",))], by="p")
            before = await store.facts.spaces()
            for changes in (
                [put("c", supersedes=("a",))],
                [put("c"), put("d", supersedes=("c",)), put("e", supersedes=("c",))],
                [put("c"), EndFact("p"), put("d", key="k", supersedes=("p",))],
            ):
                with pytest.raises(Conflict) as refused:
                    await store.facts.change(changes, by="p")
                assert refused.value.code == "fact_ended"
                assert await store.facts.spaces() == before
            assert await store.facts.change([put("b", supersedes=("a",))], by="p") == 0, "it is there"
            assert await store.facts.change([put("m", key="k", supersedes=("k",))], by="p") == 2, "its key tells"
            assert await texts(store) == ["text of b", "text of m"]

    async def test_one_of_many_at_once(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            stores = [here, there] * 8
            same = [store.facts.change([put(f"s{n}", "the same")], by="p") for n, store in enumerate(stores)]
            assert sorted(await asyncio.gather(*same)) == [0] * 15 + [1]
            (old,) = await here.facts.find(FactQuery(spaces=(HERE,)))
            place = [put(f"n{n}", supersedes=(old.id,)) for n in range(16)]
            work = [store.facts.change([one], by="p") for one, store in zip(place, stores, strict=True)]
            done = await asyncio.gather(*work, return_exceptions=True)
            assert [one for one in done if not isinstance(one, Conflict)] == [2]
            assert (await here.facts.spaces())[0] == Space(HERE, 3, 1)

    async def test_in_a_sessions_commit_it_comes_and_goes(self, tmp_path: Path) -> None:
        """Duplicates in a commit are recorded as added and ended at once, and do not fail the session's commit."""
        async with self.journal(tmp_path) as store:
            await store.facts.change([put("a"), put("k", "tea", key="k")], by="p")
            await store.facts.change([put("b", "new", supersedes=("a",))], by="p")
            await new(store, "s")
            claim = await own(store, "s")
            changes = [put("c", supersedes=("a", "b")), put("d", "tea", key="k"), put("e", "new", proposed=True)]
            head = await append(store, claim, 1, *changes)
            assert head == 4
            assert await texts(store) == ["tea", "new"]
            for n, id in enumerate("cde"):
                fact = await store.facts.get(id)
                assert (fact.source, fact.version, fact.ended_version) == (f"s:{n + 2}", 5 + 2 * n, 6 + 2 * n)
            assert (await store.facts.spaces())[0] == Space(HERE, 10, 2)
            assert await ids(store, "text c tea new") == ["b", "k"]
            await append(store, claim, head, MemoryRevert(1))
            assert (await store.facts.spaces())[0] == Space(HERE, 10, 2)
            assert await texts(store, proposed=True) == []

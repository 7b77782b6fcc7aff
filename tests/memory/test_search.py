"""Search by words and by meaning, and the index that is no truth."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from roost.log.facts import EndFact, NewFact, PutFact
from roost.log.store import Store
from roost.memory.index import AT_ONCE, Index
from roost.memory.ranking import REFERENCES, Candidate, content_of, rank
from roost.memory.search import Search
from roost.memory.vectors import EXACT, VectorFile
from roost.stores.sqlite.store import open_sqlite
from roost.testing.facts import put
from tests.memory.concepts import Concepts

HERE = "user:ann"
_REFERENCES = sum(map(len, REFERENCES.values()))


class Bench:
    """A store, an index over it, and how to ask."""

    def __init__(self, store: Store, folder: Path, embedder: Concepts) -> None:
        self.store, self.embedder, self.folder = store, embedder, folder / "vectors"
        self.index = Index(store.facts, lambda: embedder, self.folder)
        self.search = Search(store.facts, self.index)

    async def learn(self, **facts: str) -> None:
        changes = [PutFact(NewFact(id=id, space=HERE, text=text)) for id, text in facts.items()]
        await self.store.facts.change(changes, by="p")

    async def ids(self, query: str, limit: int = 10) -> list[str]:
        return [found.fact.id for found in (await self.search.find([HERE], query, limit=limit)).facts]


@contextlib.asynccontextmanager
async def bench(folder: Path, embedder: Concepts | None = None) -> AsyncGenerator[Bench]:
    store = await open_sqlite(folder / "roost.db", durability="relaxed")
    made = Bench(store, folder, embedder or Concepts())
    try:
        yield made
    finally:
        await made.index.close()
        await store.close()


def the_file(folder: Path) -> Path:
    (file,) = (folder / "vectors").glob("*.vectors")
    return file


async def test_by_meaning_where_no_word_is_shared(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="Ann resides in Oslo", b="Her favourite beverage: oolong", c="The build runs on Tuesdays")
        found = await it.search.find([HERE], "what does she drink?")
        assert (found.how, found.why) == ("hybrid", None)
        assert found.facts[0].fact.id == "b"
        assert not found.facts[0].words
        assert found.facts[0].likeness is not None
        assert (await it.ids("in which flat does she dwell"))[0] == "a"
        assert (await it.ids("tuesdays"))[0] == "c"


async def test_words_and_meaning_together_come_before_either(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="brew", b="oolong tea", c="oolong mountain stone", d="nothing else matters")
        assert (await it.ids("oolong tea"))[0] == "b"


async def test_one_common_word_does_not_beat_the_meaning() -> None:
    query = "How often may one call the endpoint?"
    found = [
        Candidate("Dmitri's birthday is on the third of May.", 0.04, 0.1),
        Candidate("The public API allows 100 requests per minute.", 0.41, 0.1),
    ]
    first, second = rank(query, 0.05, found)
    assert first.score < second.score
    assert first.fit < 0.1
    assert second.fit > 0.35
    assert content_of("Wo ist der Schlüssel von Ann?") == "Schlüssel Ann?"
    assert content_of("der die das") == "der die das"
    assert rank(query, None, []) == []


async def test_without_a_model_it_goes_by_words_and_says_so(tmp_path: Path) -> None:
    embedder = Concepts()
    embedder.down = "there is no model: roost pull minilm"
    async with bench(tmp_path, embedder) as it:
        await it.learn(a="Ann drinks tea", b="Bob has a hound")
        found = await it.search.find([HERE], "tea")
        assert (found.how, found.why) == ("words", "there is no model: roost pull minilm")
        assert [one.fact.id for one in found.facts] == ["a"]
        assert found.facts[0].likeness is None
        assert await it.ids("pets") == []
        found = await Search(it.store.facts, None).find([HERE], "tea")
        assert (found.how, found.why) == ("words", "there is no index of meanings on this node")


async def test_it_keeps_up_with_changes(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="a poodle", b="green hue")
        assert await it.ids("hound", 1) == ["a"]
        await it.store.facts.change([put("c", "a hound called Rex", space=HERE, supersedes=("a",))], by="p")
        assert await it.ids("pet", 1) == ["c"]
        await it.store.facts.change([EndFact("c")], by="p")
        assert await it.ids("pet") == ["b"]
        assert it.embedder.texts == 3 + _REFERENCES


async def test_many_new_facts_are_embedded_beside_the_search(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(**{f"n{n}": f"thing number {n}" for n in range(AT_ONCE)}, dog="a poodle")
        found = await it.search.find([HERE], "hound")
        assert found.why == f"{AT_ONCE + 1} facts have no vector yet"
        await it.index.settled()
        found = await it.search.find([HERE], "hound")
        assert (found.how, found.why, found.facts[0].fact.id) == ("hybrid", None, "dog")


async def test_a_new_process_embeds_nothing_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="a poodle", b="green hue")
        await it.ids("x")
    async with bench(tmp_path) as it:
        assert await it.ids("hound", 1) == ["a"]
        assert it.embedder.texts == 0


async def test_another_model_begins_anew(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="a poodle")
        await it.ids("x")
        before = the_file(tmp_path)
    async with bench(tmp_path, Concepts("test/other", size=33)) as it:
        assert await it.ids("hound", 1) == ["a"]
        assert it.embedder.texts == 1 + _REFERENCES
    assert the_file(tmp_path) != before


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("damage", ["head", "record", "cut", "empty", "noise"])
async def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    async with bench(tmp_path) as it:
        await it.learn(a="a poodle", b="green hue")
        await it.ids("x")
    body = bytearray(the_file(tmp_path).read_bytes())
    match damage:
        case "head":
            body[3] ^= 255
        case "record":
            body[-5] ^= 255
        case "cut":
            del body[-7:]
        case "empty":
            body.clear()
        case _:
            body[:] = os.urandom(5000)
    the_file(tmp_path).write_bytes(body)
    async with bench(tmp_path) as it:
        assert await it.ids("hound", 1) == ["a"]
        assert await it.ids("shade", 1) == ["b"]
        lost = 1 if damage in ("record", "cut") else 2 + _REFERENCES
        assert lost <= it.embedder.texts <= lost + _REFERENCES
    async with bench(tmp_path) as it:
        assert await it.ids("shade", 1) == ["b"]
        assert it.embedder.texts == 0


def test_two_processes_append_to_one_file(tmp_path: Path) -> None:
    import numpy as np

    def vector(number: int) -> bytes:
        return np.full(8, number, dtype="<f4").tobytes()

    one, two = (VectorFile(tmp_path / "v", "m", 8) for _ in range(2))
    for n in range(20):
        (one, two)[n % 2].add([b"%016d" % n], [vector(n)])
    whole = VectorFile(tmp_path / "v", "m", 8)
    assert len(whole.known) == 20
    for n in range(20):
        row = np.array([whole.known[b"%016d" % n]])
        assert whole.vectors(row)[0].tolist() == [n] * 8
    for file in (one, two, whole):
        file.close()


def test_what_another_process_appended_is_erased_too(tmp_path: Path) -> None:
    import numpy as np

    vector = np.full(8, 7, dtype="<f4").tobytes()
    one, two = (VectorFile(tmp_path / "v", "m", 8) for _ in range(2))
    for file in (one, two, one):
        file.add([b"%016d" % 1], [vector])
    two.add([b"%016d" % 2], [np.full(8, 8, dtype="<f4").tobytes()])
    one.erase([b"%016d" % 1])
    assert vector not in (tmp_path / "v").read_bytes()
    whole = VectorFile(tmp_path / "v", "m", 8)
    assert list(whole.known) == [b"%016d" % 2]
    for file in (one, two, whole):
        file.close()


async def test_codes_find_what_full_comparison_finds(tmp_path: Path) -> None:
    """Beyond `EXACT` vectors the codes choose; nearly all of the true nearest are among what they choose."""
    import numpy as np

    from roost.memory.vectors import SpaceVectors

    rng = np.random.default_rng(7)
    count, size = 3 * EXACT, 384
    centres = rng.standard_normal((60, size))
    table = centres[rng.integers(0, 60, count)] + rng.standard_normal((count, size))
    table = (table / np.linalg.norm(table, axis=1, keepdims=True)).astype("<f4")
    file = VectorFile(tmp_path / "v", "m", size)
    digests = [n.to_bytes(16, "little") for n in range(count)]
    file.add(digests, [row.tobytes() for row in table])
    space = SpaceVectors(file)
    space.add([str(n) for n in range(count)], digests)
    for n in range(0, count, 7):
        space.drop(str(n))
    left = [n for n in range(count) if n % 7]
    hits = wanted = 0
    for n in left[:60]:
        query = table[n]
        true = sorted(left, key=lambda m: -float(table[m] @ query))[:10]
        hits += len({int(hit.id) for hit in space.nearest(query, 10)} & set(true))
        wanted += 10
    file.close()
    assert hits / wanted >= 0.95


async def test_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.learn(**{f"n{n}": f"thing number {n} of {n * 7}" for n in range(500)})
        await it.ids("x")
        await it.index.settled()
        longest, last = 0.0, time.thread_time()  # the loop's own work: a busy machine may let it wait
        task = asyncio.gather(*(it.ids(f"thing {n}") for n in range(30)))
        while not task.done():
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()
        assert longest < 1.0
        assert all(task.result())

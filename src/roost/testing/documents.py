"""Conformance suite of the Documents protocol, on two openers of one store, as two processes would be:

class TestMyDocuments(DocumentConformance):
    async def open(self, folder: Path) -> Store: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from roost.errors import Conflict, Invalid, TooLarge
from roost.log.documents import (
    BATCH_BYTES,
    BATCH_WRITES,
    DOCUMENT_BYTES,
    FIND_LIMIT,
    ID_BYTES,
    KEYS,
    NAME_BYTES,
    PAGE_BYTES,
    VALUE_BYTES,
    Document,
    DocumentQuery,
    Put,
    Remove,
    Write,
    find_all,
)
from roost.log.store import Store
from roost.testing.stores import Opens, eventually

ODD = (
    "é",
    "漢字",
    "🦉",
    "\U0010ffff",
    "\ud7ff",
    "%",
    "_",
    "a%",
    "'quotes' \"two\"",
    "\\",
    "\x01\x7f",
    "\u2028",
    "a b\t\n",
    "{}",
    "?",
    "$1",
)


def put(
    id: str, body: bytes = b"x", *, owner: str = "", revision: int | None = None, keys: Mapping[str, str] | None = None
) -> Put:
    return Put(kind="k", id=id, body=body, owner=owner, keys=keys or {}, revision=revision)


async def ids(
    store: Store,
    *,
    kind: str = "k",
    owner: str | None = None,
    key: tuple[str, str] | None = None,
    after: str = "",
    newest: bool = False,
    limit: int = 100,
) -> list[str]:
    query = DocumentQuery(kind=kind, owner=owner, key=key, after=after, newest=newest, limit=limit)
    return [one.id for one in await store.documents.find(query)]


async def refused(store: Store, *writes: Write) -> str:
    with pytest.raises(Conflict) as error:
        await store.documents.write(writes)
    assert error.value.code == "document_changed"
    return str(error.value)


class _Writes(Opens):
    async def test_a_document_is_kept_as_it_was_given(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            given = Put(kind="a.kind", id="i", body=bytes(range(256)), owner="ann", keys={"b": "2", "a": ""})
            (made,) = await here.documents.write([given])
            assert made is not None
            assert (made.kind, made.id, made.body, made.owner) == ("a.kind", "i", given.body, "ann")
            assert (made.keys, made.revision) == ({"a": "", "b": "2"}, 1)
            assert made.created == made.changed > 1e9
            assert await there.documents.get("a.kind", "i") == made
            assert await there.documents.get("a.kind", "I") is None
            assert await there.documents.get("k", "i") is None
            assert await there.documents.find(DocumentQuery(kind="a.kind")) == [made]
        async with self.journal(tmp_path) as again:
            assert await again.documents.get("a.kind", "i") == made

    async def test_a_change_replaces_all_of_it(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            (first,) = await here.documents.write([put("i", b"1", owner="ann", keys={"a": "1", "b": "2"})])
            (second,) = await there.documents.write([put("i", b"", owner="bob", keys={"b": "3"})])
            assert first is not None
            assert second is not None
            assert (second.revision, second.body, second.owner, second.keys) == (2, b"", "bob", {"b": "3"})
            assert second.created == first.created
            assert second.changed >= first.changed
            assert await here.documents.get("k", "i") == second
            assert (
                await ids(here, key=("a", "1")) == await ids(here, key=("b", "2")) == await ids(here, owner="ann") == []
            )
            assert await ids(here, key=("b", "3")) == await ids(here, owner="bob") == ["i"]
            assert await ids(here, key=("b", "3"), owner="bob") == ["i"]
            assert await ids(here, key=("b", "3"), owner="ann") == []
            await here.documents.write([put("i", owner="eve", keys={"b": "3"})])
            assert await ids(there, key=("b", "3"), owner="eve") == ["i"]
            assert await ids(there, key=("b", "3"), owner="bob") == []

    async def test_a_document_that_is_deleted_is_gone(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.documents.write([put("i", keys={"a": "1"}, owner="ann"), put("j")])
            assert await store.documents.write([Remove(kind="k", id="i"), Remove(kind="k", id="none")]) == [None, None]
            assert await store.documents.get("k", "i") is None
            assert await ids(store) == ["j"]
            assert await ids(store, key=("a", "1")) == await ids(store, owner="ann") == []
            (again,) = await store.documents.write([put("i", revision=0)])
            assert again is not None
            assert again.revision == 1
            assert again.keys == {}

    async def test_a_write_may_name_the_revision(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.documents.write([put("i", b"1", revision=0)])
            assert "revision 1" in await refused(there, put("i", b"2", revision=0))
            await refused(there, put("i", b"2", revision=2))
            await there.documents.write([put("i", b"2", revision=1)])
            await refused(here, put("i", b"3", revision=1))
            await refused(here, Remove(kind="k", id="i", revision=1))
            assert "does not exist" in await refused(here, put("j", revision=1))
            await here.documents.write([Remove(kind="k", id="i", revision=2)])
            await refused(there, Remove(kind="k", id="i", revision=2))
            await there.documents.write([Remove(kind="k", id="i", revision=0)])
            assert await ids(here) == []

    async def test_all_is_written_or_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.documents.write([put("b", b"old", keys={"a": "1"}), put("c", b"old")])
            before = [await store.documents.get("k", id) for id in "abcd"]
            for last in (put("d", revision=1), Remove(kind="k", id="d", revision=7), put("c", revision=3)):
                batch = [put("a", b"new"), put("b", b"new"), Remove(kind="other", id="x"), last]
                await refused(store, *batch)
                await refused(store, *reversed(batch))
            with pytest.raises(TooLarge):
                await store.documents.write([put("a"), Remove(kind="k", id="b"), put("z", b"x" * (DOCUMENT_BYTES + 1))])
            assert [await store.documents.get("k", id) for id in "abcd"] == before
            assert await ids(store, key=("a", "1")) == ["b"]
            other = Put(kind="other", id="a", body=b"there", revision=0)
            done = await store.documents.write([put("d", b"4"), Remove(kind="k", id="b"), other, put("a", b"1")])
            assert [one and one.body for one in done] == [b"4", None, b"there", b"1"]
            assert await ids(store) == ["a", "c", "d"]
            assert await ids(store, kind="other") == ["a"]
            assert await store.documents.write([]) == []

    async def test_what_no_store_can_keep_is_refused(self, tmp_path: Path) -> None:
        bad: list[Write] = [
            put(""),
            put("i\0"),
            put("\ud800"),
            put("x" * (ID_BYTES + 1)),
            put("i", owner="é" * (ID_BYTES // 2 + 1)),
            put("i", owner="a\0"),
            put("i", keys={"": "v"}),
            put("i", keys={"n" * (NAME_BYTES + 1): "v"}),
            put("i", keys={"n": "v" * (VALUE_BYTES + 1)}),
            put("i", keys={"n": "\0"}),
            put("i", keys={"n\udfff": "v"}),
            put("i", keys={str(n): "v" for n in range(KEYS + 1)}),
            Put(kind="", id="i", body=b""),
            Remove(kind="k\0", id="i"),
            Remove(kind="k" * (NAME_BYTES + 1), id="i"),
        ]
        async with self.journal(tmp_path) as store:
            for write in bad:
                with pytest.raises(Invalid):
                    await store.documents.write([put("a"), write])
            for twice in ([put("i"), put("i")], [put("i"), Remove(kind="k", id="i")]):
                with pytest.raises(Invalid):
                    await store.documents.write(twice)
            with pytest.raises(Invalid):
                await store.documents.write([put(str(n)) for n in range(BATCH_WRITES + 1)])
            full = b"x" * DOCUMENT_BYTES
            with pytest.raises(TooLarge):
                await store.documents.write([put(str(n), full) for n in range(BATCH_BYTES // DOCUMENT_BYTES + 1)])
            assert await ids(store) == []

    async def test_the_largest_of_all(self, tmp_path: Path) -> None:
        keys = {"é" * (NAME_BYTES // 2 - 1) + f"{n:02}": "v" * VALUE_BYTES for n in range(KEYS)}
        kind, id, owner = "k" * NAME_BYTES, "i" * ID_BYTES, "o" * ID_BYTES
        async with self.journal(tmp_path) as store:
            given = Put(kind=kind, id=id, body=bytes(range(256)) * (DOCUMENT_BYTES // 256), owner=owner, keys=keys)
            await store.documents.write([given])
            found = await store.documents.get(kind, id)
            assert found is not None
            assert (found.body, found.keys) == (given.body, keys)
            for key in keys.items():
                assert await ids(store, kind=kind, owner=owner, key=key) == [id]
            await store.documents.write([put(str(n)) for n in range(BATCH_WRITES)])
            assert len(await ids(store, limit=FIND_LIMIT)) == min(BATCH_WRITES, FIND_LIMIT)


class _Races(Opens):
    async def test_one_of_many_makes_it(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            tries = [stores[n % 2].documents.write([put("i", str(n).encode(), revision=0)]) for n in range(16)]
            done = await asyncio.gather(*tries, return_exceptions=True)
            won = [one for one in done if not isinstance(one, Conflict)]
            assert len(won) == 1
            assert won == [[await stores[0].documents.get("k", "i")]]

    async def test_no_change_of_many_is_lost(self, tmp_path: Path) -> None:
        """Each reads, adds one, and writes what it read, until its write is accepted."""
        async with self.two(tmp_path) as stores:
            await stores[0].documents.write([put("i", b"0")])

            async def add(store: Store) -> None:
                while True:
                    now = await store.documents.get("k", "i")
                    assert now is not None
                    body = str(int(now.body) + 1).encode()
                    try:
                        await store.documents.write([put("i", body, revision=now.revision)])
                    except Conflict:
                        continue
                    return

            await asyncio.gather(*(add(stores[n % 2]) for n in range(12)))
            end = await stores[1].documents.get("k", "i")
            assert end is not None
            assert (end.body, end.revision) == (b"12", 13)

    async def test_writers_of_the_same_documents_in_any_order(self, tmp_path: Path) -> None:
        """Unconditional ones all succeed, and each batch is seen whole."""
        names = [f"d{n}" for n in range(8)]
        async with self.two(tmp_path) as stores:

            async def rewrite(n: int) -> None:
                order = names[n % 8 :] + names[: n % 8]
                await stores[n % 2].documents.write(
                    [put(id, str(n).encode(), keys={"by": str(n)}) for id in (order if n % 3 else order[::-1])]
                )

            await asyncio.gather(*(rewrite(n) for n in range(24)))
            found = await stores[0].documents.find(DocumentQuery(kind="k"))
            assert [one.id for one in found] == names
            assert len({one.body for one in found}) == 1
            assert [one.revision for one in found] == [24] * 8
            assert await ids(stores[1], key=("by", found[0].body.decode())) == names

    async def test_one_of_many_deletes_it(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            for turn in range(4):
                await stores[0].documents.write([put("i", revision=0)])
                take = Remove(kind="k", id="i", revision=1)
                tries = [stores[n % 2].documents.write([take, put(f"taken{turn}")]) for n in range(8)]
                done = await asyncio.gather(*tries, return_exceptions=True)
                assert sum(not isinstance(one, Conflict) for one in done) == 1
                taken = await stores[1].documents.get("k", f"taken{turn}")
                assert taken is not None
                assert taken.revision == 1

    async def test_a_writer_that_is_cancelled_leaves_all_or_nothing(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for turn in range(10):
                body = str(turn).encode()
                writing = asyncio.ensure_future(here.documents.write([put("a", body), put("b", body)]))
                for _ in range(turn):
                    await asyncio.sleep(0)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
                await there.documents.write([put("c", body)])
            await here.close()
            a, b = await there.documents.get("k", "a"), await there.documents.get("k", "b")
            assert (a and (a.body, a.revision)) == (b and (b.body, b.revision))


class _Finds(Opens):
    async def test_pages_in_order_of_id(self, tmp_path: Path) -> None:
        names = sorted([f"i{n:02}" for n in range(25)] + ["A", "Z", "é", "漢", "🦉", "_"])
        async with self.journal(tmp_path) as store:
            await store.documents.write([put(id, owner="ann" if n % 2 else "") for n, id in enumerate(names)])
            for newest in (False, True):
                wanted = names[::-1] if newest else names
                assert await ids(store, newest=newest) == wanted
                assert await ids(store, newest=newest, limit=3) == wanted[:3]
                assert await ids(store, newest=newest, after=wanted[4], limit=3) == wanted[5:8]
                query = DocumentQuery(kind="k", newest=newest, limit=7)
                assert [one.id async for one in find_all(store.documents, query)] == wanted
            assert await ids(store, owner="ann") == names[1::2]
            assert await ids(store, owner="") == names[::2]
            assert await ids(store, owner="", after=names[2], limit=2) == names[4:8:2]
            assert await ids(store, owner="An") == await ids(store, kind="K") == []
            for limit in (0, -1, FIND_LIMIT + 1):
                with pytest.raises(Invalid):
                    await ids(store, limit=limit)
            with pytest.raises(Invalid):
                await ids(store, key=("a", "\0"))

    async def test_by_key_and_owner(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.documents.write(
                [put(f"i{n:02}", owner=f"o{n % 3}", keys={"even": str(n % 2 == 0), "n": str(n)}) for n in range(30)]
            )
            await store.documents.write([Put(kind="other", id="i00", body=b"", owner="o0", keys={"n": "3"})])
            assert await ids(store, key=("n", "3")) == ["i03"]
            assert await ids(store, key=("n", "30")) == await ids(store, key=("N", "3")) == []
            even = [f"i{n:02}" for n in range(0, 30, 2)]
            assert await ids(store, key=("even", "True")) == even
            assert await ids(store, key=("even", "True"), newest=True, after="i20", limit=2) == ["i18", "i16"]
            mine = [f"i{n:02}" for n in range(0, 30, 6)]
            assert await ids(store, key=("even", "True"), owner="o0") == mine
            assert await ids(store, key=("even", "True"), owner="o0", after=mine[1], limit=2) == mine[2:4]

    async def test_odd_characters_mean_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            odd = [Put(kind=one, id=one, body=one.encode(), owner=one, keys={one: one}) for one in ODD]
            await store.documents.write(odd)
            for given in odd:
                found = await store.documents.get(given.kind, given.id)
                assert found is not None
                assert (found.id, found.owner, found.keys) == (given.id, given.owner, given.keys)
                query = DocumentQuery(kind=given.kind, owner=given.owner, key=(given.id, given.id))
                assert await store.documents.find(query) == [found]
            await store.documents.write([put(one, owner="o", keys={"n": one}) for one in ODD])
            assert await ids(store) == await ids(store, owner="o") == sorted(ODD)
            for one in ODD:
                assert await ids(store, key=("n", one)) == [one]

    async def test_a_page_of_large_bodies_ends_early(self, tmp_path: Path) -> None:
        count = PAGE_BYTES // DOCUMENT_BYTES + 3
        names = [f"i{n:02}" for n in range(count)]
        async with self.journal(tmp_path) as store:
            for id in names:
                await store.documents.write([put(id, bytes(DOCUMENT_BYTES), keys={"a": "1"})])
            for key in (None, ("a", "1")):
                query = DocumentQuery(kind="k", key=key)
                assert len(await store.documents.find(query)) == PAGE_BYTES // DOCUMENT_BYTES
                assert [one.id async for one in find_all(store.documents, query)] == names

    async def test_pages_while_others_write(self, tmp_path: Path) -> None:
        """What was there all the time is in the pages once; what came or went meanwhile, at most once."""
        stay = [f"i{n:03}" for n in range(0, 60, 2)]
        async with self.two(tmp_path) as (here, there):
            await here.documents.write([put(id) for id in stay])
            stop = False

            async def disturb() -> None:
                n = 1
                while not stop:
                    id = f"i{n % 60:03}"
                    await there.documents.write([put(id), put(stay[n % len(stay)], b"again")])
                    await there.documents.write([Remove(kind="k", id=id)])
                    n += 2

            disturbing = asyncio.ensure_future(disturb())
            for _ in range(5):
                seen = [one.id async for one in find_all(here.documents, DocumentQuery(kind="k", limit=4))]
                assert len(seen) == len(set(seen))
                assert [id for id in seen if id in stay] == stay
            stop = True
            await disturbing


class _Watches(Opens):
    async def test_a_listener_hears_of_changes_by_any_process(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            heard = {"here": 0, "there": 0, "other": 0}

            def hear(name: str) -> None:
                heard[name] += 1

            removals = [
                here.documents.watch("k", lambda: hear("here")),
                there.documents.watch("k", lambda: hear("there")),
            ]
            for write in (put("i"), put("i", b"2"), Remove(kind="k", id="i")):
                before = dict(heard)
                await here.documents.write([write])
                assert heard["here"] > before["here"], "before write returns"
                await eventually(lambda before=before: _true(heard["there"] > before["there"]))
            before = dict(heard)
            await there.documents.write([put("j")])
            await eventually(lambda: _true(heard["here"] > before["here"]))
            here.documents.watch("other", lambda: hear("other"))
            removals[0]()
            removals[0]()
            before = dict(heard)
            await there.documents.write([Put(kind="other", id="x", body=b"")])
            await eventually(lambda: _true(heard["other"] > before["other"]))
            assert heard["here"] == before["here"], "it was removed"

    async def test_a_reader_that_watches_ends_with_the_last_change(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            stale = asyncio.Event()
            stale.set()
            here.documents.watch("k", stale.set)
            last: Document | None = None

            async def follow() -> None:
                nonlocal last
                while last is None or last.body != b"end":
                    await stale.wait()
                    stale.clear()
                    last = await here.documents.get("k", "i")

            following = asyncio.ensure_future(follow())
            for n in range(20):
                await (here if n % 3 else there).documents.write([put("i", str(n).encode())])
            await there.documents.write([put("i", b"end")])
            await eventually(lambda: _true(following.done()))
            await following

    async def test_a_listener_that_fails_harms_nobody(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            heard: list[int] = []

            def fail() -> None:
                raise ZeroDivisionError

            store.documents.watch("k", fail)
            store.documents.watch("k", lambda: heard.append(1))
            await store.documents.write([put("i")])
            assert heard == [1]


class DocumentConformance(_Writes, _Races, _Finds, _Watches):
    pass


async def _true(answer: bool) -> bool:
    return answer

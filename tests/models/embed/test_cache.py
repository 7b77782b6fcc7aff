"""The cache of vectors: whatever becomes of its file, embedding goes on."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.local.embed.base import Embedding, EmbedFailed, Vector
from roost.local.embed.cached import Cached
from roost.local.embed.store import VectorStore
from roost.log.content import ErrorData

WRITER = """
import sys
from pathlib import Path
from roost.local.embed.store import VectorStore
store = VectorStore(Path(sys.argv[1]), 4)
who, number = sys.argv[2].encode(), 0
while number < int(sys.argv[3]):
    store.put({who + b"%d" % key: b"%08d" % key * 96 for key in range(number, number + 20)})
    number += 20
    print(number, flush=True)
"""


class Counting:
    """An embedder whose vectors are hashes; it keeps what it was asked and fails from text `fail_at` on."""

    def __init__(self, name: str = "counting", fail_at: int | None = None) -> None:
        self.name = name
        self.size: int | None = 8
        self.asked: list[str] = []
        self.fail_at = fail_at

    async def embed(self, job: Embedding) -> list[Vector]:
        if self.fail_at is not None and len(self.asked) >= self.fail_at:
            raise EmbedFailed(ErrorData("quota", "no more"))
        self.asked += job.texts
        return [
            hashlib.sha256(f"{self.name}{job.use}{text}".encode("utf-8", "surrogatepass")).digest()
            for text in job.texts
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "vectors.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[VectorStore]:
    made = VectorStore(path)
    yield made
    made.close()


async def test_each_text_is_asked_for_once(path: Path, store: VectorStore) -> None:
    inner = Counting()
    cached = Cached(inner, store)
    assert await cached.embed(Embedding([])) == []
    first = await cached.embed(Embedding(["a", "b", "a", "\ud800"]))
    assert inner.asked == ["a", "b", "\ud800"]
    assert first[0] == first[2] != first[1]
    assert (await cached.embed(Embedding(["b", "new", "a"])))[::2] == [first[1], first[0]]
    assert inner.asked[-1:] == ["new"]
    assert path.stat().st_mode & 0o077 == 0


async def test_models_and_uses_are_kept_apart(store: VectorStore) -> None:
    one, other = Counting(), Counting("other")
    made = [
        (await Cached(inner, store).embed(Embedding(["a"], use=use)))[0]
        for inner in (one, other)
        for use in ("document", "query")
    ]
    assert len({*made}) == 4
    assert (one.asked, other.asked) == (["a", "a"], ["a", "a"])


async def test_the_size_is_known_from_what_is_kept(store: VectorStore) -> None:
    await Cached(Counting(), store).embed(Embedding(["a"]))
    inner = Counting()
    inner.size = None
    cached = Cached(inner, store)
    assert cached.size is None
    await cached.embed(Embedding(["a"]))
    assert cached.size == 8
    assert inner.asked == []


async def test_another_size_is_another_vector(store: VectorStore) -> None:
    inner = Counting()
    await Cached(inner, store).embed(Embedding(["a"]))
    inner.size = 4
    await Cached(inner, store).embed(Embedding(["a"]))
    assert inner.asked == ["a", "a"]


async def test_a_long_job_that_fails_has_not_been_for_nothing(store: VectorStore) -> None:
    texts = [str(number) for number in range(2_500)]
    with pytest.raises(EmbedFailed):
        await Cached(Counting(fail_at=2_000), store).embed(Embedding(texts))
    inner = Counting()
    vectors = await Cached(inner, store).embed(Embedding(texts))
    assert len(vectors) == 2_500
    assert inner.asked == texts[2_000:]


def test_it_is_bounded_and_the_least_recently_used_go_first(path: Path) -> None:
    now = 1_000_000.0
    store = VectorStore(path, 2, now=lambda: now)
    vector = os.urandom(6_144)
    store.put({b"kept": vector, b"lost": vector})
    for number in range(1_000):
        now += 60
        store.put({b"%d" % number: vector})
        if not number % 50:
            assert store.get([b"kept"]) == {b"kept": vector}
    assert store.get([b"lost", b"0"]) == {}
    assert store.get([b"kept", b"999"]) == {b"kept": vector, b"999": vector}
    store.close()
    assert 1_000_000 < path.stat().st_size < 2_200_000
    full = VectorStore(path.with_name("none"), 0)
    full.put({b"a": vector})
    assert full.get([b"a"]) == {}
    full.close()


@pytest.mark.parametrize("damage", ["garbage", "head", "middle", "emptied"])
def test_a_damaged_file_is_made_anew(damage: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = {b"%d" % number: os.urandom(512) for number in range(2_000)}
    store = VectorStore(path)
    store.put(rows)
    store.close()
    raw = bytearray(path.read_bytes())
    match damage:
        case "garbage":
            path.write_bytes(os.urandom(len(raw)))
        case "head":
            path.write_bytes(b"x" + raw[1:])
        case "middle":
            raw[4_096:400_000] = bytes(400_000 - 4_096)
            path.write_bytes(raw)
        case _:
            path.write_bytes(b"")
    store = VectorStore(path)
    assert store.get(rows) == {}
    store.put(rows)
    assert store.get(rows) == rows
    store.close()
    assert len(caplog.records) == (damage != "emptied")


def test_a_vector_with_a_wrong_bit_is_not_taken(path: Path) -> None:
    store = VectorStore(path)
    store.put({b"a": b"\1" * 512, b"b": b"\2" * 512})
    store.close()
    raw = path.read_bytes()
    assert raw.count(b"\1" * 512) == 1
    path.write_bytes(raw.replace(b"\1" * 512, b"\1" * 511 + b"\3"))
    store = VectorStore(path)
    assert store.get([b"a", b"b"]) == {b"b": b"\2" * 512}
    store.close()


@pytest.mark.parametrize("kind", ["folder", "file above", "other table"])
def test_a_file_that_cannot_be_used_is_no_error(kind: str, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if kind == "folder":
        path.mkdir(parents=True)
    elif kind == "file above":
        path.parent.write_bytes(b"")
    else:
        path.parent.mkdir()
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE vectors (other)")
        db.close()
    store = VectorStore(path)
    for _ in range(3):
        store.put({b"a": b"1234"})
        assert store.get([b"a"]) == {}
    store.close()
    assert len(caplog.records) == 1, "said once"


def test_a_file_that_another_holds_is_gone_without(path: Path) -> None:
    store = VectorStore(path)
    store.put({b"a": b"1234"})
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    store.put({b"b": b"1234"})
    assert time.monotonic() - began < 30
    assert store.get([b"a", b"b"]) == {b"a": b"1234"}
    other.execute("ROLLBACK")
    other.close()
    store.put({b"b": b"1234"})
    assert store.get([b"b"]) == {b"b": b"1234"}
    store.close()


def test_processes_and_threads_share_it(path: Path, store: VectorStore) -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), who, "400"], stdout=subprocess.PIPE) for who in "xy"
    ]
    threads = [
        threading.Thread(target=lambda who=who: [store.put({b"%s%d" % (who, key): b"1234"}) for key in range(50)])
        for who in (b"s", b"t")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.communicate()[0].split()[-1] for other in others] == [b"400", b"400"]
    keys = [b"%s%d" % (who, key) for who in (b"x", b"y") for key in range(400)]
    assert store.get(keys) == {key: b"%08d" % int(key[1:]) * 96 for key in keys}
    assert len(store.get([b"%s%d" % (who, key) for who in (b"s", b"t") for key in range(50)])) == 100


def test_a_writer_that_is_killed_leaves_whole_vectors(path: Path, store: VectorStore) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), "x", "1000000"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        while (said := other.stdout.readline()) and int(said) < 200:
            pass
        other.send_signal(signal.SIGKILL)
    keys = [b"x%d" % key for key in range(200)]
    assert store.get(keys) == {key: b"%08d" % int(key[1:]) * 96 for key in keys}
    store.put({b"a": b"1234"})
    assert store.get([b"a"]) == {b"a": b"1234"}

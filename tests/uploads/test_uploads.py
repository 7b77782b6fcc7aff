"""Uploaded files: complete or not there, once for a key, and copied into workspaces."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from roost.errors import Conflict, NotFound, StoreUnreachable, TooLarge
from roost.features.uploads.blobs import CHUNK, Blobs
from roost.features.uploads.uploads import NewUpload, Uploads
from roost.log.documents import Document, DocumentQuery, Put
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.objects.folder import FolderObjects


class Memory:
    """Documents in memory."""

    def __init__(self):
        self.rows = {}

    async def write(self, writes):
        for one in writes:
            known = self.rows.get((one.kind, one.id))
            if one.revision is not None and one.revision != (known.revision if known else 0):
                raise Conflict("changed", code="document_changed")
        return [self._write(one) for one in writes]

    def _write(self, one):
        known = self.rows.pop((one.kind, one.id), None)
        if not isinstance(one, Put):
            return None
        now = time.time()
        self.rows[one.kind, one.id] = document = Document(
            kind=one.kind,
            id=one.id,
            body=one.body,
            revision=known.revision + 1 if known else 1,
            created=known.created if known else now,
            changed=now,
            owner=one.owner,
            keys=one.keys,
        )
        return document

    async def get(self, kind, id):
        return self.rows.get((kind, id))

    async def find(self, query):
        found = [one for one in self.rows.values() if one.kind == query.kind]
        found = [one for one in found if query.owner in (None, one.owner)]
        found = [one for one in found if query.key is None or one.keys.get(query.key[0]) == query.key[1]]
        found = sorted((one for one in found), key=lambda one: one.id, reverse=query.newest)
        if query.after:
            found = [one for one in found if (one.id < query.after if query.newest else one.id > query.after)]
        return found[: query.limit]


async def pieces(*parts):
    for part in parts:
        yield part


async def broken(*parts):
    for part in parts:
        yield part
    raise ConnectionError("gone")


@pytest.fixture
def documents():
    return Memory()


@pytest.fixture
def uploads(documents, tmp_path):
    return Uploads(documents, Blobs(lambda: FolderObjects.make(tmp_path / "uploads")), home="here", shared=False)


def stored(tmp_path: Path) -> list[Path]:
    return [one for one in (tmp_path / "uploads" / "uploads").rglob("*") if one.is_file()]


async def whole(uploads, upload):
    return b"".join([piece async for piece in uploads.content(upload)])


async def test_a_file_comes_back_as_it_was_sent(uploads, tmp_path):
    data = bytes(range(256)) * (2 * CHUNK // 256) + b"end"
    new = NewUpload(name="a.bin", media_type="image/png", owner="ann", keys={"purpose": "x"}, note={"b": 1})
    upload = await uploads.add(new, pieces(b"", data[:5], data[5:]))
    assert (upload.size, upload.name, upload.owner, upload.home) == (len(data), "a.bin", "ann", "here")
    found = await uploads.get(upload.id, owner="ann")
    assert found == upload
    assert await whole(uploads, found) == data
    assert len(stored(tmp_path)) == 3
    empty = await uploads.add(NewUpload(name="empty"), pieces())
    assert await whole(uploads, empty) == b""
    assert await uploads.find(DocumentQuery(kind="", owner="ann")) == [upload]
    assert await uploads.find(DocumentQuery(kind="", key=("purpose", "x"))) == [upload]
    with pytest.raises(NotFound):
        await uploads.get(upload.id, owner="bob")


async def test_what_is_deleted_is_gone_with_its_bytes(uploads, documents, tmp_path):
    upload = await uploads.add(NewUpload(name="a"), pieces(b"abc"))
    await uploads.delete(upload.id)
    await uploads.delete(upload.id)
    with pytest.raises(NotFound):
        await uploads.get(upload.id)
    with pytest.raises(NotFound):
        await whole(uploads, upload)
    assert stored(tmp_path) == []
    assert documents.rows == {}


async def test_an_upload_that_breaks_off_leaves_nothing(uploads, documents, tmp_path):
    with pytest.raises(ConnectionError):
        await uploads.add(NewUpload(name="a"), broken(b"x" * CHUNK, b"y"))
    with pytest.raises(TooLarge):
        await uploads.add(NewUpload(name="a"), pieces(b"x" * 11), most=10)
    assert stored(tmp_path) == []
    assert documents.rows == {}


@pytest.fixture
def later(monkeypatch):
    """Move the clock."""
    base, moved = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: base() + moved[0])

    def move(seconds):
        moved[0] += seconds

    return move


async def begin(uploads, pieces):
    """Begin an upload that never ends, as a crash leaves it, and return its task once a chunk is stored."""
    stored = asyncio.Event()

    async def content():
        for piece in pieces:
            yield piece
        stored.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(uploads.add(NewUpload(name="a"), content()))
    await stored.wait()
    return task


async def test_what_a_crash_leaves_is_removed_later(uploads, documents, tmp_path, later):
    crashed = await begin(uploads, [b"x" * CHUNK])
    left = dict(documents.rows)
    await uploads.tidy()
    assert len(stored(tmp_path)) == 1
    crashed.cancel()
    await asyncio.wait([crashed])
    assert (stored(tmp_path), documents.rows) == ([], {})  # a cancelled request cleans up at once, a crash cannot
    documents.rows.update(left)
    await uploads._blobs.write(next(iter(left))[1].split()[1], pieces(b"abc"), most=10)
    later(90_000)
    await uploads.add(NewUpload(name="b"), pieces(b""))
    assert stored(tmp_path) == []
    assert {kind for kind, _ in documents.rows} == {"upload"}


@pytest.mark.parametrize("how", [asyncio.CancelledError, StoreUnreachable])
async def test_a_file_that_is_there_keeps_its_bytes_whatever_its_client_heard(uploads, documents, later, how):
    """The commit happens, its answer is lost."""
    write, lost = documents.write, [how("lost")]

    async def answered(writes):
        done = await write(writes)
        if any(isinstance(one, Put) and one.kind == "upload" for one in writes) and lost:
            raise lost.pop()
        return done

    documents.write = answered
    with pytest.raises(how):
        await uploads.add(NewUpload(name="a", key="k"), pieces(b"abc"))
    later(90_000)
    await uploads.tidy()
    upload = await uploads.add(NewUpload(name="a", key="k"), broken())
    assert await whole(uploads, upload) == b"abc"


async def test_an_upload_that_was_taken_for_deletion_does_not_end(uploads, documents, tmp_path, later):
    ends = asyncio.Event()

    async def slow():
        yield b"x" * CHUNK
        await ends.wait()
        yield b"end"

    task = asyncio.create_task(uploads.add(NewUpload(name="a", key="k"), slow()))
    while not (tmp_path / "uploads").exists() or not stored(tmp_path):
        await asyncio.sleep(0.01)
    later(90_000)
    delete = uploads._blobs.delete

    async def meanwhile(file):
        """The upload ends while its bytes are deleted."""
        uploads._blobs.delete = delete
        await delete(file)
        ends.set()
        await asyncio.wait([task])

    uploads._blobs.delete = meanwhile
    await uploads.tidy()
    with pytest.raises(Conflict):
        await task
    assert (stored(tmp_path), documents.rows) == ([], {})


async def test_each_home_deletes_its_own_bytes(uploads, documents, tmp_path, later):
    """Deleted, expired or left by a crash: a node of another home deletes nothing and forgets nothing."""
    there = Uploads(documents, Blobs(lambda: FolderObjects.make(tmp_path / "there")), home="there", shared=False)
    gone = await uploads.add(NewUpload(name="gone"), pieces(b"abc"))
    old = await uploads.add(NewUpload(name="old", seconds=5), pieces(b"abc"))
    crashed = await begin(uploads, [b"x" * CHUNK])
    await there.delete(gone.id)
    later(90_000)
    for upload in (gone, old):
        with pytest.raises(NotFound):
            await there.get(upload.id)
    await there.tidy()
    assert len(stored(tmp_path)) == 3
    await uploads.tidy()
    assert (stored(tmp_path), documents.rows) == ([], {})
    crashed.cancel()
    await asyncio.wait([crashed])


async def test_bytes_that_cannot_be_reached_are_deleted_later(uploads, documents, tmp_path):
    upload = await uploads.add(NewUpload(name="a"), pieces(b"abc"))
    delete = uploads._blobs.delete

    async def away(file):
        uploads._blobs.delete = delete
        raise ObjectsFailed("away")

    uploads._blobs.delete = away
    await uploads.delete(upload.id)
    with pytest.raises(NotFound):
        await uploads.get(upload.id)
    assert len(stored(tmp_path)) == 1
    await uploads.tidy()
    assert (stored(tmp_path), documents.rows) == ([], {})


async def test_a_key_makes_one_file(uploads, documents, tmp_path):
    first = await uploads.add(NewUpload(name="a", key="k"), pieces(b"abc"))
    assert await uploads.add(NewUpload(name="a", key="k"), broken()) == first
    other = await uploads.add(NewUpload(name="a", key="k", owner="bob"), pieces(b"abc"))
    assert other.id != first.id

    async def meanwhile():
        yield b"abc"
        await uploads.add(NewUpload(name="c", key="race"), pieces(b"first"))

    assert (await uploads.add(NewUpload(name="c", key="race"), meanwhile())).size == 5
    assert len(stored(tmp_path)) == 3
    await uploads.delete(first.id)
    again = await uploads.add(NewUpload(name="a", key="k"), pieces(b"new"))
    assert await whole(uploads, again) == b"new"


async def test_a_file_expires_and_leaves_nothing_though_nobody_asks(uploads, documents, tmp_path, later):
    upload = await uploads.add(NewUpload(name="a", seconds=60, key="k"), pieces(b"abc"))
    stays = await uploads.add(NewUpload(name="b", seconds=86_400), pieces(b"abc"))
    await uploads.tidy()
    assert len(stored(tmp_path)) == 2
    later(61)
    with pytest.raises(NotFound):
        await uploads.get(upload.id)
    again = await uploads.add(NewUpload(name="a", key="k"), pieces(b"new"))  # tidies, too
    assert await whole(uploads, again) == b"new"
    assert await whole(uploads, await uploads.get(stays.id)) == b"abc"
    assert len(stored(tmp_path)) == 2
    later(86_400)
    await uploads.tidy()
    assert [upload.id for upload in await uploads.find(DocumentQuery(kind=""))] == [again.id]
    assert len(stored(tmp_path)) == 1
    assert not [key for key in documents.rows if key[0] == "upload.due"]


async def test_bytes_of_another_home_are_refused_with_the_remedy(uploads, documents):
    upload = await uploads.add(NewUpload(name="a"), pieces(b"abc"))
    there = Uploads(documents, uploads._blobs, home="there", shared=False)
    with pytest.raises(Conflict, match="--snapshots"):
        await whole(there, await there.get(upload.id))

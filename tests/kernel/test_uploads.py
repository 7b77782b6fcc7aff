"""What nodes do with uploaded files by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.uploads import NewUpload
from roost.log.documents import DocumentQuery

from .support import place, running, so


async def _abc() -> AsyncIterator[bytes]:
    yield b"abc"


def _stored(home: Path) -> list[Path]:
    return [one for one in (home / "uploads" / "uploads").rglob("*") if one.is_file()]


async def test_a_node_deletes_what_is_due_at_its_start(tmp_path: Path) -> None:
    """Its own files alone, with nobody who asks for a file."""
    one, two = tmp_path / "one", tmp_path / "two"
    for home in (one, two):
        async with running(home) as runtime:
            uploads = runtime.node.feature(UploadDuties).uploads
            await uploads.add(NewUpload(name="stays"), _abc())
            await uploads.add(NewUpload(name="due", seconds=-1), _abc())
    there = _stored(one)
    async with running(two) as runtime:
        await so(lambda: len(_stored(two)) == 1)
        assert _stored(one) == there
        known = await runtime.node.feature(UploadDuties).uploads.find(DocumentQuery(kind=""))
        assert len(known) == 1 + (len(there) if place.url else 0)

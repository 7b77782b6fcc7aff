"""Save a snapshot: only differences from the last one are read and stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import NamedTuple

import msgspec

from roost.errors import TooLarge
from roost.workspace.chunk_transfer import Jobs, Packer, Traffic
from roost.workspace.file_cache import Remembered, glance, read_index, remember
from roost.workspace.manifest import (
    PIECE,
    VERSION,
    Blob,
    Held,
    Item,
    Piece,
    Root,
    pack_root,
    segments,
    snapshot_key,
    unpack_root,
)
from roost.workspace.scan import Found, Signature, scan
from roost.workspace.snapshot_contents import load
from roost.workspace.snapshots import Place, Saved
from roost.workspace.stable_read import Reader

_SMALL = PIECE // 4
_MOST_SMALL = 128
"""Each save of a few files makes small blobs. Above this number they are packed together, so that the number of objects
follows the size of the tree and not the number of saves."""
_LEAST_USED = 4
"""A blob of which less than one in so many bytes is still needed is packed anew."""
_NOTHING = Root(VERSION, 0, 0, (), ())
_UNKNOWN: tuple[Item | None, Signature | None] = (None, None)


class Caps(NamedTuple):
    """Limits of one workspace; `files` counts folders and links too."""

    files: int = 200_000
    bytes: int = 64 * 1024**3


class Draft(NamedTuple):
    """An item whose pieces are not located yet: `pieces` are their digests."""

    item: Item
    signature: Signature | None
    pieces: list[bytes]


class Save:
    """One call of `Snapshots.save`. Blocks."""

    def __init__(self, traffic: Traffic, place: Place, today: Callable[[], int], stop: Event, caps: Caps) -> None:
        self._traffic = traffic
        self._place = place
        self._today = today
        self._stop = stop
        self._caps = caps
        self._skipped: list[str] = []

    def run(self, base: str | None) -> Saved:
        tree = self._scan()
        known = glance(self._place.memory, base, tree)
        if known is not None:
            return Saved(base, known.files, known.size, 0, tuple(self._skipped))
        remembered = read_index(self._place.memory)
        data, items = load(self._traffic, base, remembered, self._stop)
        root = unpack_root(base, data) if base is not None else _NOTHING
        where = {piece.digest: piece for item in items for piece in item.pieces}
        where.update((piece.digest, piece) for piece in root.segments)
        with Jobs(self._traffic, self._stop) as jobs:
            packer = Packer(self._traffic, jobs, where, self._today)
            drafts = self._drafts(tree, remembered, packer)
            if _unchanged(drafts, items):
                return self._said(remembered, Remembered(base, data, _signed(items, drafts)))
            drafts = self._repacked(drafts, packer, root)
            packer.close_blob()
            items = [_placed(draft, packer.where) for draft in drafts]
            snapshot, data = pack_root(_new_root(items, packer, root), self._today())
            jobs.settle()  # an existing snapshot must have all its parts
            packer.send(snapshot_key(snapshot), data)
        return self._said(remembered, Remembered(snapshot, data, _signed(items, drafts)), jobs.bytes)

    def _scan(self) -> list[Found]:
        tree = scan(self._place.folder, files=self._caps.files)
        size = sum(found.size for found in tree.found)
        if size > self._caps.bytes:
            raise TooLarge(f"the workspace has {size} bytes and the limit is {self._caps.bytes}: too many to save")
        self._skipped += tree.skipped
        return tree.found

    def _drafts(self, tree: Sequence[Found], remembered: Remembered, packer: Packer) -> list[Draft]:
        """Make the drafts of all items. Reads only the files that may have changed."""
        old = {item.path: (item, signature) for item, signature in remembered.files if signature is not None}
        drafts: list[Draft] = []
        reader = Reader(self._place.folder)
        try:
            for found in tree:
                before, signature = old.get(found.path, _UNKNOWN)
                if found.kind != "file":
                    item = Item(found.path, found.kind, found.mode, target=found.target)
                    drafts.append(Draft(item, None, []))
                elif before is not None and signature == found.signature and packer.has(pieces := before.digests):
                    drafts.append(Draft(before, signature, pieces))
                elif (draft := self._read(reader, found.path, packer)) is not None:
                    drafts.append(draft)
        finally:
            reader.close()
        return drafts

    def _read(self, reader: Reader, path: bytes, packer: Packer) -> Draft | None:
        name = os.fsdecode(path)
        try:
            content = reader.read(path, packer.add)
        except OSError as error:
            self._skipped.append(f"{name}: {error.strerror}")
            return None
        if content is None:
            return None
        if not content.steady:
            self._skipped.append(f"{name}: it changes all the time, and is saved as it was in between")
        item = Item(path, "file", content.mode, content.size, content.mtime_ns)
        return Draft(item, content.signature, content.pieces)

    def _repacked(self, drafts: list[Draft], packer: Packer, root: Root) -> list[Draft]:
        """Pack the content of hardly used blobs, and of many small ones, together with the new content."""
        retired = {held.blob for held in root.blobs if held.used * _LEAST_USED < held.size}
        small = [held.blob for held in root.blobs if held.size < _SMALL]
        if len(small) > _MOST_SMALL:
            retired.update(small)
        if not retired:
            return drafts
        lost = packer.forget(retired)
        reader = Reader(self._place.folder)
        try:
            again = [
                draft if lost.isdisjoint(draft.pieces) else self._read(reader, draft.item.path, packer)
                for draft in drafts
            ]
        finally:
            reader.close()
        return [draft for draft in again if draft is not None]

    def _said(self, old: Remembered, new: Remembered, written: int = 0) -> Saved:
        remember(self._place.memory, old, new)
        sizes = [item.size for item, _ in new.files if item.kind == "file"]
        return Saved(new.snapshot, len(sizes), sum(sizes), written, tuple(self._skipped))


def _unchanged(drafts: list[Draft], items: list[Item]) -> bool:
    return len(drafts) == len(items) and all(
        draft.item.face == item.face and draft.pieces == item.digests for draft, item in zip(drafts, items, strict=True)
    )


def _placed(draft: Draft, where: Mapping[bytes, Piece]) -> Item:
    pieces = tuple([where[digest] for digest in draft.pieces])
    return draft.item if draft.item.pieces == pieces else msgspec.structs.replace(draft.item, pieces=pieces)


def _signed(items: list[Item], drafts: list[Draft]) -> list[tuple[Item, Signature | None]]:
    return [(item, draft.signature) for item, draft in zip(items, drafts, strict=True)]


def _new_root(items: list[Item], packer: Packer, old: Root) -> Root:
    digests = [packer.add(data) for data in segments(items)]
    packer.close_blob()
    cut = tuple(packer.where[digest] for digest in digests)
    sizes = {**{held.blob: held.size for held in old.blobs}, **packer.sizes}
    used: Counter[Blob] = Counter()
    for piece in {*cut, *(piece for item in items for piece in item.pieces)}:
        used[piece.blob] += piece.size
    held = tuple(Held(blob, sizes[blob], used[blob]) for blob in sorted(used))
    files = [item.size for item in items if item.kind == "file"]
    return Root(VERSION, len(files), sum(files), cut, held)

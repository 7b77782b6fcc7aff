"""Load a snapshot's metadata: its root, and the list of its files."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Event

from roost.workspace.chunk_transfer import Jobs, Traffic
from roost.workspace.file_cache import Remembered
from roost.workspace.manifest import (
    Item,
    Piece,
    Root,
    SnapshotDamaged,
    check_tree,
    digest_of,
    snapshot_key,
    unpack_items,
    unpack_root,
)


def load_root(traffic: Traffic, snapshot: str) -> tuple[Root, bytes]:
    data = traffic.get(snapshot_key(snapshot))
    return unpack_root(snapshot, data), data


def load_items(traffic: Traffic, root: Root, stop: Event) -> list[Item]:
    """Return the items, sorted by path and checked to be safe to restore."""
    return joined(root, load_segments(traffic, root, stop, {}))


def joined(root: Root, segments: Mapping[bytes, list[Item]]) -> list[Item]:
    """Return the items of a root's segments, checked to be safe to restore."""
    items = [item for piece in root.segments for item in segments[piece.digest]]
    check_tree(items)
    return items


def load_segments(
    traffic: Traffic, root: Root, stop: Event, known: Mapping[bytes, list[Item]]
) -> dict[bytes, list[Item]]:
    """Return the items of each segment, by its digest. known: segments of another root, which are not read again."""
    wanted: dict[str, list[Piece]] = {}
    found: dict[bytes, list[Item]] = {}
    for piece in root.segments:
        if piece.digest in known:
            found[piece.digest] = known[piece.digest]
        else:
            wanted.setdefault(piece.blob.key, []).append(piece)

    def fetch(key: str) -> int:
        data = traffic.get(key)
        found.update((piece.digest, unpack_items(cut(data, piece))) for piece in wanted[key])
        return 0

    with Jobs(traffic, stop) as jobs:
        for key in wanted:
            jobs.run(lambda key=key: fetch(key))
    return found


def load(traffic: Traffic, snapshot: str | None, remembered: Remembered, stop: Event) -> tuple[bytes, list[Item]]:
    """Return the root's bytes and the items, from this machine's cache if it has them. None is the empty tree."""
    if snapshot is None:
        return b"", []
    if remembered.snapshot == snapshot:
        return remembered.root, [item for item, _ in remembered.files]
    root, data = load_root(traffic, snapshot)
    return data, load_items(traffic, root, stop)


def cut(blob: bytes, piece: Piece) -> bytes:
    """Cut a piece out of a blob. Raises `SnapshotDamaged` unless the bytes have its digest."""
    data = blob[piece.offset : piece.offset + piece.size]
    if digest_of(data) != piece.digest:
        raise SnapshotDamaged(f"the object {piece.blob.key!r} of the snapshot store is not what was written")
    return data

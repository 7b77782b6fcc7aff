"""Snapshots of a workspace: saved where every node can read them, restored where a session wakes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol, TypeAlias

from roost.workspace.manifest import Item
from roost.workspace.scan import Found

GRACE_DAYS = 2
"""So long a blob that nobody refers to is kept: whoever wrote it may be about to commit the snapshot that does."""


class Stopped(Exception):
    """The caller set `stop`: nothing came of it, and it may be begun again."""


class Place(NamedTuple):
    """A session's files on this machine. `folder` is what the agent works in, and need not exist. `memory` is a folder
    out of its reach, on the same file system, for what this machine remembers of it; made when first needed."""

    folder: Path
    memory: Path

    def beside(self, session: str) -> Place:
        """That of another session in the same home."""
        return Place(self.folder.with_name(session), self.memory.with_name(session))


class Saved(NamedTuple):
    """`snapshot` is None while there has never been a file. `files` and `bytes` count the regular files, `written` the
    bytes that went to the store. `skipped` says what cannot be kept (pipes, sockets, devices, what cannot be read) or
    changed all the time, each as `path: why`. A means that does not look at each file counts none: None."""

    snapshot: str | None
    files: int | None
    bytes: int | None
    written: int
    skipped: tuple[str, ...]


class Restored(NamedTuple):
    """`fetched`: files that came from the store, or from the folder that was forked; `kept`: those that were there
    already, as they should be."""

    fetched: int
    kept: int


class Swept(NamedTuple):
    """How many objects were removed and how many kept, with their bytes as stored."""

    objects: int
    bytes: int
    kept: int
    kept_bytes: int


Entry: TypeAlias = Item | Found


class View(Protocol):
    """All methods block, and raise `OSError`, `ObjectsFailed` and `SnapshotDamaged`. For one thread."""

    entries: Mapping[bytes, Entry]
    """By path, in `manifest.order`."""

    def digests(self, path: bytes) -> list[bytes]:
        """Return the digests of a file's pieces."""
        ...

    def read(self, path: bytes) -> bytes:
        """Return a file's bytes."""
        ...

    def close(self) -> None: ...


class Snapshots(Protocol):
    """Where a machine can do better than copying, it does so behind these methods. `roost.testing.snapshots` is the
    conformance suite.

    All block; threads may call them at once, for one place one at a time. They raise `ObjectsFailed` (safe to repeat),
    `SnapshotDamaged`, `Stopped` soon after `stop` is set, and `OSError` of the machine's own disk.
    """

    def prepare(self, place: Place) -> None:
        """Before anybody works in the folder: what the means needs of it. A folder that is there keeps its files."""
        ...

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        """Save what differs from the snapshot `base`, the newest that is known for sure to stay: that of the log. When
        nothing does, nothing is written and `snapshot` is `base`. Each file is saved as of one moment: one that changes
        while it is read is read again. Raises `TooLarge` above the store's caps."""
        ...

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        """Make the folder what the snapshot holds, None for no file. What is there already and proven the same is
        not fetched. A crash leaves the old folder, the new one or none: never a mixture; do it again then.

        `in_place`: the folder itself stays, for something is mounted from it or runs in it, and only what is in it is
        replaced. A crash may leave a mixture then, which the same call makes whole."""
        ...

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        """From then on `to` has this place's snapshot under the same name as its own, and neither place needs the
        other; no folder changes. What it has already is not asked of `place`, which may be gone then. Whoever works in
        either, or calls `forget` or this at the same time, may go on. Cut off, it is done again. Raises
        `SnapshotDamaged` when the place has no such snapshot, or not all of it any more."""
        ...

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        """`lend`, and make the other folder what the snapshot holds. Nobody works in `to`."""
        ...

    def view(self, place: Place, snapshot: str | None) -> View:
        """Return a view of a snapshot of this place, None for no file. Raises `SnapshotDamaged` when it has no such
        snapshot."""
        ...

    def forget(self, place: Place, keep: Collection[str], stop: Event, *, thorough: bool = False) -> int:
        """Of the place's own snapshots all but these may go: `keep` are those that its log refers to, or is about to.
        Returns how many went: none while it does not pay, which `thorough` allows for an eighth of those kept at most.
        A store that places share removes nothing here: `sweep` does, by all logs."""
        ...

    def close(self) -> None: ...


class SharedSnapshots(Snapshots, Protocol):
    """In a store that all nodes share, and all sessions of a database."""

    def items(self, snapshot: str) -> list[Item]:
        """Everything in a snapshot, sorted by path."""
        ...

    def sweep(self, keep: Mapping[str, str], stop: Event, *, dry: bool = False) -> Swept:
        """Remove what was written more than two days ago and is needed by no snapshot of `keep` and by none that was
        written since; `dry` only counts it. `keep`
        must name all that may ever be restored or saved upon, as of a moment before the call, and says who needs each,
        for messages. Snapshots saved meanwhile are safe: they need what their base needs, and what was just written.
        Raises, having removed nothing, `SnapshotDamaged` when one of `keep` is not there, and `Conflict` when not all
        that is there was written for the caller's own database. Stopped or cut off, it has removed a part, and may be
        begun again."""
        ...

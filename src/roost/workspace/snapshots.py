"""The protocol of workspace snapshots: saved where every node can read them, restored where a session wakes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol, TypeAlias

from roost.workspace.manifest import Item
from roost.workspace.scan import Found

GRACE_DAYS = 2
"""Days for which an unreferenced blob is kept: its writer may be about to commit the snapshot that refers to it."""


class Stopped(Exception):
    """The caller set `stop`: the operation was abandoned and may be repeated."""


class Place(NamedTuple):
    """A session's files on this machine. `folder`: what the agent works in; need not exist. `memory`: a folder out of
    its reach, on the same file system, for this machine's cache; made when first needed."""

    folder: Path
    memory: Path

    def beside(self, session: str) -> Place:
        """Return the place of another session in the same home."""
        return Place(self.folder.with_name(session), self.memory.with_name(session))


class Saved(NamedTuple):
    """The result of a save. `snapshot`: None while there has never been a file. `files` and `bytes` count the regular
    files; None where the method does not look at each file. `written`: bytes sent to the store. `skipped`: entries that
    cannot be saved (pipes, sockets, devices, unreadable ones) or changed all the time, each as `path: why`."""

    snapshot: str | None
    files: int | None
    bytes: int | None
    written: int
    skipped: tuple[str, ...]


class Restored(NamedTuple):
    """`fetched`: files from the store, or from the forked folder. `kept`: files that were already here and right."""

    fetched: int
    kept: int


class Swept(NamedTuple):
    """Numbers of removed and kept objects, and their bytes as stored."""

    objects: int
    bytes: int
    kept: int
    kept_bytes: int


Entry: TypeAlias = Item | Found


class View(Protocol):
    """The files of a tree, read-only. Methods block, and raise `OSError`, `ObjectsFailed` and `SnapshotDamaged`. For
    one thread."""

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
    """Saves and restores workspaces. An implementation may use faster means than copying. `roost.testing.snapshots` is
    the conformance suite.

    All methods block. They are thread-safe, but allow only one call per place at a time. They raise `ObjectsFailed`
    (may be repeated), `SnapshotDamaged`, `Stopped` soon after `stop` is set, and `OSError` of the machine's own disk.
    """

    def prepare(self, place: Place) -> None:
        """Prepare the folder for this method, before any command runs in it. An existing folder keeps its files."""
        ...

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        """Save the differences from the snapshot `base`, the newest one that is sure to stay: that of the log.

        Without differences nothing is written and `snapshot` is `base`. Each file is saved as of one moment: one that
        changes while it is read is read again. Raises `TooLarge` above the store's caps."""
        ...

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        """Make the folder equal to the snapshot, None for no file. Files already here and proven the same are not
        fetched. A crash leaves the old folder, the new one or none, never a mixture; repeat the call then.

        `in_place`: keep the folder itself, because something is mounted from it or runs in it, and replace only its
        content. A crash may then leave a mixture, which the same call repairs."""
        ...

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        """Pin a snapshot of `place` for `to`: afterwards `to` has it under the same name as its own, and neither place
        needs the other. No folder changes.

        If `to` has it already, `place` is not read and may be gone. Work in either place, `forget` and other calls of
        this may run at the same time. Repeat an interrupted call. Raises `SnapshotDamaged` when `place` does not have
        the whole snapshot any more."""
        ...

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        """Pin the snapshot as `lend` does, and make `to`'s folder equal to it. No process may work in `to`."""
        ...

    def view(self, place: Place, snapshot: str | None, *, near: View | None = None) -> View:
        """Return a view of a snapshot of this place, None for no file. Raises `SnapshotDamaged` when there is no such
        snapshot. near: a view of another snapshot, also a closed one: what both share need not be read again."""
        ...

    def forget(self, place: Place, keep: Collection[str], stop: Event, *, thorough: bool = False) -> int:
        """Allow removal of the place's own snapshots except `keep`: those that its log refers to, or soon will.

        Returns how many were removed. An implementation may leave some while removal does not pay; with `thorough` at
        most an eighth of the number kept. A store that places share removes nothing here: `sweep` does, by all
        logs."""
        ...

    def close(self) -> None: ...


class SharedSnapshots(Snapshots, Protocol):
    """Snapshots in a store that all nodes and all sessions of a database share."""

    def items(self, snapshot: str) -> list[Item]:
        """Return all entries of a snapshot, sorted by path."""
        ...

    def sweep(self, keep: Mapping[str, str], stop: Event, *, dry: bool = False) -> Swept:
        """Remove objects written more than two days ago that no snapshot needs, neither of `keep` nor a newer one.
        `dry` only counts them.

        `keep` must name every snapshot that may ever be restored or be a base, as of a moment before the call, and maps
        it to its user, for messages. Snapshots saved meanwhile are safe: they need what their base needs, and new
        objects. Raises, with nothing removed, `SnapshotDamaged` when one of `keep` is missing, and `Conflict` when not
        all objects were written for the caller's own database. When stopped or interrupted, a part is removed, and the
        call may be repeated."""
        ...

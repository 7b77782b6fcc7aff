"""What the index of a folder is made of: the protocols of its parts, and what a search returns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from roost.workspace.files import Held

How: TypeAlias = Literal["hybrid", "words"]
Kind: TypeAlias = Literal["words", "meaning", "both"]
Folder: TypeAlias = bytes
"""A folder below the root of an index, as the file system names it; empty for the root."""
HeldTest: TypeAlias = Callable[[str], Held | None]
"""Tells how the policy restricts a real path; None: it does not."""


class FileHit(msgspec.Struct, frozen=True, kw_only=True):
    """A found place. `path`: relative to the folder. `first`, `last`: lines of the piece that fits best, from 1; 0 when
    only the file's name is known. `snippet`: its text, shortened. `score`: compares hits of one search. `by`: what
    found it. `size`: bytes. `modified`: seconds since 1970."""

    path: str
    first: int
    last: int
    snippet: str
    score: float
    by: Kind
    size: int
    modified: float


class FoundFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a search. `how`: `words` when nothing was searched by meaning. `why`: why files could not be found
    by meaning (all of them if `how` is `words`), or which files are not in the index yet. `files`: files in the
    index."""

    hits: list[FileHit]
    how: How
    why: str | None = None
    files: int = 0
    seconds: float = 0.0


class IndexStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An index. `files`: files that can be found. `named`: those of them that are found by their names alone.
    `pieces`: pieces of text; `vectors`: those of them with a vector. `bytes`: on disk. `complete`: every file has been
    looked at. `follows`: changes are heard; else a search looks at all files first. `notes`: what was left out, and
    why."""

    files: int
    named: int
    pieces: int
    vectors: int
    bytes: int
    complete: bool
    follows: bool
    notes: list[str]


class Piece(NamedTuple):
    """Some lines of a text. first, last: line numbers from 1; of a PDF, page numbers."""

    first: int
    last: int
    text: str


class Text(NamedTuple):
    """The text of a file in pieces. why: what is missing of it, or None."""

    pieces: list[Piece]
    why: str | None = None


class TextReader(Protocol):
    """Make text of a document's bytes. Blocks. Never raises for wrong bytes: a file without readable text is found by
    its name."""

    def __call__(self, name: str, data: bytes) -> Text: ...


class ChangeListener(Protocol):
    """Hear of changes in watched folders. Called in any thread; returns at once."""

    def changed(self, folder: Folder, name: bytes) -> None:
        """An entry of a folder was made, written, moved or removed."""
        ...

    def lost(self) -> None:
        """Changes were lost, or the root itself was moved: everything must be looked at."""
        ...


class ChangeWatch(Protocol):
    """Tell listeners of changes in folders. All methods may be called in any thread."""

    def watch(self, listener: ChangeListener, root: Path, folder: Folder, fd: int) -> bool:
        """Watch a folder, open as `fd`, until `forget`. Returns False where changes cannot be heard: the caller then
        looks at all files itself."""
        ...

    def forget(self, listener: ChangeListener, folder: Folder | None = None) -> None:
        """Stop watching a folder and all below it; all folders of the listener without one."""
        ...

    def poll(self) -> None:
        """Hand on what the system has noted so far."""
        ...


class FileIndex(Protocol):
    """The index of one folder: derived from its files, so it may be removed and is made again.

    A search answers by what is in the index; `caught_up` waits until that is what the folder holds."""

    async def search(
        self,
        query: str,
        *,
        how: How = "hybrid",
        under: str = "",
        limit: int = 10,
        held: Collection[HeldTest] = (),
    ) -> FoundFiles:
        """Return the best places, at most one in a file. under: only in this folder. held: tests of policies; what one
        restricts is left out. Raises `Invalid` for an empty query."""
        ...

    async def caught_up(self, seconds: float) -> bool:
        """Wait until the index holds all changes that had happened before the call. Returns False after `seconds`."""
        ...

    async def status(self) -> IndexStatus: ...

    async def close(self) -> None: ...

"""Keep the rows of an index in step with a folder: look at everything once, then only at what changed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from roost.features.files.ignoring import IGNORE_FILES, Ignoring
from roost.features.files.index_rows import FileRow, IndexRows, NewFile
from roost.features.files.protocols import ChangeWatch, Folder, HeldTest, Text, TextReader
from roost.features.files.texts import DOCUMENTS, MOST_BYTES, name_words
from roost.features.files.tree_reading import Bytes, Entry, device_of, entries, entry, joined, opened, read
from roost.workspace.safe_paths import digest_of
from roost.workspace.walk import printable

MOST_FILES = 200_000
"""Most files of an index."""
MOST_SIZE = 4 * 1024**3
"""Bytes of an index on disk from which on new files are found by their names alone."""
_DEPTH = 64
_BATCH_FILES = 200
_BATCH_BYTES = 4 * 1024 * 1024
_FOLDERS = 100_000
_DOCUMENT = 32 * 1024 * 1024
_DOCUMENTS_SECONDS, _DOCUMENTS_EACH = 600.0, 3600.0
"""Most seconds of an hour that reading the documents of one folder takes."""
_TICK_NS = 2_100_000_000
"""A file that changed less long ago is read again at the next look: a further change might show the same times."""
_SLOW = 1.0
"""Seconds of a document after which a batch ends, so that the indexes of other folders have their turn."""
_DIRTY = 20_000
"""Entries that wait to be looked at; with more of them, everything is looked at."""


class Batch(NamedTuple):
    """What one step changed: pieces with the digests of their texts, and removed pieces."""

    added: list[tuple[int, bytes]]
    removed: list[int]


class FolderSync:
    """The work of one index, in steps that block for a fraction of a second each. held: the policy's test of real paths
    that may not be read. Implements `ChangeListener`; all other methods are for one thread at a time."""

    def __init__(
        self,
        root: Path,
        rows: IndexRows,
        read_text: TextReader,
        watch: ChangeWatch,
        held: HeldTest | None,
        heard: Callable[[], None],
    ) -> None:
        self._root, self._rows, self._text, self._watch, self._held = root, rows, read_text, watch, held
        self._heard = heard
        self._ignoring = Ignoring(self._ignore_file)
        self._lock = threading.Lock()
        self._dirty: dict[Folder, set[bytes]] = {}
        self._waiting = 0
        self._all = True
        self._device = -1
        self._new: list[NewFile] = []
        self._gone: list[int] = []
        self._bytes = 0
        self._seen: set[Folder] = set()
        self._documents = (time.monotonic(), 0.0)
        self._counting = False
        self.files = 0
        self.follows = True
        self.left_out: set[str] = set()

    # Changes that are heard of

    def changed(self, folder: Folder, name: bytes) -> None:
        with self._lock:
            names = self._dirty.setdefault(folder, set())
            self._waiting += name not in names
            names.add(name)
            self._all = self._all or self._waiting > _DIRTY
        self._heard()

    def lost(self) -> None:
        with self._lock:
            self._all = True
        self._heard()

    def has_work(self) -> bool:
        with self._lock:
            return self._all or bool(self._dirty)

    def look_again(self) -> None:
        """Look at everything at the next steps."""
        with self._lock:
            self._all = True

    # Steps

    def steps(self) -> Iterator[Batch]:
        """Do all that waits. May be closed after any step: what was not done waits again."""
        while True:
            with self._lock:
                everything, dirty = self._all, self._dirty
                self._all, self._dirty, self._waiting = False, {}, 0
            if not everything and not dirty:
                return
            try:
                yield from self._look_at_all() if everything else self._look_at(dirty)
            except BaseException:
                self._new, self._gone, self._bytes = [], [], 0
                self.look_again()
                raise

    def _look_at_all(self) -> Iterator[Batch]:
        self._ignoring.clear()
        self.left_out.clear()
        self._watch.forget(self)
        self.follows = True
        self._seen, self.files, self._counting = set(), 0, True
        try:
            self._device = device_of(self._root)
        except OSError:
            self._device = -1
        if self._device >= 0:
            yield from self._folder(b"")
        for folder in self._rows.folders():
            if folder not in self._seen:
                self._gone += [row.id for row in self._rows.in_folder(folder).values()]
                yield from self._full()
        self._seen, self._counting = set(), False
        yield self._write()

    def _folder(self, top: Folder) -> Iterator[Batch]:
        """Look at a folder and all below it."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if len(self._seen) >= _FOLDERS or folder.count(b"/") >= _DEPTH:
                self.left_out.add("some folders: there are too many, or they are too deep")
                continue
            self._seen.add(folder)
            try:
                with opened(self._root, folder) as fd:
                    if not self._watch.watch(self, self._root, folder, fd):
                        self.follows = False
                    found = entries(fd, self._device, MOST_FILES)
                    known = self._rows.in_folder(folder)
                    for one in sorted(found):
                        if self._leaves_out(folder, one):
                            continue
                        if one.sign is None:
                            waiting.append(joined(folder, one.name))
                            continue
                        self._file(fd, folder, one, known.pop(one.name, None))
                        yield from self._full()
                    self._gone += [row.id for row in known.values()]
            except OSError:  # gone, or not ours to read
                self._gone += [row.id for row in self._rows.in_folder(folder).values()]

    def _look_at(self, dirty: dict[Folder, set[bytes]]) -> Iterator[Batch]:
        for folder, names in dirty.items():
            if any(name in IGNORE_FILES for name in names):
                self._ignoring.forget(folder)
                self.look_again()  # its patterns may be about all below
            try:
                with opened(self._root, folder) as fd:
                    out = self._ignoring.leaves_out_way(folder)
                    for name in sorted(names):
                        found = None if out else entry(fd, name, self._device)
                        yield from self._entry(fd, folder, name, found)
            except OSError:
                for name in names:
                    self._drop(folder, name)
                yield from self._full()
        yield self._write()

    def _entry(self, fd: int, folder: Folder, name: bytes, found: Entry | None) -> Iterator[Batch]:
        if found is None or self._leaves_out(folder, found):
            self._drop(folder, name)
        elif found.sign is None:
            self._seen = set()
            yield from self._folder(joined(folder, name))
        else:
            known = self._rows.file(folder, name)
            if known is None:
                self._drop(folder, name)  # a folder that became a file
            self._file(fd, folder, found, known)
        yield from self._full()

    def _drop(self, folder: Folder, name: bytes) -> None:
        known = self._rows.file(folder, name)
        if known is not None:
            self._gone.append(known.id)
            return
        below = joined(folder, name)
        if gone := self._rows.below(below):
            self._gone += gone
        self._watch.forget(self, below)

    def _leaves_out(self, folder: Folder, one: Entry) -> bool:
        if self._ignoring.leaves_out(folder, one.name, is_folder=one.sign is None):
            return True
        if self._held is None or one.sign is None:
            return False
        return self._held(os.path.join(str(self._root), os.fsdecode(joined(folder, one.name)))) is not None

    def _file(self, fd: int, folder: Folder, found: Entry, known: FileRow | None) -> None:
        assert found.sign is not None
        self.files += known is None or self._counting
        if known is not None and known.sign == found.sign:
            return
        if known is None and self.files > MOST_FILES:
            self.left_out.add(f"files beyond {MOST_FILES:,}")
            return
        got = read(fd, found.name, _DOCUMENT if _is_document(found.name) else MOST_BYTES)
        if got is None:
            if known is not None:
                self._gone.append(known.id)
            return
        self._new.append(self._made(folder, found.name, got, known))
        self._bytes += len(got.data)

    def _made(self, folder: Folder, name: bytes, got: Bytes, known: FileRow | None) -> NewFile:
        path = printable(os.fsdecode(joined(folder, name)))
        digest = bytes.fromhex(digest_of(got.data))
        former = None if known is None else known.id
        sign = got.sign if got.sign[3] < time.time_ns() - _TICK_NS else (*got.sign[:3], 0)
        if known is not None and known.digest == digest and got.whole:
            return NewFile(folder, name, sign, digest, known.why, "", None, former)
        if self._rows.size() > MOST_SIZE:
            self.left_out.add(f"the text of files after the index had {MOST_SIZE >> 30} GiB")
            return NewFile(folder, name, sign, None, "the index is full", name_words(path), (), former)
        text = self._text_of(path, name, got.data)
        why = text.why
        if not got.whole and text.pieces:
            why = f"only its first {MOST_BYTES >> 20} MiB are searched"
        kept = digest if text.pieces else None
        return NewFile(folder, name, sign, kept, why, name_words(path), text.pieces, former)

    def _text_of(self, path: str, name: bytes, data: bytes) -> Text:
        """Return the text of a file. A folder full of documents that take long to read does not take all time."""
        if not _is_document(name):
            return self._text(path, data)
        began = time.monotonic()
        if began - self._documents[0] > _DOCUMENTS_EACH:
            self._documents = began, 0.0
        if self._documents[1] > _DOCUMENTS_SECONDS:
            return Text([], "documents took too long to read; changed again in an hour, they are tried again")
        text = self._text(path, data)
        took = time.monotonic() - began
        self._documents = self._documents[0], self._documents[1] + took
        if took > _SLOW:
            self._bytes = _BATCH_BYTES
        return text

    def _full(self) -> Iterator[Batch]:
        if len(self._new) + len(self._gone) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            yield self._write()

    def _write(self) -> Batch:
        new, gone = self._new, self._gone
        self._new, self._gone, self._bytes = [], [], 0
        if not new and not gone:
            return Batch([], [])
        return Batch(*self._rows.change(new, gone))

    def _ignore_file(self, folder: Folder, name: bytes, most: int) -> bytes | None:
        try:
            with opened(self._root, folder) as fd:
                got = read(fd, name, most)
        except OSError:
            return None
        return None if got is None else got.data


def _is_document(name: bytes) -> bool:
    return os.path.splitext(os.fsdecode(name))[1].lower() in DOCUMENTS

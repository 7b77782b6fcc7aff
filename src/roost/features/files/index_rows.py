"""The rows of an index: a SQLite file with the files of a folder, their pieces of text, and a full-text index.

The file is derived data: a damaged one raises `Damaged`, and its owner removes it and begins anew. All methods block.
One thread writes at a time, another may read at the same time."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from roost.errors import RoostError
from roost.features.files.protocols import Folder, Piece
from roost.features.files.texts import hidden_words, spaced
from roost.memory.vectors import digest_of

_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files(
  id INTEGER PRIMARY KEY, folder BLOB NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
  inode INTEGER NOT NULL, ctime INTEGER NOT NULL, digest BLOB, why TEXT, UNIQUE(folder, name));
CREATE TABLE IF NOT EXISTS pieces(
  id INTEGER PRIMARY KEY, file INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, names TEXT NOT NULL,
  text TEXT NOT NULL, digest BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS pieces_of_file ON pieces(file);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
  names, text, parts, content='', columnsize=1, tokenize="porter unicode61 remove_diacritics 2");
CREATE VIRTUAL TABLE IF NOT EXISTS vocabulary USING fts5vocab(words, row);
"""
_WEIGHTS = "3.0, 1.0, 0.5"
_WORD = re.compile(r"[^\W_]+")
_COMMON = 4000
"""Most pieces that one query ranks. A word in more of them says little: it only counts beside rarer ones."""
_COUNTS = 20_000
_COUNT_SECONDS = 300.0
_TERMS = 24
_STOP = frozenset(
    "a an and are as at be by for from has have i in is it its of on or that the this to was were what when where which"
    " who will with my me our your do does did how all any there file files find show"
    " der die das und ein eine ist im in den dem zu von mit für auf wo was wie".split()
)


class Damaged(RoostError):
    """The file of an index cannot be read: it is made anew."""

    code, status = "index_damaged", 503


class FileRow(NamedTuple):
    """A file in the index. sign: size, mtime, inode, ctime. why: why its text is not there."""

    id: int
    name: bytes
    sign: tuple[int, int, int, int]
    digest: bytes | None
    why: str | None


class PieceRow(NamedTuple):
    """A piece with its file."""

    id: int
    file: int
    folder: Folder
    name: bytes
    first: int
    last: int
    text: str
    sign: tuple[int, int, int, int]


class NewFile(NamedTuple):
    """A file as it was read. names: its words. pieces: None keeps those of the former row (`former`), whose bytes were
    the same."""

    folder: Folder
    name: bytes
    sign: tuple[int, int, int, int]
    digest: bytes | None
    why: str | None
    names: str
    pieces: Sequence[Piece] | None
    former: int | None = None


class IndexRows:
    """One file. about: what the index depends on besides the folder, such as the policy; another one starts it anew.
    Raises `Damaged`, and `OSError`."""

    def __init__(self, path: Path, about: str) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._counts: dict[str, tuple[int, float]] = {}
        self._writer = self._open(path)
        try:
            with self._sound():
                self._begin(about)
                self._reader = self._open(path)
                self._reader.execute("PRAGMA query_only=ON")
        except BaseException:
            self._writer.close()
            raise

    def _open(self, path: Path) -> sqlite3.Connection:
        with self._sound():
            made = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("PRAGMA synchronous=OFF")  # derived data: what a power cut damages is made anew
            made.execute("PRAGMA secure_delete=FAST")
            made.execute("PRAGMA cache_size=-16000")
            made.execute("PRAGMA mmap_size=268435456")
            return made

    def _begin(self, about: str) -> None:
        self._writer.executescript(_TABLES)
        wanted = f"{_FORMAT} {about}"
        known = self._writer.execute("SELECT value FROM meta WHERE name='about'").fetchone()
        if known is not None and known[0] != wanted:
            raise Damaged("the index was made under another policy or by another version")
        self._writer.execute("INSERT OR REPLACE INTO meta VALUES('about', ?)", (wanted,))
        os.chmod(self.path, 0o600)

    @contextlib.contextmanager
    def _sound(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Damaged(f"the index cannot be read: {error}") from error

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    # What is there

    def in_folder(self, folder: Folder) -> dict[bytes, FileRow]:
        with self._writing, self._sound():
            rows = self._writer.execute(
                "SELECT id, name, size, mtime, inode, ctime, digest, why FROM files WHERE folder=?", (folder,)
            )
            return {row[1]: FileRow(row[0], row[1], row[2:6], row[6], row[7]) for row in rows}

    def file(self, folder: Folder, name: bytes) -> FileRow | None:
        with self._writing, self._sound():
            row = self._writer.execute(
                "SELECT id, name, size, mtime, inode, ctime, digest, why FROM files WHERE folder=? AND name=?",
                (folder, name),
            ).fetchone()
        return None if row is None else FileRow(row[0], row[1], row[2:6], row[6], row[7])

    def folders(self) -> list[Folder]:
        with self._writing, self._sound():
            return [row[0] for row in self._writer.execute("SELECT DISTINCT folder FROM files")]

    def counts(self) -> tuple[int, int, int]:
        """Return the number of files, of those found by name alone, and of pieces of text."""
        with self._reading, self._sound():
            files, named = self._reader.execute(
                "SELECT count(*), coalesce(sum(why IS NOT NULL AND digest IS NULL), 0) FROM files"
            ).fetchone()
            pieces = self._reader.execute("SELECT count(*) FROM pieces").fetchone()[0]
        return files, named, pieces

    def reasons(self) -> list[tuple[str, int]]:
        """Return why texts are missing, with the number of files."""
        with self._reading, self._sound():
            query = "SELECT why, count(*) FROM files WHERE why IS NOT NULL GROUP BY why ORDER BY 2 DESC LIMIT 10"
            return [(row[0], row[1]) for row in self._reader.execute(query)]

    def size(self) -> int:
        """Return the bytes on disk."""
        found = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                found += os.stat(f"{self.path}{suffix}").st_size
        return found

    def digests(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Return pieces by id with the digests of their texts."""
        with self._reading, self._sound():
            query = "SELECT id, digest FROM pieces WHERE id > ? ORDER BY id LIMIT ?"
            return self._reader.execute(query, (after, limit)).fetchall()

    def texts(self, ids: Sequence[int]) -> list[tuple[int, str]]:
        """Return the texts that stand for these pieces."""
        marks = ",".join("?" * len(ids))
        with self._reading, self._sound():
            rows = self._reader.execute(f"SELECT id, text, names FROM pieces WHERE id IN ({marks})", list(ids))
            return [(row[0], row[1] or row[2]) for row in rows]

    # Changes

    def change(self, files: Sequence[NewFile], gone: Sequence[int]) -> tuple[list[tuple[int, bytes]], list[int]]:
        """Write files and remove others, all or nothing. Returns the new pieces with their digests, and the ids of
        removed ones."""
        added: list[tuple[int, bytes]] = []
        removed: list[int] = []
        with self._writing, self._sound():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for id in gone:
                    removed += self._drop_pieces(id)
                    self._writer.execute("DELETE FROM files WHERE id=?", (id,))
                for one in files:
                    self._write(one, added, removed)
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
        return added, removed

    def _write(self, one: NewFile, added: list[tuple[int, bytes]], removed: list[int]) -> None:
        if one.pieces is None:
            self._writer.execute(
                "UPDATE files SET size=?, mtime=?, inode=?, ctime=? WHERE id=?", (*one.sign, one.former)
            )
            return
        if one.former is not None:
            removed += self._drop_pieces(one.former)
        row = self._writer.execute(
            "INSERT INTO files(folder, name, size, mtime, inode, ctime, digest, why) VALUES(?,?,?,?,?,?,?,?)"
            " ON CONFLICT(folder, name) DO UPDATE SET size=excluded.size, mtime=excluded.mtime, inode=excluded.inode,"
            " ctime=excluded.ctime, digest=excluded.digest, why=excluded.why RETURNING id",
            (one.folder, one.name, *one.sign, one.digest, one.why),
        ).fetchone()
        for piece in one.pieces or (Piece(0, 0, ""),):
            digest = digest_of(piece.text or one.names)
            made = self._writer.execute(
                "INSERT INTO pieces(file, first, last, names, text, digest) VALUES(?,?,?,?,?,?)",
                (row[0], piece.first, piece.last, one.names, piece.text, digest),
            )
            assert made.lastrowid is not None
            self._writer.execute(
                "INSERT INTO words(rowid, names, text, parts) VALUES(?,?,?,?)",
                (made.lastrowid, one.names, spaced(piece.text), hidden_words(piece.text)),
            )
            added.append((made.lastrowid, digest))

    def _drop_pieces(self, file: int) -> list[int]:
        rows = self._writer.execute("SELECT id, names, text FROM pieces WHERE file=?", (file,)).fetchall()
        for id, names, text in rows:
            self._writer.execute(
                "INSERT INTO words(words, rowid, names, text, parts) VALUES('delete',?,?,?,?)",
                (id, names, spaced(text), hidden_words(text)),
            )
        self._writer.execute("DELETE FROM pieces WHERE file=?", (file,))
        return [row[0] for row in rows]

    def below(self, folder: Folder) -> list[int]:
        """Return the files in a folder and below it."""
        with self._writing, self._sound():
            query = "SELECT id FROM files WHERE folder=? OR (folder >= ? AND folder < ?)"
            return [row[0] for row in self._writer.execute(query, (folder, folder + b"/", folder + b"0"))]

    # Search

    def by_words(self, query: str, limit: int) -> list[int]:
        """Return pieces that share words with the query, best first: those with all words before others. The cost is
        bounded by `_COMMON`, however many pieces share a word."""
        with self._reading, self._sound():
            words = telling_words(query)
            rare, total = list[str](), 0
            for count, word in sorted((self._count(word), word) for word in words):
                if count == 0:
                    continue
                total += count
                if rare and total > _COMMON:
                    break
                rare.append(word)
            if not rare:
                return []
            quoted = [f'"{word}"' for word in rare]
            find = self._ranked if total <= _COMMON or len(rare) > 1 else self._newest
            if len(rare) == 1 and self._count(rare[0]) > _COMMON:
                quoted = [f'"{word}"' for word in words if self._count(word)]
                find = self._newest
            found = find(" AND ".join(quoted), limit)
            if len(found) < limit and len(quoted) > 1:
                known = set(found)
                found += [id for id in find(" OR ".join(quoted), limit) if id not in known]
        return found[:limit]

    def _count(self, word: str) -> int:
        """Return how many pieces have a word, at most one more than `_COMMON`. What it was a while ago will do."""
        known = self._counts.get(word)
        now = time.monotonic()
        if known is None or known[1] < now:
            query = "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)"
            count = int(self._reader.execute(query, (f'"{word}"', _COMMON + 1)).fetchone()[0])
            if len(self._counts) >= _COUNTS:
                self._counts.clear()
            known = self._counts[word] = count, now + (_COUNT_SECONDS if count > _COMMON else 0.0)
        return known[0]

    def _ranked(self, match: str, limit: int) -> list[int]:
        rows = self._reader.execute(
            f"SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words, {_WEIGHTS}) LIMIT ?", (match, limit)
        )
        return [row[0] for row in rows]

    def _newest(self, match: str, limit: int) -> list[int]:
        """Return the pieces that were written last: to rank all would mean to read all."""
        query = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?"
        return [row[0] for row in self._reader.execute(query, (match, limit))]

    def pieces(self, ids: Sequence[int]) -> dict[int, PieceRow]:
        marks = ",".join("?" * len(ids))
        query = (
            "SELECT pieces.id, file, folder, name, first, last, text, size, mtime, inode, ctime FROM pieces"
            f" JOIN files ON files.id = pieces.file WHERE pieces.id IN ({marks})"
        )
        with self._reading, self._sound():
            rows = self._reader.execute(query, list(ids))
            return {row[0]: PieceRow(*row[:7], sign=row[7:11]) for row in rows}


def remove(path: Path) -> None:
    """Remove the file of an index that is not open. Raises `OSError`."""
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def telling_words(query: str) -> list[str]:
    """Return the words of a query that tell files apart."""
    words = list(dict.fromkeys(one.lower() for one in _WORD.findall(spaced(query))))[:_TERMS]
    return [one for one in words if one not in _STOP] or words

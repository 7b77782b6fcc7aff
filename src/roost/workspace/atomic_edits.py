"""Change several files together: all of them or none, whatever ends the process meanwhile.

Two phases with a note between them, as a database commits (write-ahead): the new content is written beside each file
and synced; then one rename makes the note final; then every file is put in its place. A crash before the note is final
leaves only files to delete; after a later crash `recover` finishes the work. A change with a key leaves a note that it
is done, which `applied` reads when the change is requested again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from roost.errors import Invalid, NotFound, RoostError, TooLarge
from roost.syncing import sync
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import (
    WRITE_CAP,
    admit,
    checked,
    digest_of,
    explained,
    missing,
    not_the_root,
    open_folder,
    read_file,
    remove_entry,
    size_of,
    write_new,
)

MOST = 1000
"""Most files of one change."""
_NOTE = "writes.json"
_FOR_EVER = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EMLINK}
"""Errors that no retry can resolve, unlike a full disk: a person must look at them."""
_SHOWN = 5


class Change(msgspec.Struct, frozen=True):
    """One file of a change. `path` is real, from `Workspace.resolve`. `data` None removes the file. `expected`: digest
    of the current content, None when no file may exist."""

    path: Path
    data: bytes | None
    expected: str | None


class _Entry(msgspec.Struct):
    """`folder` is relative to the workspace. `staged`: name of the new file beside `name`; None removes `name`.
    `digest`: of the new content."""

    folder: str
    name: str
    staged: str | None
    digest: str | None = None


class _Note(msgspec.Struct):
    phase: Literal["staging", "final", "done"]
    entries: list[_Entry]
    key: str | None = None
    lost: list[str] = []
    """Names of files that a finished change could not put in place."""


_decoder = msgspec.json.Decoder(_Note)
"""Made before threads use it: msgspec inspects a type at its first use, without a lock."""


def change(
    workspace: Workspace,
    changes: Sequence[Change],
    notes: Path,
    *,
    key: str | None = None,
    at: Callable[[str], None] = lambda place: None,
) -> dict[Path, str | None]:
    """Make all changes and return the new digests. Blocks.

    Raises what `safe_paths.write_file` raises, with nothing changed; `Invalid` for no change, two of one file, or more
    than 1,000; and what `recover` raises about an earlier change. `notes`: a folder outside the workspace, for this
    workspace alone. `key` names the change for `applied`. `at` is called with each step (for tests that end the process
    there)."""
    entries = _entries(workspace, changes)
    recover(workspace, notes)
    _check(workspace, changes)
    _admit(workspace, changes)
    os.makedirs(notes, mode=0o700, exist_ok=True)
    try:
        _put_note(notes, _Note("staging", entries))
        at("noted")
        for entry, one in zip(entries, changes, strict=True):
            _stage(workspace, entry, one)
            at("staged")
        _check(workspace, changes)
        final = _Note("final", entries, key)
        _put_note(notes, final)
    except BaseException:
        _undo(workspace, notes, entries)
        raise
    at("final")
    _finish(workspace, notes, final, at)
    return {one.path: entry.digest for one, entry in zip(changes, entries, strict=True)}


def recover(workspace: Workspace, notes: Path) -> bool:
    """Finish or undo a change that a crash interrupted. True when a change was finished. Raises `Invalid` (once) when
    files were changed meanwhile, so that a part of it is lost. No other writer may run in the workspace. Blocks."""
    note = _read_note(notes)
    if note is None or note.phase == "done":
        return False
    if note.phase == "staging":
        _undo(workspace, notes, note.entries)
        return False
    _finish(workspace, notes, note, lambda place: None)
    return True


def applied(workspace: Workspace, notes: Path, key: str) -> dict[Path, str | None] | None:
    """Return the digests that the change `key` made, if it was the last change here and the files are still the same.
    After a crash call `recover` first. Raises its error about this change at every call. Blocks."""
    note = _read_note(notes)
    if note is None or note.phase != "done" or note.key != key:
        return None
    if note.lost:
        raise _incomplete(note)
    found = {_folder(workspace, entry) / entry.name: entry.digest for entry in note.entries}
    return found if all(_is_now(workspace, path, digest) for path, digest in found.items()) else None


def _is_now(workspace: Workspace, path: Path, digest: str | None) -> bool:
    try:
        return read_file(workspace, path).digest == digest
    except NotFound:
        return digest is None
    except RoostError:
        return False


def _read_note(notes: Path) -> _Note | None:
    try:
        return _decoder.decode((notes / _NOTE).read_bytes())
    except FileNotFoundError:
        return None


def _entries(workspace: Workspace, changes: Sequence[Change]) -> list[_Entry]:
    if not 0 < len(changes) <= MOST:
        raise Invalid(f"one change is of 1 to {MOST} files, not of {len(changes)}")
    if len({one.path for one in changes}) < len(changes):
        raise Invalid("a file is named twice in one change; say its whole new content once")
    entries: list[_Entry] = []
    for one in changes:
        not_the_root(workspace, one.path)
        if one.data is not None and len(one.data) > WRITE_CAP:
            name = workspace.relative(one.path)
            raise TooLarge(f"{len(one.data)} bytes are too many for {name!r}; the limit is {WRITE_CAP}")
        staged = None if one.data is None else f".roost-{secrets.token_hex(8)}.tmp"
        digest = None if one.data is None else digest_of(one.data)
        entries.append(_Entry(workspace.relative(one.path.parent), one.path.name, staged, digest))
    return entries


def _admit(workspace: Workspace, changes: Sequence[Change]) -> None:
    size = files = 0
    folders: set[Path] = set()
    for one in changes:
        size += len(one.data or b"") - size_of(one.path)
        files += (one.expected is None) - (one.data is None)
        if one.data is not None:
            folders.update(missing(workspace, one.path.parent))
    admit(workspace, size, files + len(folders))


def _check(workspace: Workspace, changes: Sequence[Change]) -> None:
    for one in changes:
        name = workspace.relative(one.path)
        if one.data is not None and one.expected is None and not one.path.parent.exists():
            continue
        with explained(name), open_folder(workspace, one.path.parent) as folder:
            mode = checked(folder, one.path.name, name, one.expected)
            if mode is None and one.data is None:
                raise Invalid(f"{name!r} does not exist, so it cannot be removed")


def _stage(workspace: Workspace, entry: _Entry, one: Change) -> None:
    if entry.staged is None or one.data is None:
        return
    name = workspace.relative(one.path)
    with explained(name), open_folder(workspace, one.path.parent, create=True) as folder:
        mode = checked(folder, entry.name, name, one.expected)
        write_new(workspace, folder, entry.staged, one.data, mode)
        os.fsync(folder)


def _finish(workspace: Workspace, notes: Path, note: _Note, at: Callable[[str], None]) -> None:
    """Put every file in its place. Repeatable: a file in its place has no staged file any more. Files that can never be
    put in place, because they were changed after a crash, are reported once; then the change counts as done."""
    lost = [name for entry in note.entries if (name := _placed(workspace, entry, at)) is not None]
    done = _Note("done", note.entries, note.key, lost)
    if note.key is None:
        _drop_note(notes)
    else:
        _put_note(notes, done)
    at("done")
    if lost:
        raise _incomplete(done)


def _incomplete(note: _Note) -> Invalid:
    shown = ", ".join(map(repr, note.lost[:_SHOWN]))
    more = f" and {len(note.lost) - _SHOWN} more" if len(note.lost) > _SHOWN else ""
    return Invalid(
        f"of a change of {len(note.entries)} files that was cut off, {shown}{more} could not be put in place, since the"
        " files were changed meanwhile; the rest is done: read them before you change them again",
        code="change_incomplete",
    )


def _placed(workspace: Workspace, entry: _Entry, at: Callable[[str], None]) -> str | None:
    """Put one file in its place. Returns its name if that will never work, else None."""
    place = _folder(workspace, entry)
    name = workspace.relative(place / entry.name)
    with explained(name):
        try:
            with open_folder(workspace, place) as folder:
                if entry.staged is None:
                    os.unlink(entry.name, dir_fd=folder)
                else:
                    os.rename(entry.staged, entry.name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
        except OSError as error:
            if error.errno not in _FOR_EVER and not (place / entry.name).is_dir():
                raise
            if not _is_now(workspace, place / entry.name, entry.digest):  # else placed before the crash
                _unstage(workspace, entry)
                return name
    at("placed")
    return None


def _undo(workspace: Workspace, notes: Path, entries: Sequence[_Entry]) -> None:
    for entry in entries:
        _unstage(workspace, entry)
    _drop_note(notes)


def _unstage(workspace: Workspace, entry: _Entry) -> None:
    if entry.staged is not None:
        with contextlib.suppress(OSError), open_folder(workspace, _folder(workspace, entry)) as folder:
            remove_entry(folder, entry.staged)


def _folder(workspace: Workspace, entry: _Entry) -> Path:
    return workspace.root / entry.folder if entry.folder != "." else workspace.root


def _put_note(notes: Path, note: _Note) -> None:
    """Write the note atomically and durably."""
    made = notes / f"{_NOTE}.new"
    with open(made, "wb") as file:
        file.write(msgspec.json.encode(note))
        file.flush()
        os.fsync(file.fileno())
    os.replace(made, notes / _NOTE)
    sync(notes)


def _drop_note(notes: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(notes / _NOTE)
        sync(notes)

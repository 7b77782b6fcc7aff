"""Open a session's private files as they were at a position of its log, or are now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, Protocol

from roost.agent.definition import decode_spec
from roost.agent.state import State
from roost.errors import Conflict, NotFound, RoostError, TooLarge
from roost.features.checkpoints.state import OWN_FOLDER, CheckpointState, Files, files_for_position
from roost.features.snapshots.state import SnapshotState
from roost.kernel.placement import NodeLocation, home_of
from roost.kernel.resources import ResourceFactory
from roost.kernel.state_loader import state_at
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshots import View

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of a version that `read_version` returns: it is in memory."""


class OtherKind(NotFound):
    """There is something of this name, but no file: who removes what did not exist leaves it alone."""


class FilesHost(Protocol):
    """The parts of a node that tell where files are. tenants: the store as the caller may see it."""

    @property
    def resources(self) -> ResourceFactory: ...

    @property
    def place(self) -> NodeLocation: ...

    @property
    def tenants(self) -> Store: ...


def place_of_files(node: FilesHost, info: SessionInfo, now: State) -> Literal["home", "store"]:
    """Return where the session's private files are kept. Raises `Conflict` (`no_files`, `files_elsewhere`)."""
    where = None if now.workspace is not None else node.resources.keeps_files(decode_spec(now.spec))
    if where is None:
        why = OWN_FOLDER if now.workspace is not None else "its agent has no tool that works with files"
        raise Conflict(f"session {info.id!r} has no private files to compare: {why}", code="no_files")
    home = home_of(info.needs) or node.place.home
    if where == "home" and home != node.place.home:
        raise Conflict(
            f"the private files of session {info.id!r} are at another home ({home}): ask a node there",
            code="files_elsewhere",
        )
    return where


async def kept_at(
    node: FilesHost, info: SessionInfo, now: State, position: int, where: Literal["home", "store"]
) -> Files:
    """Return the files of a position. Raises `Conflict` (`files_not_kept`)."""
    files = files_for_position(now, await state_at(node.tenants, info.id, position), position, where)
    if files.files is None:
        raise not_kept(info.id, position, files.why_not)
    return files


def not_kept(session: str, position: int | str, why: str | None) -> Conflict:
    return Conflict(
        f"the files of session {session!r} at {position} are not kept: {why}; `roost checkpoints` lists those that are",
        code="files_not_kept",
    )


def unreadable(session: str, error: OSError) -> Conflict:
    return Conflict(f"the files of session {session!r} cannot be read: {error}", code="files_not_kept")


def open_view(
    resources: ResourceFactory, session: str, now: State, files: str | None, *, near: View | None = None
) -> View:
    """Open a snapshot of the session or of a source of it, "" for no file; None: the files as they are now. near: as in
    `Snapshots.view`. Blocks."""
    if files is None:
        return resources.view_now(session, now.part(SnapshotState).saved, near=near)
    return resources.view(_holders(session, now, files), files or None, near=near)


def name_in(view: View, path: str) -> bytes | None:
    """Return the name that a view has for a path as `FileChange.path` shows it; None without such an entry."""
    exact = path.encode("utf-8", "backslashreplace")
    if exact in view.entries:
        return exact
    if "\\x" not in path:  # else it may stand for a name that is not UTF-8
        return None
    return next((one for one in view.entries if one.decode("utf-8", "backslashreplace") == path), None)


def _holders(session: str, now: State, files: str) -> Sequence[str]:
    """Return the session, and its sources that may hold the snapshot."""
    return [session, *now.part(CheckpointState).holders(files)]


async def read_version(node: FilesHost, info: SessionInfo, now: State, path: str, at: int | None) -> bytes:
    """Return the bytes of a file at a position, or now. Raises `NotFound` (`no_file`; `OtherKind` for a link or a
    folder), `Conflict` as `history_of`, `TooLarge` (`file_too_large`), `ObjectsFailed`."""
    where = place_of_files(node, info, now)
    files = None if at is None else (await kept_at(node, info, now, at, where)).files
    try:
        return await asyncio.to_thread(_read, node.resources, info.id, now, path, files)
    except SnapshotDamaged as error:
        raise not_kept(info.id, at or "now", str(error)) from error
    except OSError as error:
        raise unreadable(info.id, error) from error


def _read(resources: ResourceFactory, session: str, now: State, path: str, files: str | None) -> bytes:
    view = open_view(resources, session, now, files)
    try:
        name = name_in(view, path)
        entry = None if name is None else view.entries[name]
        kind = _folder_kind(view, path) if entry is None else entry.kind
        if kind not in (None, "file"):
            raise OtherKind(f"{path!r} is a {kind} there, not a file", code="no_file")
        if name is None or entry is None:
            raise _no_file(session, path)
        if entry.size > MOST_BYTES:
            raise TooLarge(
                f"the file {path!r} has {entry.size} bytes, more than {MOST_BYTES}: get all files with `roost export`",
                code="file_too_large",
            )
        return view.read(name)
    finally:
        view.close()


def _folder_kind(view: View, path: str) -> Literal["folder"] | None:
    """Tell whether a path is a folder that its entries imply."""
    begin = path.encode("utf-8", "backslashreplace") + b"/"
    return "folder" if any(name.startswith(begin) for name in view.entries) else None


def _no_file(session: str, path: str) -> RoostError:
    return NotFound(f"session {session!r} has no file {path!r} there", code="no_file")

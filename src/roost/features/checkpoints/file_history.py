"""List the versions of one private file over a session's checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from roost.agent.state import State
from roost.features.checkpoints.file_versions import FileHistory, FileVersion
from roost.features.checkpoints.file_views import FilesHost, name_in, open_view, place_of_files, unreadable
from roost.features.checkpoints.state import CheckpointState, Kept
from roost.kernel.resources import ResourceFactory
from roost.log.session_info import SessionInfo
from roost.workspace.changes import FileState
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshots import Entry, View


class _Seen:
    """What one snapshot says of the path. digests: of the file's pieces."""

    def __init__(self, entry: Entry | None, digests: Sequence[bytes]) -> None:
        self.state = None if entry is None else FileState(kind=entry.kind, size=entry.size, mode=entry.mode)
        self._key = None if entry is None else (entry.kind, entry.mode, entry.size, entry.target, tuple(digests))

    def same(self, other: _Seen) -> bool:
        return self._key == other._key


async def history_of(
    node: FilesHost, info: SessionInfo, now: State, path: str, *, before: int | None, limit: int
) -> FileHistory:
    """List the versions of a file, the newest first, among the newest `limit` checkpoints whose files differ and that
    are before the position `before`. Reads the list of files of each of these once, and no event. Raises `Conflict`
    (`no_files`, `files_elsewhere`, `files_not_kept`), `ObjectsFailed`, `TooLarge`."""
    where = place_of_files(node, info, now)
    points = [one for one in now.part(CheckpointState).checkpoints if one.files is not None and one.files_in == where]
    points = [one for n, one in enumerate(points) if n == 0 or points[n - 1].files != one.files]
    if before is not None:
        points = [one for one in points if one.seq < before]
    base, shown = points[:-limit][-1:], points[-limit:]
    try:
        found, unread = await asyncio.to_thread(
            _versions, node.resources, info.id, now, path, base, shown, before is None
        )
    except OSError as error:
        raise unreadable(info.id, error) from error
    return FileHistory(
        session=info.id, path=path, versions=found[::-1], unread=unread, next=shown[0].seq if base else None
    )


def _versions(
    resources: ResourceFactory, session: str, now: State, path: str, base: list[Kept], shown: list[Kept], with_now: bool
) -> tuple[list[FileVersion], list[int]]:
    found: list[FileVersion] = []
    unread: list[int] = []
    last, was, view = None, _Seen(None, ()), None
    for point in [*base, *shown, *([None] if with_now else [])]:
        try:
            view = open_view(resources, session, now, None if point is None else point.files, near=view)
            with contextlib.closing(view):
                seen = _look(view, path)
        except SnapshotDamaged:
            if point is not None:
                unread.append(point.seq)
            continue
        if not seen.same(was) and not (base and point is base[0]):
            found.append(_version(point, last, was, seen, now))
        last, was = point, seen
    return found, unread


def _look(view: View, path: str) -> _Seen:
    name = name_in(view, path)
    if name is None:
        return _Seen(None, ())
    entry = view.entries[name]
    return _Seen(entry, view.digests(name) if entry.kind == "file" else ())


def _version(point: Kept | None, last: Kept | None, was: _Seen, seen: _Seen, now: State) -> FileVersion:
    return FileVersion(
        seq=point and point.seq,
        since=last and last.seq,
        change="added" if was.state is None else "removed" if seen.state is None else "changed",
        file=seen.state,
        label=point and point.label,
        cause=point and point.cause,
        made_at=point and point.at,
        turns=((last.turns if last else 0), (point.turns if point else now.turns)),
        steps=((last.steps if last else 0), (point.steps if point else now.steps)),
    )

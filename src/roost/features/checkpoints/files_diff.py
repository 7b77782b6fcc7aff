"""Compare a session's private files at two positions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec

from roost.agent.state import State
from roost.features.checkpoints.api import FilesDiff
from roost.features.checkpoints.file_views import (
    kept_at,
    name_in,
    not_kept,
    open_view,
    place_of_files,
    unreadable,
)
from roost.features.checkpoints.state import Files
from roost.kernel.node import Node
from roost.kernel.resources import ResourceFactory
from roost.log.session_info import SessionInfo
from roost.workspace.changes import Changes
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshots import Entry, View
from roost.workspace.tree_diff import compare


class OneFile:
    """The part of a view that has one path, or nothing. Implements `View`."""

    def __init__(self, view: View, path: str) -> None:
        self._view = view
        found = name_in(view, path)
        self.entries: Mapping[bytes, Entry] = {} if found is None else {found: view.entries[found]}

    def digests(self, path: bytes) -> list[bytes]:
        return self._view.digests(path)

    def read(self, path: bytes) -> bytes:
        return self._view.read(path)

    def close(self) -> None:
        self._view.close()


async def differences(
    node: Node, info: SessionInfo, now: State, since: int, until: int | None, *, path: str | None = None
) -> FilesDiff:
    """Compare the files at position `since` with those at `until`, or now; with `path` only that one. Raises `Conflict`
    (`no_files`, `files_not_kept`, `files_elsewhere`), `ObjectsFailed`, `TooLarge`."""
    where = place_of_files(node, info, now)
    before = await kept_at(node, info, now, since, where)
    after = None if until is None else await kept_at(node, info, now, until, where)
    try:
        found = await asyncio.to_thread(_compare, node.resources, info.id, now, before, after, path)
    except SnapshotDamaged as error:
        raise not_kept(info.id, since if until is None else f"{since} or {until}", str(error)) from error
    except OSError as error:
        raise unreadable(info.id, error) from error
    scrub = node.resources.vault.scrub
    changes = [msgspec.structs.replace(one, diff=one.diff and scrub(one.diff)) for one in found.changes]
    return FilesDiff(
        session=info.id,
        since=since,
        until=until,
        why_not_since=before.why_not,
        why_not_until=None if after is None else after.why_not,
        changes=changes,
        added=found.added,
        removed=found.removed,
        changed=found.changed,
    )


def _compare(
    resources: ResourceFactory, session: str, now: State, before: Files, after: Files | None, path: str | None
) -> Changes:
    with contextlib.ExitStack() as stack:
        views: list[View] = []
        view: View | None = None
        for files in (before, after):
            view = open_view(resources, session, now, None if files is None else files.files, near=view)
            stack.callback(view.close)
            views.append(view if path is None else OneFile(view, path))
        return compare(views[0], views[1])

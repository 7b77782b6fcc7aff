"""Compare a session's private files at two positions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from roost.agent.definition import decode_spec
from roost.agent.state import State
from roost.errors import Conflict
from roost.features.checkpoints.api import FilesDiff
from roost.features.checkpoints.state import OWN_FOLDER, CheckpointState, Files, files_for_position
from roost.features.snapshots.state import SnapshotState
from roost.kernel.node import Node
from roost.kernel.placement import home_of
from roost.kernel.resources import ResourceFactory
from roost.kernel.state_loader import state_at
from roost.log.session_info import SessionInfo
from roost.workspace.changes import Changes
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshots import View
from roost.workspace.tree_diff import compare


async def differences(node: Node, info: SessionInfo, now: State, since: int, until: int | None) -> FilesDiff:
    """Compare the files at position `since` with those at `until`, or now. Raises `Conflict` (`no_files`,
    `files_not_kept`, `files_elsewhere`), `ObjectsFailed`, `TooLarge`."""
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

    async def kept(position: int) -> Files:
        files = files_for_position(now, await state_at(node.store, info.id, position), position, where)
        if files.files is None:
            raise _not_kept(info.id, position, files.why_not)
        return files

    before = await kept(since)
    after = None if until is None else await kept(until)
    try:
        found = await asyncio.to_thread(_compare, node.resources, info.id, now, before, after)
    except SnapshotDamaged as error:
        raise _not_kept(info.id, since if until is None else f"{since} or {until}", str(error)) from error
    except OSError as error:
        raise Conflict(f"the files of session {info.id!r} cannot be read: {error}", code="files_not_kept") from error
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


def _not_kept(session: str, position: int | str, why: str | None) -> Conflict:
    return Conflict(
        f"the files of session {session!r} at {position} are not kept: {why}; `roost checkpoints` lists those that are",
        code="files_not_kept",
    )


def _compare(resources: ResourceFactory, session: str, now: State, before: Files, after: Files | None) -> Changes:
    with contextlib.ExitStack() as stack:
        views: list[View] = []
        for files in (before, after):
            if files is None:
                view = resources.view_now(session, now.part(SnapshotState).saved)
            else:
                view = resources.view(_holders(session, now, files), files.files or None)
            stack.callback(view.close)
            views.append(view)
        return compare(views[0], views[1])


def _holders(session: str, now: State, files: Files) -> Sequence[str]:
    """Return the session, and its sources that may hold the snapshot."""
    return [session, *now.part(CheckpointState).holders(files.files)]

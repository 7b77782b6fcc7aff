"""Read the files of a session's workspace."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from roost.agent.state import State
from roost.doors.openai_agents.context import Context
from roost.errors import Conflict
from roost.features.snapshots.state import SnapshotState
from roost.kernel.resources import ResourceFactory
from roost.log.session_info import SessionInfo
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.save import Caps
from roost.workspace.snapshots import View
from roost.workspace.views import FolderView


class WorkspaceFiles:
    def __init__(self, context: Context) -> None:
        self._context = context

    async def list(self, session: str) -> list[tuple[str, int]]:
        """Return the paths and the sizes of the files of a session. Raises `NotFound`, `Conflict` when they are at
        another home, `ObjectsFailed`, `TooLarge`."""
        info, state = await self._context.sessions.state(session)
        resources = self._context.runtime.node.resources
        here = self._context.runtime.node.place.home
        if resources.carrier is None and info.home not in (None, here):
            raise Conflict(f"the files of the session are at another home, {info.home!r}", code="files_elsewhere")
        return await asyncio.to_thread(_listed, resources, info, state)


def _listed(resources: ResourceFactory, info: SessionInfo, state: State) -> list[tuple[str, int]]:
    try:
        view = _view(resources, info, state)
    except (FileNotFoundError, SnapshotDamaged):
        return []
    try:
        return [(os.fsdecode(path), one.size) for path, one in view.entries.items() if _is_file(one)]
    finally:
        view.close()


def _is_file(entry: object) -> bool:
    kind = getattr(entry, "kind", None)
    return kind in (None, "file")


def _view(resources: ResourceFactory, info: SessionInfo, state: State) -> View:
    if state.workspace is not None:
        return FolderView(Path(state.workspace), files=Caps().files)
    return resources.view_now(info.id, state.part(SnapshotState).saved)

"""Files at the seams of the loop: the port of a call, and what people order."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import msgspec

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.errors import Invalid
from roost.features.files import restoring
from roost.features.files.events import FileRestored, RestoreFileInput, WriteFileInput
from roost.features.files.ports import SessionFiles, SharedFile, Version
from roost.features.files.protocols import FoundFiles, How
from roost.log.protocols import InboxItem
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.workspace.safe_paths import read_file

TOOLS = ("search_files", "file_history", "restore_file", "share_file")


def _later(session: Session, item: InboxItem) -> None:
    """Leave the input to `between_turns`, which takes time."""


class CallFiles:
    """The files of a session, for one call. Methods raise `RoostError` with messages for the model."""

    def __init__(self, session: Session, port: SessionFiles, context: ToolContext) -> None:
        self._session, self._port, self._context = session, port, context
        self._restored: list[FileRestored] = []

    async def search(self, query: str, how: How, under: str, limit: int) -> FoundFiles:
        workspace = self._session.means.workspace
        folder = "" if under in ("", ".") else workspace.relative(workspace.resolve(under))
        return await self._port.search(workspace, query, how=how, under="" if folder == "." else folder, limit=limit)

    async def versions(self, path: str) -> list[Version]:
        return await self._port.versions(self._session.id, self._session.state, self._name(path), 50)

    async def restore(self, path: str, at: str) -> tuple[Literal["removed", "restored"], int, int]:
        """Put a file back. Returns what became of it, its size and the position. The event is committed with the
        outcome of the call."""
        to = self._port.position(self._session.state, at)
        if not 1 <= to <= self._session.state.seq:
            raise Invalid(f"there is no position {to}; file_history shows the versions", code="no_position")
        size = await restoring.put_back(self._session, path, to)
        self._restored.append(
            FileRestored(at=time.time(), path=self._name(path), to=to, size=size or 0, removed=size is None)
        )
        return "removed" if size is None else "restored", size or 0, to

    async def share(self, path: str, seconds: float) -> SharedFile:
        self._context.confirm()
        workspace = self._session.means.workspace
        data = (await asyncio.to_thread(lambda: read_file(workspace, workspace.resolve(path)))).data
        return await self._port.share(
            self._session.id,
            self._session.means.account,
            self._name(path),
            data,
            seconds=seconds,
            key=self._context.key,
        )

    def settle(self, call: str, *, ok: bool) -> None:
        for event in self._restored if ok else ():
            self._session.log.note(msgspec.structs.replace(event, call=call))
        self._restored = []

    def _name(self, path: str) -> str:
        workspace = self._session.means.workspace
        return workspace.relative(workspace.resolve(path))


class Files(Feature):
    """Give calls their port, and put files back or write them as people ordered."""

    takes = {RestoreFileInput: _later, WriteFileInput: _later}

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name in TOOLS:
            port = session.means.find(SessionFiles)
            if port is None:
                raise ToolError("files cannot be searched here")
            context.give(CallFiles(session, port, context))

    def call_ends(self, session: Session, end: CallEnd) -> None:
        if (files := end.context.given(CallFiles)) is not None:
            files.settle(end.call.call.id, ok=end.outcome == "ok")

    async def between_turns(self, session: Session) -> None:
        if restoring.waits(session):
            await restoring.settle(session)


FEATURE = Files()

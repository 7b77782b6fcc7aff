"""Checkpoints, rollbacks and forks of sessions on a running node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from roost.errors import Conflict, Invalid, TooLarge
from roost.features.checkpoints.api import (
    BYTES,
    CheckpointInfo,
    Checkpoints,
    CheckpointsApi,
    FilesDiff,
    Target,
    Travelled,
)
from roost.features.checkpoints.events import CheckpointInput, DropCheckpointInput, RollbackInput
from roost.features.checkpoints.file_history import history_of
from roost.features.checkpoints.file_versions import FileHistory
from roost.features.checkpoints.file_views import read_version
from roost.features.checkpoints.files_diff import differences
from roost.features.checkpoints.forking import Forking
from roost.features.checkpoints.orders import order_checkpoint
from roost.features.checkpoints.state import CheckpointState
from roost.features.checkpoints.targets import check_label, checkpoint_at, parsed, position_of
from roost.ids import is_id, new_id
from roost.kernel.labels import masked_names
from roost.kernel.service_host import ServiceHost
from roost.log import events as ev
from roost.log.session_info import SessionInfo
from roost.log.tail import follow
from roost.operation import Download

MOST = 1000
"""Most checkpoints of a session: each stores its conversation once more."""
_CHUNK = 256 * 1024
_LOOKS = 3
"""Requests that look through lists of files at once: each takes one of the few threads of the daemon."""
_SWEPT = (
    "they are in a snapshot store that nodes share; `roost store sweep` removes what nothing else needs, two days later"
)
_DROPPED, _ROLLED = b'{"type":"checkpoint.dropped"', b'{"type":"session.rolled_back"'
_RESTORED, _STATE = b'{"type":"workspace.restored"', b'{"type":"session.state"'


class CheckpointService(CheckpointsApi):
    """Orders are inputs of the session, and take effect when it processes them. After `wait` seconds an order is
    reported as pending."""

    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions
        self._store = host.store
        self._forking = Forking(host)
        self._looks = asyncio.Semaphore(_LOOKS)

    async def make(
        self, session: str, label: str | None = None, *, key: str | None = None, wait: float = 10.0
    ) -> Travelled:
        """Create a checkpoint of conversation, memory and private files, for rollbacks and forks. It is made once no
        call is running. Raises `Invalid`, `NotFound`, `TooLarge` (`too_many_checkpoints`)."""
        if label is not None:
            check_label(label)
        _, now = await self._sessions.state(session)
        if sum(one.cause == "manual" for one in now.part(CheckpointState).checkpoints) >= MOST:
            raise TooLarge(
                f"session {session!r} has {MOST} checkpoints, which is the most: drop some", code="too_many_checkpoints"
            )
        return await order_checkpoint(self._sessions, session, CheckpointInput(label), key=key, wait=wait)

    async def list(self, session: str) -> Checkpoints:
        """List the checkpoints, the newest first; a fork has those of its source up to its beginning. Raises
        `NotFound`."""
        _, now = await self._sessions.state(session)
        found = [
            CheckpointInfo(seq=one.seq, label=one.label, cause=one.cause, made_at=one.at, files=one.files is not None)
            for one in reversed(now.part(CheckpointState).checkpoints)
        ]
        return Checkpoints(checkpoints=found)

    async def drop(self, session: str, checkpoint: Target, *, key: str | None = None) -> Travelled:
        """Drop a checkpoint. In a home its files are removed with it; in a shared snapshot store `roost store sweep`
        removes them later (`files_left`). Raises `NotFound` (`no_checkpoint`)."""
        _, now = await self._sessions.state(session)
        kept = checkpoint_at(session, now, parsed(checkpoint))
        accepted = await self._sessions.put(session, DropCheckpointInput(kept.seq), key=key)
        done = await self._sessions.effect(session, accepted, _DROPPED, wait=10.0)
        left = _SWEPT if kept.files and kept.files_in == "store" else None
        return Travelled(session=session, input=accepted.id, seq=done and done.seq, to=kept.seq, files_left=left)

    async def diff(
        self, session: str, *, since: Target | None = None, until: Target | None = None, path: str | None = None
    ) -> FilesDiff:
        """Show what changed in the private files from one position or checkpoint's label to another, or to now; without
        `since`, from the newest checkpoint. Raises `NotFound` (`no_checkpoint`), `Invalid` (`no_position`), `Conflict`
        (`no_checkpoint`, `no_files`, `files_not_kept`, `files_elsewhere`), `ObjectsFailed`, `TooLarge`."""
        info, now = await self._sessions.state(session)
        first, _ = position_of(info, now, None if since is None else parsed(since), most=info.head)
        last = None if until is None else position_of(info, now, parsed(until), most=info.head)[0]
        async with self._looks:
            return await differences(self._node, info, now, first, last, path=path)

    async def history(self, session: str, path: str, *, before: int | None = None, limit: int = 50) -> FileHistory:
        """List the versions of a private file over the checkpoints, the newest first, and page by page. Raises
        `NotFound`, `Conflict` (`no_files`, `files_elsewhere`, `files_not_kept`), `ObjectsFailed`, `TooLarge`."""
        info, now = await self._sessions.state(session)
        async with self._looks:
            return await history_of(self._node, info, now, path, before=before, limit=limit)

    async def file(self, session: str, path: str, *, at: Target | None = None) -> Download[AsyncIterator[bytes]]:
        """Return a private file as it is, or was at a position or checkpoint's label. Raises `NotFound` (`no_file`,
        `no_checkpoint`), `Invalid` (`no_position`), `Conflict` as `history`, `TooLarge` (`file_too_large`)."""
        info, now = await self._sessions.state(session)
        position = None if at is None else position_of(info, now, parsed(at), most=info.head)[0]
        async with self._looks:
            body = await read_version(self._node, info, now, path, position)

        async def chunks() -> AsyncIterator[bytes]:
            for begin in range(0, len(body), _CHUNK):
                yield body[begin : begin + _CHUNK]

        return Download(None, len(body), BYTES, chunks())

    async def rollback(
        self,
        session: str,
        to: Target | None = None,
        *,
        undo: bool = False,
        resume: bool = False,
        key: str | None = None,
        wait: float = 30.0,
    ) -> Travelled:
        """Roll the session back to a position of its log, to a checkpoint's label, or to its newest checkpoint:
        conversation, memory and private files. Cancels work in progress, and earlier inputs that have not begun. The
        log keeps everything; usage never goes back. Raises `NotFound`, `Invalid` (`no_position`), `Conflict`
        (`no_checkpoint`, `nothing_to_undo`).

        undo: go back to the state before the last rollback.
        resume: also run on from there if the session is paused, stopped or failed.
        """
        seq, asked = await self._aim(session, to, undo=undo)
        sent = RollbackInput(0, asked, resume) if asked is not None else None
        accepted = await self._sessions.put(session, RollbackInput(seq, resume=resume), key=key, sent=sent)
        record = await self._sessions.effect(session, accepted, _ROLLED, wait=wait)
        if record is None:
            return Travelled(session=session, input=accepted.id, to=seq)
        event = record.event
        assert isinstance(event, ev.SessionRolledBack)
        error = event.why_no_files
        if event.files is not None:
            restored = await self._following(session, record.seq, _RESTORED, wait)
            error = getattr(restored, "error", None) or error
        if resume and (await self._sessions.get(session)).state in ("paused", "stopped", "error"):
            await self._following(session, record.seq, _STATE, wait)
        return Travelled(
            session=session,
            input=accepted.id,
            seq=record.seq,
            to=event.to,
            label=event.label,
            files=event.files is not None and (error is None or error == event.why_no_files),
            why_no_files=error,
        )

    async def fork(
        self,
        session: str,
        at: Target | None = None,
        *,
        id: str | None = None,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
        wait: float = 30.0,
    ) -> SessionInfo:
        """Create a session that begins as this one was at a position, at a checkpoint's label, or at the end of its
        last turn. The two share log and files up to there, and live on independently. Raises `NotFound`, `Invalid`
        (`no_position`), `Conflict`, `StoreFailed` (`disk_full`, `files_not_kept`)."""
        if id is not None and not is_id(id):
            raise Invalid(f"{id!r} cannot be a session's id: use letters, digits and ._:- (at most 128)")
        title, labels = masked_names(self._node.resources.vault, title, labels)
        return await self._forking.fork(session, at, id or new_id("ses"), title, labels, key=key, wait=wait)

    async def _aim(self, session: str, to: Target | None, *, undo: bool) -> tuple[int, str | None]:
        """Return the position to roll back to, and the words that named it, unless it was a position."""
        info, now = await self._sessions.state(session)
        if not undo:
            return position_of(info, now, to, most=info.head - 1)
        if to is not None:
            raise Invalid("either a position or `undo`")
        if not (rolled := now.part(CheckpointState).rolled):
            raise Conflict(f"session {session!r} was never rolled back", code="nothing_to_undo")
        return rolled - 1, "undo"

    async def _following(self, session: str, after: int, kind: bytes, wait: float) -> ev.Event | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for record in follow(self._store, session, after=after):
                    if record.body.startswith(kind):
                        return record.event
        return None


SERVICE = CheckpointService

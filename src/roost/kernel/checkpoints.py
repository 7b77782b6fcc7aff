"""Checkpoints, rollbacks and forks of sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

from roost.agent.definition import decode_spec
from roost.agent.fold import apply
from roost.agent.state import STATE_VERSION, State, encode_state
from roost.errors import Conflict, Invalid, NotFound, StoreFailed, TooLarge
from roost.features.checkpoints.duties import CheckpointDuties
from roost.features.checkpoints.events import CheckpointInput, CheckpointMade, DropCheckpointInput
from roost.features.checkpoints.state import OWN_FOLDER, CheckpointState, Files, Kept, files_for_position
from roost.features.snapshots.state import SnapshotState
from roost.ids import is_id, new_id
from roost.kernel.checkpoint_views import CheckpointInfo, FilesDiff, Target, Travelled
from roost.kernel.labels import check_label, masked_names
from roost.kernel.node import Node
from roost.kernel.state_loader import load_state, state_at
from roost.kernel.workspace_diff import differences
from roost.log import events as ev
from roost.log.inputs import Input, RollbackInput
from roost.log.protocols import Accepted, NewSession, Record, Snapshot
from roost.log.session_info import SessionInfo
from roost.log.tail import follow
from roost.workspace.object_store import FULL

MOST = 1000
"""Most checkpoints of a session: each stores its conversation once more."""
_MADE, _ROLLED = b'{"type":"checkpoint.made"', b'{"type":"session.rolled_back"'
_SWEPT = (
    "they are in a snapshot store that nodes share; `roost store sweep` removes what nothing else needs, two days later"
)
_DROPPED, _RESTORED = b'{"type":"checkpoint.dropped"', b'{"type":"workspace.restored"'
_STATE = b'{"type":"session.state"'
_BEGINS = (b'{"type":"input.received"', b'{"type":"timer.fired"')
_PAGE = 256


class Travels(ABC):
    """Checkpoint operations; a base class of `Sessions`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store

    @abstractmethod
    async def _accept(self, session: str, item: Input, key: str | None, sent: Input | None = None) -> Accepted:
        """Put an input into the inbox. Raises as `Inboxes.accept`."""

    async def checkpoint(
        self, session: str, label: str | None = None, *, key: str | None = None, wait: float = 10.0
    ) -> Travelled:
        """Create a checkpoint of conversation, memory and private files, for rollbacks and forks. It is made once no
        call is running; after `wait` seconds this returns while it is pending. Raises `Invalid`, `NotFound`, `TooLarge`
        (`too_many_checkpoints`)."""
        if label is not None:
            check_label(label)
        if sum(one.cause == "manual" for one in await self._kept(session)) >= MOST:
            raise TooLarge(
                f"session {session!r} has {MOST} checkpoints, which is the most: drop some", code="too_many_checkpoints"
            )
        return await self._checkpoint(session, CheckpointInput(label), key, wait)

    async def checkpoints(self, session: str) -> list[CheckpointInfo]:
        """List the checkpoints, the newest first; a fork has those of its source up to its beginning. Raises
        `NotFound`."""
        return [
            CheckpointInfo(seq=one.seq, label=one.label, cause=one.cause, made_at=one.at, files=one.files is not None)
            for one in await self._kept(session)
        ]

    async def drop_checkpoint(self, session: str, target: Target, *, key: str | None = None) -> Travelled:
        """Drop a checkpoint. In a home its files are removed with it; in a shared snapshot store `roost store sweep`
        removes them later (`files_left`). Raises `NotFound` (`no_checkpoint`)."""
        kept = await self._checkpoint_of(session, target)
        head = (await self._store.sessions.get(session)).head
        accepted = await self._accept(session, DropCheckpointInput(kept.seq), key)
        done = await self._until(session, _DROPPED, accepted, head, 10.0)
        left = _SWEPT if kept.files and kept.files_in == "store" else None
        return Travelled(session=session, input=accepted.id, seq=done and done.seq, to=kept.seq, files_left=left)

    async def diff(self, session: str, since: Target | None = None, until: Target | None = None) -> FilesDiff:
        """Show what changed in the private files from one position or checkpoint's label to another, or to now; without
        `since`, from the newest checkpoint. Raises `NotFound` (`no_checkpoint`), `Invalid` (`no_position`), `Conflict`
        (`no_checkpoint`, `no_files`, `files_not_kept`, `files_elsewhere`), `ObjectsFailed`, `TooLarge`."""
        info, now = await self._now(session)
        first = await self._moment(info, since)
        last = None if until is None else await self._moment(info, until)
        return await differences(self._node, info, now, first, last)

    async def _moment(self, info: SessionInfo, at: Target | None) -> int:
        if isinstance(at, int):
            return _position(info, at, info.head)
        return (await self._aim(info, at, undo=False))[0]

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
        info = await self._store.sessions.get(session)
        seq, asked = await self._aim(info, to, undo=undo)
        sent = RollbackInput(0, asked, resume) if asked is not None else None
        accepted = await self._accept(session, RollbackInput(seq, resume=resume), key, sent)
        record = await self._until(session, _ROLLED, accepted, info.head, wait)
        if record is None:
            return Travelled(session=session, input=accepted.id, to=seq)
        event = record.event
        assert isinstance(event, ev.SessionRolledBack)
        error = event.why_no_files
        if event.files is not None:
            restored = await self._following(session, record.seq, _RESTORED, wait)
            error = getattr(restored, "error", None) or error
        if resume and (await self._store.sessions.get(session)).state in ("paused", "stopped", "error"):
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
        info, now = await self._now(session)
        where = None if now.workspace is not None else self._node.resources.keeps_files(decode_spec(now.spec))
        position = await self._fork_position(info, now, at, fresh=where == "home", wait=wait)
        if at is None:
            info, now = await self._now(session)
        then = await state_at(self._store, session, position)
        files, fork = Files(why_not=OWN_FOLDER if now.workspace is not None else None), id or new_id("ses")
        if where is not None:
            files = await self._node.feature(CheckpointDuties).forks.hold(
                info, now, files_for_position(now, then, position, where), position, fork
            )
        new = NewSession(
            id=fork,
            agent=info.agent,
            version=info.version if then.spec == now.spec else decode_spec(then.spec).version,
            workspace=info.workspace,
            title=title if title is not None else info.title,
            labels={**info.labels, **labels},
            needs=info.needs,
        )
        there = {one.seq for one in now.part(CheckpointState).checkpoints}
        dropped = [one.seq for one in then.part(CheckpointState).checkpoints if one.seq not in there]
        event = _forked(session, position, new, files, dropped)
        apply(then, event)
        snapshot = Snapshot(position + 1, STATE_VERSION, encode_state(then))
        made = await self._store.sessions.fork(session, position, new, snapshot, [event], key=key)
        if made.id != fork or made.created_at < event.at:
            if not await self._is_fork(made.id, session, None if at is None else position):
                raise Conflict(f"the key {key!r} made another session, {made.id!r}", code="idempotency_mismatch")
        elif not await self._node.feature(CheckpointDuties).forks.is_held(info, then, files, fork):
            await self._node.deletions.delete(fork)
            raise Conflict(f"the files of session {session!r} were changed meanwhile: try again", code="session_busy")
        if then.part(SnapshotState).undo is not None:
            await self._checkpoint(made.id, CheckpointInput(cause="fork"), "fork", wait)  # which needs the files
        return await self._store.sessions.get(made.id)

    async def _is_fork(self, fork: str, source: str, position: int | None) -> bool:
        """Return whether an existing session of this key is the fork asked for now."""
        base = (await load_state(self._store, fork)).base
        found = [one.event for one in await self._store.logs.read(fork, after=base - 1, limit=1)] if base else []
        return any(
            isinstance(event, ev.SessionForked) and event.source == source and position in (None, event.position)
            for event in found
        )

    async def _fork_position(
        self, info: SessionInfo, now: State, at: Target | None, *, fresh: bool, wait: float
    ) -> int:
        """Return the position to fork at. `fresh`: files exist only as of a checkpoint."""
        if isinstance(at, str):
            return (await self._checkpoint_of(info.id, at)).seq
        if at is not None:
            return _position(info, at, info.head)
        if now.turn is not None:
            return await self._before_turn(info)
        last = now.part(CheckpointState).last
        if not fresh or (last is not None and last.seq == now.seq and last.files is not None):
            return info.head
        made = await self._checkpoint(info.id, CheckpointInput(cause="fork"), None, wait)
        if made.seq is None:
            raise Conflict(
                f"session {info.id!r} could not keep its files within {wait:g} seconds: try again, or fork from a"
                " position (`at`)",
                code="session_busy",
            )
        if not made.files:
            why = made.why_no_files or "nobody keeps them"
            raise StoreFailed(
                f"nothing was made: the files of session {info.id!r} cannot be kept: {why}. Fork from a position (`at`)"
                " to begin with older ones",
                code="disk_full" if why.startswith(FULL) else "files_not_kept",
            )
        return made.seq

    async def _before_turn(self, info: SessionInfo) -> int:
        """Return the last position before the open turn."""
        after = info.head
        begun = False
        while after > 0:
            first = max(0, after - _PAGE)
            page = await self._store.logs.read(info.id, after=first, limit=after - first)
            while page and page[-1].seq < after:  # cut at its byte limit
                page += await self._store.logs.read(info.id, after=page[-1].seq, limit=after - page[-1].seq)
            for record in reversed(page):
                if begun and not record.body.startswith(_BEGINS):
                    return record.seq
                begun = begun or record.body.startswith(b'{"type":"turn.started"')
            after = first
        return 1

    async def _aim(self, info: SessionInfo, to: Target | None, *, undo: bool) -> tuple[int, str | None]:
        """Return the position, and the label or `undo` that named it."""
        if undo:
            if to is not None:
                raise Invalid("either a position or `undo`")
            _, now = await self._now(info.id)
            if not (rolled := now.part(CheckpointState).rolled):
                raise Conflict(f"session {info.id!r} was never rolled back", code="nothing_to_undo")
            return rolled - 1, "undo"
        if isinstance(to, int):
            return _position(info, to, info.head - 1), None
        if to is not None:
            return (await self._checkpoint_of(info.id, to)).seq, f"label {to}"
        found = [one for one in await self._kept(info.id) if one.cause not in ("rollback", "fork")]
        if not found:
            raise Conflict(
                f"session {info.id!r} has no checkpoint: give a position of its log (`roost logs`)",
                code="no_checkpoint",
            )
        return found[0].seq, "newest"

    async def _checkpoint_of(self, session: str, target: Target) -> Kept:
        for one in await self._kept(session):
            if target in (one.seq, one.label):
                return one
        raise NotFound(
            f"session {session!r} has no checkpoint {target!r}; `roost checkpoints` lists them", code="no_checkpoint"
        )

    async def _checkpoint(self, session: str, item: CheckpointInput, key: str | None, wait: float) -> Travelled:
        head = (await self._store.sessions.get(session)).head
        accepted = await self._accept(session, item, key)
        record = await self._until(session, _MADE, accepted, head, wait)
        if record is None:
            return Travelled(session=session, input=accepted.id, label=item.label)
        event = record.event
        assert isinstance(event, CheckpointMade)
        return Travelled(
            session=session,
            input=accepted.id,
            seq=record.seq,
            label=event.label,
            files=event.files is not None,
            why_no_files=event.why_no_files,
        )

    async def _until(self, session: str, kind: bytes, accepted: Accepted, head: int, wait: float) -> Record | None:
        """Return the event that took the input in, or None after `wait` seconds. A duplicate may be anywhere in the
        session's own part of the log."""
        after = (await load_state(self._store, session)).base if accepted.duplicate else head
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for record in follow(self._store, session, after=after):
                    if record.body.startswith(kind) and getattr(record.event, "input", None) == accepted.id:
                        return record
        return None

    async def _following(self, session: str, after: int, kind: bytes, wait: float) -> ev.Event | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                async for record in follow(self._store, session, after=after):
                    if record.body.startswith(kind):
                        return record.event
        return None

    async def _kept(self, session: str) -> list[Kept]:
        _, now = await self._now(session)
        return now.part(CheckpointState).checkpoints[::-1]

    async def _now(self, session: str) -> tuple[SessionInfo, State]:
        info = await self._store.sessions.get(session)
        return info, await load_state(self._store, session)


def _position(info: SessionInfo, given: int, most: int) -> int:
    if not 1 <= given <= most:
        there = f"its log ends at {info.head}; choose from 1 to {most}" if most >= 1 else "it has only begun"
        raise Invalid(f"session {info.id!r} cannot go to position {given}: {there}", code="no_position")
    return given


def _forked(source: str, at: int, new: NewSession, files: Files, dropped: Sequence[int]) -> ev.SessionForked:
    where: Literal["home", "store"] | None = files.files_in
    return ev.SessionForked(
        at=time.time(),
        source=source,
        position=at,
        title=new.title,
        labels=new.labels,
        files=files.files,
        files_in=where,
        why_no_files=files.why_not,
        dropped=tuple(dropped),
    )

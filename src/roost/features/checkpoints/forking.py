"""Fork a session: create one that shares its log and files up to a position."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from roost.agent.definition import decode_spec
from roost.agent.fold import apply
from roost.agent.state import STATE_VERSION, State, encode_state
from roost.authority import ACCOUNT, owned_labels, session_id
from roost.errors import Conflict, StoreFailed
from roost.features.checkpoints.api import Target
from roost.features.checkpoints.duties import CheckpointDuties
from roost.features.checkpoints.events import CheckpointInput
from roost.features.checkpoints.orders import order_checkpoint
from roost.features.checkpoints.state import OWN_FOLDER, CheckpointState, Files, files_for_position
from roost.features.checkpoints.targets import checked, checkpoint_at
from roost.features.snapshots.state import SnapshotState
from roost.kernel.service_host import ServiceHost
from roost.kernel.state_loader import load_state, state_at
from roost.log import events as ev
from roost.log.protocols import NewSession, Snapshot
from roost.log.session_info import SessionInfo
from roost.workspace.object_store import FULL

_BEGINS = (b'{"type":"input.received"', b'{"type":"timer.fired"')
_PAGE = 256


class Forking:
    """Forks of the sessions of a node's store."""

    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions, self._store = host.node, host.sessions, host.store

    async def fork(
        self,
        session: str,
        at: Target | None,
        fork: str,
        title: str | None,
        labels: Mapping[str, str],
        *,
        key: str | None,
        wait: float,
    ) -> SessionInfo:
        """See `CheckpointService.fork`. fork: the id of the new session, if it is not an account's."""
        info, now = await self._sessions.state(session)
        labels = owned_labels({**info.labels, **labels})
        fork = session_id(fork, labels.get(ACCOUNT))
        where = None if now.workspace is not None else self._node.resources.keeps_files(decode_spec(now.spec))
        position = await self._position(info, now, at, fresh=where == "home", wait=wait)
        if at is None:
            info, now = await self._sessions.state(session)
        then = await state_at(self._store, session, position)
        forks, files = (
            self._node.feature(CheckpointDuties).forks,
            Files(why_not=OWN_FOLDER if now.workspace is not None else None),
        )
        if where is not None:
            files = await forks.hold(info, now, files_for_position(now, then, position, where), position, fork)
        new = _new(info, now, then, fork, title, labels)
        event = _forked(session, position, new, files, _dropped(now, then))
        apply(then, event)
        snapshot = Snapshot(position + 1, STATE_VERSION, encode_state(then))
        made = await self._store.sessions.fork(session, position, new, snapshot, [event], key=key)
        if made.id != fork or made.created_at < event.at:
            if not await self._is_fork(made.id, session, None if at is None else position):
                raise Conflict(f"the key {key!r} made another session, {made.id!r}", code="idempotency_mismatch")
        elif not await forks.is_held(info, then, files, fork):
            await self._node.deletions.delete(fork)
            raise Conflict(f"the files of session {session!r} were changed meanwhile: try again", code="session_busy")
        if then.part(SnapshotState).undo is not None:  # which needs the files
            await order_checkpoint(self._sessions, made.id, CheckpointInput(cause="fork"), key="fork", wait=wait)
        return await self._store.sessions.get(made.id)

    async def _is_fork(self, fork: str, source: str, position: int | None) -> bool:
        """Return whether an existing session of this key is the fork asked for now."""
        base = (await load_state(self._store, fork)).base
        found = [one.event for one in await self._store.logs.read(fork, after=base - 1, limit=1)] if base else []
        return any(
            isinstance(event, ev.SessionForked) and event.source == source and position in (None, event.position)
            for event in found
        )

    async def _position(self, info: SessionInfo, now: State, at: Target | None, *, fresh: bool, wait: float) -> int:
        """Return the position to fork at. `fresh`: files exist only as of a checkpoint."""
        if isinstance(at, str):
            return checkpoint_at(info.id, now, at).seq
        if at is not None:
            return checked(info, at, info.head)
        if now.turn is not None:
            return await self._before_turn(info)
        last = now.part(CheckpointState).last
        if not fresh or (last is not None and last.seq == now.seq and last.files is not None):
            return info.head
        made = await order_checkpoint(self._sessions, info.id, CheckpointInput(cause="fork"), key=None, wait=wait)
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


def _new(
    info: SessionInfo, now: State, then: State, fork: str, title: str | None, labels: Mapping[str, str]
) -> NewSession:
    return NewSession(
        id=fork,
        agent=info.agent,
        version=info.version if then.spec == now.spec else decode_spec(then.spec).version,
        workspace=info.workspace,
        title=title if title is not None else info.title,
        labels=dict(labels),
        needs=info.needs,
    )


def _dropped(now: State, then: State) -> list[int]:
    """Return the checkpoints of `then` that the source has dropped by now."""
    there = {one.seq for one in now.part(CheckpointState).checkpoints}
    return [one.seq for one in then.part(CheckpointState).checkpoints if one.seq not in there]


def _forked(source: str, at: int, new: NewSession, files: Files, dropped: Sequence[int]) -> ev.SessionForked:
    return ev.SessionForked(
        at=time.time(),
        source=source,
        position=at,
        title=new.title,
        labels=new.labels,
        files=files.files,
        files_in=files.files_in,
        why_no_files=files.why_not,
        dropped=tuple(dropped),
    )

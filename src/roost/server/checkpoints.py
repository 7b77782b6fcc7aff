"""Checkpoints, rollbacks and forks of sessions."""

from __future__ import annotations

from roost.api.checkpoints import Checkpoints, CheckpointsApi
from roost.kernel.checkpoint_views import FilesDiff, Target, Travelled
from roost.kernel.sessions import Sessions
from roost.log.session_info import SessionInfo


class CheckpointService(CheckpointsApi):
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def make(self, session: str, label: str | None = None, *, key: str | None = None) -> Travelled:
        return await self._sessions.checkpoint(session, label, key=key)

    async def list(self, session: str) -> Checkpoints:
        return Checkpoints(checkpoints=await self._sessions.checkpoints(session))

    async def drop(self, session: str, checkpoint: int | str) -> Travelled:
        return await self._sessions.drop_checkpoint(session, _target(str(checkpoint)))

    async def diff(self, session: str, *, since: str | None = None, until: str | None = None) -> FilesDiff:
        first, last = (None if one is None else _target(one) for one in (since, until))
        return await self._sessions.diff(session, first, last)

    async def rollback(
        self,
        session: str,
        to: int | str | None = None,
        *,
        undo: bool = False,
        resume: bool = False,
        key: str | None = None,
    ) -> Travelled:
        return await self._sessions.rollback(session, to, undo=undo, resume=resume, key=key)

    async def fork(
        self,
        session: str,
        at: int | str | None = None,
        *,
        id: str | None = None,
        title: str | None = None,
        labels: dict[str, str] | None = None,
        key: str | None = None,
    ) -> SessionInfo:
        return await self._sessions.fork(session, at, id=id, title=title, labels=labels, key=key)


def _target(named: str) -> Target:
    return int(named) if named.isdecimal() and len(named) < 19 else named

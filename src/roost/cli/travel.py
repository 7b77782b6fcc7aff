"""Checkpoints, rollbacks and forks, through a daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from roost.ids import new_id
from roost.log.protocols import SessionInfo

if TYPE_CHECKING:
    from roost.kernel.checkpoint_views import CheckpointInfo, FilesDiff, Target, Travelled
    from roost.kernel.sessions import Sessions


class NodeTravel(Protocol):
    """Blocking version of `roost.kernel.checkpoints.Travels`."""

    def checkpoint(self, session: str, label: str | None = None) -> Travelled: ...

    def checkpoints(self, session: str) -> list[CheckpointInfo]: ...

    def drop_checkpoint(self, session: str, target: Target) -> Travelled: ...

    def diff(self, session: str, since: Target | None = None, until: Target | None = None) -> FilesDiff: ...

    def rollback(
        self, session: str, to: Target | None = None, *, undo: bool = False, resume: bool = False
    ) -> Travelled: ...

    def fork(self, session: str, at: Target | None = None, *, title: str | None = None) -> SessionInfo: ...


class EmbeddedTravel:
    """`do`: runs a coroutine on the runtime's loop. `work_on`: lets it process a session. `mine`: the sessions that it
    processes."""

    def __init__(
        self,
        sessions: Sessions,
        do: Callable[[Coroutine[Any, Any, Any]], Any],
        work_on: Callable[[str], None],
        mine: set[str],
    ) -> None:
        self._sessions, self._do, self._work_on, self._mine = sessions, do, work_on, mine

    def checkpoint(self, session: str, label: str | None = None) -> Travelled:
        self._work_on(session)
        return self._do(self._sessions.checkpoint(session, label))

    def checkpoints(self, session: str) -> list[CheckpointInfo]:
        return self._do(self._sessions.checkpoints(session))

    def drop_checkpoint(self, session: str, target: Target) -> Travelled:
        self._work_on(session)
        return self._do(self._sessions.drop_checkpoint(session, target))

    def diff(self, session: str, since: Target | None = None, until: Target | None = None) -> FilesDiff:
        return self._do(self._sessions.diff(session, since, until))

    def rollback(
        self, session: str, to: Target | None = None, *, undo: bool = False, resume: bool = False
    ) -> Travelled:
        self._work_on(session)
        return self._do(self._sessions.rollback(session, to, undo=undo, resume=resume))

    def fork(self, session: str, at: Target | None = None, *, title: str | None = None) -> SessionInfo:
        made = new_id("ses")
        self._work_on(session)
        self._mine.add(made)
        return self._do(self._sessions.fork(session, at, id=made, title=title))

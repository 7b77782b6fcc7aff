"""The client's methods for checkpoints, rollbacks and forks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from roost.ids import new_id
from roost.kernel.checkpoint_views import CheckpointInfo, FilesDiff, Target, Travelled
from roost.log.protocols import SessionInfo

T = TypeVar("T")


class _Checkpoints(msgspec.Struct):
    checkpoints: list[CheckpointInfo]


class TravelClient:
    """Methods for checkpoints, rollbacks and forks. `call` sends a request, `decode` reads the response. Blocking;
    raises what they raise."""

    def __init__(
        self, call: Callable[..., tuple[int, bytes]], decode: Callable[[tuple[int, bytes], type[Any]], Any]
    ) -> None:
        self._call, self._decode = call, decode

    def checkpoint(self, session: str, label: str | None = None) -> Travelled:
        return self._post(session, "checkpoints", Travelled, label=label)

    def checkpoints(self, session: str) -> list[CheckpointInfo]:
        found: _Checkpoints = self._decode(self._call("GET", _path(session, "checkpoints")), _Checkpoints)
        return found.checkpoints

    def drop_checkpoint(self, session: str, target: Target) -> Travelled:
        return self._decode(self._call("DELETE", _path(session, "checkpoints", str(target))), Travelled)

    def diff(self, session: str, since: Target | None = None, until: Target | None = None) -> FilesDiff:
        given = {name: str(value) for name, value in (("since", since), ("until", until)) if value is not None}
        return self._decode(self._call("GET", _path(session, "diff"), query=given), FilesDiff)

    def rollback(
        self, session: str, to: Target | None = None, *, undo: bool = False, resume: bool = False
    ) -> Travelled:
        return self._post(session, "rollback", Travelled, to=to, undo=undo, resume=resume or None)

    def fork(self, session: str, at: Target | None = None, *, title: str | None = None) -> SessionInfo:
        return self._post(session, "fork", SessionInfo, at=at, title=title)

    def _post(self, session: str, what: str, kind: type[T], **body: object) -> T:
        given = {name: value for name, value in body.items() if value is not None}
        return self._decode(self._call("POST", _path(session, what), body=given, key=new_id("key")), kind)


def _path(session: str, *more: str) -> str:
    return "/".join(["/sessions", *(quote(part, safe=":") for part in (session, *more))])

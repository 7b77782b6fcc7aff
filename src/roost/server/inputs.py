"""Put inputs into a session's inbox: messages, a program's events, timers."""

from __future__ import annotations

import time
from typing import Any

from roost import registry
from roost.api.inputs import InputsApi
from roost.api.shapes import AcceptedInput
from roost.errors import Invalid
from roost.ids import is_id
from roost.kernel.turn_watch import find_turn
from roost.log.content import Text, UserPart
from roost.log.protocols import Accepted
from roost.log.session_info import InputMode
from roost.server.app_state import Api
from roost.server.responses import ReplyCall
from roost.server.row_handler import Call
from roost.server.sessions import check_room, open_stream
from roost.server.turn_stream import TurnStream


class InputService(InputsApi):
    def __init__(self, api: Api) -> None:
        self._api = api
        self._sessions = api.sessions

    async def send(
        self,
        session: str,
        text: str | None = None,
        *,
        parts: list[UserPart] | None = None,
        mode: InputMode = "follow_up",
        source: str | None = None,
        key: str | None = None,
    ) -> AcceptedInput:
        _check_source(source)
        content = _content(text, parts)
        return _accepted(await self._sessions.send(session, content, mode=mode, key=key, source=source))

    async def stream_send(self, call: Call) -> ReplyCall:
        check_room(self._api)
        _check_source(call.given["source"])
        sessions, session, given = self._sessions, call.session, call.given
        await sessions.demand_parts(session)  # else no event would ever come
        follower = sessions.listen(session)
        try:
            content = _content(given["text"], given["parts"])
            accepted = await sessions.send(
                session, content, mode=given["mode"], key=given["key"], source=given["source"]
            )
            begun = await find_turn(sessions, session, accepted.id) if accepted.duplicate else None
            follower.after = accepted.head if begun is None else begun
            follower.behind = follower.behind or accepted.duplicate
            watch = TurnStream(sessions, session, accepted.id)
            return open_stream(self._api, session, after=follower, deltas=call.deltas, watch=watch)
        except BaseException:
            follower.close()
            raise

    async def emit(self, session: str, name: str, data: Any = None, *, key: str | None = None) -> AcceptedInput:
        if not is_id(name):  # the body's pattern allows a final line break
            raise Invalid(f"{name!r} cannot name an event: use letters, digits and ._:- (at most 128)")
        if name.partition(".")[0] in registry.DOORS:
            raise Invalid(f"{name!r}: a door writes events of this name, and no client does")
        return _accepted(await self._sessions.emit(session, name, data, key=key))

    async def set_timer(
        self,
        session: str,
        timer: str,
        text: str,
        *,
        due: float | None = None,
        in_: float | None = None,
        key: str | None = None,
    ) -> AcceptedInput:
        _check_timer(timer)
        if (due is None) == (in_ is None):
            raise Invalid("give either `due` (seconds since 1970) or `in` (seconds from now)")
        if in_ is not None and key is not None:
            raise Invalid("with an Idempotency-Key give `due`: a repetition counts `in` from another moment")
        if not text.strip():
            raise Invalid("the message is empty", code="empty_message")
        due = due if due is not None else time.time() + (in_ or 0.0)
        return _accepted(await self._sessions.set_timer(session, timer, due, text, key=key))

    async def clear_timer(self, session: str, timer: str) -> AcceptedInput:
        _check_timer(timer)
        return _accepted(await self._sessions.clear_timer(session, timer))


def _accepted(accepted: Accepted) -> AcceptedInput:
    return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)


def _content(text: str | None, parts: list[UserPart] | None) -> list[UserPart]:
    if parts is not None and text is None:
        return parts
    if text is None or parts is not None:
        raise Invalid("give either `text` or `parts`")
    return [Text(text)]


def _check_source(source: str | None) -> None:
    if "#" in (source or ""):
        raise Invalid(f"source: {source!r} has a #, which only doors write")


def _check_timer(name: str) -> None:
    if not is_id(name):
        raise Invalid(f"{name!r} cannot name a timer: use letters, digits and ._:- (at most 128)")

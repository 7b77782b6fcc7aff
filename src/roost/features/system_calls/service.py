"""Accept calls, and find their results, on a running node."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.agent.definition import AgentSpec, decode_spec
from roost.errors import Forbidden, Invalid, NotFound
from roost.features.system_calls.api import CallsApi, CallView
from roost.features.system_calls.call_model import Asked
from roost.features.system_calls.events import SystemAnswered, SystemCallInput
from roost.features.system_calls.rights import MODEL, PROGRAM, refusal
from roost.kernel.service_host import ServiceHost
from roost.kernel.turn_watch import window

_ANSWERED = b'{"type":"system.answered"'
_CALLED = b'{"type":"system.called"'
_BYTES = 256 * 1024
_PAGE = 500


class SystemCallsService(CallsApi):
    """A request may call sessions of its own, in the name of sessions of its own."""

    def __init__(self, host: ServiceHost) -> None:
        self._host, self._sessions, self._inboxes = host, host.sessions, host.store.inboxes

    async def call(
        self,
        session: str,
        tool: str,
        arguments: dict[str, Any] | None = None,
        *,
        caller: str = "",
        key: str | None = None,
        wait: float | None = None,
    ) -> CallView:
        """Raises `Forbidden` (`not_served`), `Invalid`, `NotFound`, `Busy`, and `Conflict` when the session is
        stopped."""
        _, state = await self._sessions.state(session)
        who, tainted = await self._caller(caller)
        self._check(decode_spec(state.spec), who, tool, given := msgspec.json.encode(arguments or {}))
        item = SystemCallInput(tool, given.decode(), who, caller, tainted)
        accepted = await self._sessions.put(session, item, key=key)
        view = CallView(input=accepted.id, state="queued", duplicate=accepted.duplicate)
        if wait is None:
            return view
        found = await self._sessions.effect(session, accepted, _ANSWERED, wait=wait)
        if found is None:
            return await self._found(session, accepted.id) or view
        assert isinstance(found.event, SystemAnswered)
        return _done(found.event, duplicate=accepted.duplicate)

    async def get(self, session: str, input: str) -> CallView:
        """Raises `NotFound`."""
        found = await self._found(session, int(input)) if input.isdecimal() and len(input) < 19 else None
        if found is None:
            raise NotFound(f"session {session!r} has no call {input}", code="no_call")
        return found

    async def _found(self, session: str, input: int) -> CallView | None:
        """Look into the inbox first: a call that begins meanwhile is in the log then. Read the log backward: a call is
        asked about soon."""
        for item in await self._inboxes.pending(session):
            if item.id == input and isinstance(item.input, SystemCallInput):
                return CallView(input=input, state="queued")
        before = (await self._sessions.get(session)).head
        while before > 0:
            after = max(0, before - _PAGE)
            for record in reversed(await window(self._sessions, session, after, before)):
                if record.body.startswith((_ANSWERED, _CALLED)) and getattr(record.event, "input", None) == input:
                    event = record.event
                    return _done(event) if isinstance(event, SystemAnswered) else CallView(input=input, state="running")
            before = after
        return None

    async def _caller(self, session: str) -> tuple[str, str | None]:
        """Return the name of the caller, and what has tainted it. Raises `NotFound`."""
        if not session:
            return PROGRAM, None
        info, state = await self._sessions.state(session)
        return info.agent, None if state.tainted is None else f"session {session}, which has read {state.tainted}"

    def _check(self, spec: AgentSpec, caller: str, tool: str, arguments: bytes) -> None:
        if why := refusal(spec, caller, tool):
            raise Forbidden(why, code="not_served")
        if len(arguments) > _BYTES:
            raise Invalid(f"the arguments of a call have at most {_BYTES} bytes")
        if tool == MODEL:
            try:
                msgspec.json.decode(arguments, type=Asked)
            except msgspec.ValidationError as error:
                raise Invalid(
                    f"arguments of {MODEL!r}: {error}; send `prompt`, and `instructions` if you like"
                ) from None


def _done(event: SystemAnswered, *, duplicate: bool = False) -> CallView:
    return CallView(input=event.input, state="done", outcome=event.outcome, text=event.text, duplicate=duplicate)


SERVICE = SystemCallsService

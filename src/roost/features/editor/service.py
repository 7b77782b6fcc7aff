"""The editor's side of its calls, on a running node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roost.api.shapes import AcceptedInput
from roost.features.editor.api import EditorApi
from roost.features.editor.events import EditorAttachInput, EditorDetachInput, EditorResultInput, EditorTakeInput
from roost.kernel.service_host import ServiceHost
from roost.log.content import ResultPart
from roost.log.inputs import Input


class EditorService(EditorApi):
    def __init__(self, host: ServiceHost) -> None:
        self._sessions = host.sessions

    async def attach(
        self, session: str, editor: str, *, reads: bool = False, writes: bool = False, terminals: bool = False
    ) -> AcceptedInput:
        """Raises `NotFound`."""
        return await self._put(
            session, EditorAttachInput(editor=editor, reads=reads, writes=writes, terminals=terminals)
        )

    async def detach(self, session: str, editor: str) -> AcceptedInput:
        """Raises `NotFound`."""
        return await self._put(session, EditorDetachInput(editor=editor))

    async def take(self, session: str, editor: str, call: str) -> AcceptedInput:
        """Raises `NotFound`."""
        return await self._put(session, EditorTakeInput(call=call, editor=editor))

    async def result(
        self,
        session: str,
        editor: str,
        call: str,
        *,
        parts: Sequence[ResultPart] = (),
        error: bool = False,
        passed: str | None = None,
        seen: Mapping[str, str] | None = None,
        exit: int | None = None,
    ) -> AcceptedInput:
        """Raises `NotFound`."""
        order = EditorResultInput(
            call=call, editor=editor, parts=tuple(parts), error=error, passed=passed, seen={**(seen or {})}, exit=exit
        )
        return await self._put(session, order)

    async def _put(self, session: str, order: Input) -> AcceptedInput:
        accepted = await self._sessions.put(session, order)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)


SERVICE = EditorService

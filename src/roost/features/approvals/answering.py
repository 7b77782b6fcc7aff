"""Answer calls that wait for a person during `SessionHandle.ask`."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import msgspec

from roost.errors import Conflict, NotFound, RoostError
from roost.features.approvals.service import ApprovalService
from roost.log import events as ev
from roost.log.protocols import Record
from roost.log.session_info import Decision
from roost.log.session_views import WaitingCall

_SHOWN = 300


class Approval(msgspec.Struct, frozen=True):
    """An answer to a waiting call. `note` is told to the model with a rejection. `arguments`: run the call with these
    instead of the model's."""

    allow: bool
    note: str | None = None
    arguments: Mapping[str, Any] | None = None


OnApproval: TypeAlias = Callable[[WaitingCall], "Approval | bool | Awaitable[Approval | bool | None] | None"]
"""Asked about each call that waits. True allows it, False rejects it, None leaves it to another person or program."""


class ApprovalNeeded(RoostError):
    """A call waits for a person, so there is no answer yet. Answer it with `session.approve(error.waiting.call)` and
    wait on with `session.answer(error.input)`."""

    code, status = "approval_needed", 409

    def __init__(self, waiting: WaitingCall, input: int) -> None:
        self.waiting, self.input = waiting, input
        shown = waiting.arguments if len(waiting.arguments) <= _SHOWN else waiting.arguments[:_SHOWN] + "…"
        where = f"runtime.open({waiting.session!r})"
        super().__init__(
            f"session {waiting.session!r} waits for a person to allow {waiting.tool} {shown} ({waiting.reason});"
            f" answer it with {where}.approve({waiting.call!r}) or {where}.approve({waiting.call!r}, 'reject'), then"
            f" get the answer with .answer({input}); or give ask an on_approval=; or let the agent run such calls"
            " (permissions=, rules=, the tool's safety=)"
        )


class Approvals:
    """Answer waiting calls during one `ask` or `answer`, which waits for the turn of the input `item`."""

    def __init__(self, service: ApprovalService, session: str, item: int, answers: OnApproval | None) -> None:
        self._service, self._session, self._item, self._answers = service, session, item, answers

    async def see(self, record: Record) -> None:
        """Answer the call that the log's next event says waits. Raises `ApprovalNeeded` when there is no `on_approval`
        and the call has no due time, after which it would end by itself."""
        question = record.event.question if record.body.startswith(_asking()) else None
        if question is None:
            return
        waiting = await self._service.unanswered(question.session or self._session, question.call)
        if waiting is None:
            return
        if self._answers is not None:
            await self._answer(waiting, self._answers)
        elif question.due is None:  # with a due time it ends by itself
            raise ApprovalNeeded(waiting, self._item)

    async def _answer(self, waiting: WaitingCall, answers: OnApproval) -> None:
        said = answers(waiting)
        if inspect.isawaitable(said):
            said = await said
        if said is None:
            return
        if isinstance(said, bool):
            said = Approval(said)
        if not isinstance(said, Approval):  # pyright: ignore[reportUnnecessaryIsInstance]: a caller's mistake
            raise TypeError(f"on_approval returned {type(said).__name__}; return an Approval, True, False or None")
        decision: Decision = "reject" if not said.allow else "modify" if said.arguments is not None else "approve"
        arguments = said.arguments if decision == "modify" else None
        with contextlib.suppress(Conflict, NotFound):  # another answer was first, or the call ended
            await self._service.answer(
                waiting.session, waiting.call, decision, note=said.note, arguments=arguments, asked=waiting.asked
            )


@cache
def _asking() -> tuple[bytes, ...]:
    return tuple(map(ev.beginning_of, ev.declaring("question")))

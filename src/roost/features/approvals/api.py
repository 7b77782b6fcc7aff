"""Calls that wait for a person, and the answers to them."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import AcceptedInput, Answer
from roost.log.session_info import Decision, GrantScope
from roost.log.session_views import WaitingCall
from roost.operation import GET, POST


class WaitingCalls(Answer):
    approvals: list[WaitingCall]


class ApprovalsApi(Protocol):
    @GET("/sessions/{session}/approvals", errors=(404,), right="read")
    async def waiting(self, session: str) -> WaitingCalls:
        """Calls that wait for a person, in the session and in all that come from it."""
        ...

    @POST(
        "/sessions/{session}/approvals/{call:path}",
        202,
        body="ApprovalBody",
        errors=(404, 409),
        repeatable=True,
        right="use",
    )
    async def answer(
        self,
        session: str,
        call: str,
        decision: Decision,
        *,
        note: str | None = None,
        arguments: dict[str, Any] | None = None,
        always: Annotated[list[str], Meta(max_length=32)] = [],  # noqa: B006 - never changed
        scope: GrantScope | None = None,
        asked: int | None = None,
        source: Annotated[str, Meta(max_length=256)] | None = None,
    ) -> AcceptedInput:
        """Answer a call that waits for a person.

        With `modify` the call runs with these `arguments` instead of the model's. `always`: rules that the question
        offers, which count from now on, within `scope`. `asked`: the position of the question.
        """
        ...

"""Inputs of a session: messages, a program's events, timers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import AcceptedInput, Name, Seconds
from roost.log.session_info import InputMode
from roost.operation import DELETE, POST, PUT

if TYPE_CHECKING:
    from roost.log.content import UserPart

LATER = {"UserPart": "roost.log.content"}
MEDIA_BYTES = 32 * 1024 * 1024
"""Most bytes of a message, which may hold pictures."""
_Text = Annotated[str, Meta(min_length=1)]
_TIMER = "/sessions/{session}/timers/{timer}"


class InputsApi(Protocol):
    @POST(
        "/sessions/{session}/messages",
        202,
        body="MessageBody",
        errors=(404, 409),
        keyed=True,
        streams=True,
        most=MEDIA_BYTES,
        right="use",
    )
    async def send(
        self,
        session: str,
        text: str | None = None,
        *,
        parts: Annotated[list[UserPart], Meta(min_length=1, max_length=256)] | None = None,
        mode: InputMode = "follow_up",
        source: Annotated[str, Meta(max_length=256)] | None = None,
        key: str | None = None,
    ) -> AcceptedInput:
        """Say something to the agent. As a stream: the events from here to the end of the turn that takes it in.

        Either `text` or `parts`. `steer`: delivered into the running turn. `follow_up`: delivered when it has ended.
        """
        ...

    @POST("/sessions/{session}/emit", 202, body="EmitBody", errors=(404, 409), keyed=True, right="use")
    async def emit(self, session: str, name: Name, data: Any = None, *, key: str | None = None) -> AcceptedInput:
        """Put a program's own event into the log."""
        ...

    @PUT(_TIMER, 202, body="TimerBody", errors=(404, 409), keyed=True, right="use")
    async def set_timer(
        self,
        session: str,
        timer: str,
        text: _Text,
        *,
        due: Seconds | None = None,
        in_: Seconds | None = None,
        key: str | None = None,
    ) -> AcceptedInput:
        """Say something to the agent at a time, once, whatever crashes in between.

        Either `due` (seconds since 1970) or `in` (seconds from now).
        """
        ...

    @DELETE(_TIMER, 202, errors=(404,), right="use")
    async def clear_timer(self, session: str, timer: str) -> AcceptedInput:
        """Clear a timer."""
        ...

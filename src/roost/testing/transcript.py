"""Check a transcript as strictly as model providers do, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from roost.log.content import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from roost.models.profile import Profile
from roost.models.wires.openai_chat.request import compile_messages
from roost.stub.dialects.checks import need
from roost.stub.dialects.openai_chat_check import check_messages

_ALL = Profile(images=True, audio=True, video=True, files=True)


def check_transcript(messages: Sequence[Message], *, provider: Literal["openai"] = "openai") -> None:
    """Raise `AssertionError` with the reason where a provider would refuse `messages`. An empty transcript passes.

    The first message must be the user's; every call must be answered exactly once, directly after its message and
    before anything else; no result may be an orphan; call ids must be unique in the whole transcript; no message may be
    empty; and the request made by the wire of `provider` must pass that wire's own check.
    """
    need(not messages or isinstance(messages[0], UserMessage), "the first message is not the user's")
    open_calls: dict[str, ToolCall] = {}
    seen: set[str] = set()
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            call = open_calls.pop(message.call, None)
            need(call is not None, f"message {at}: the result {message.call!r} has no call directly before it")
            need(call is None or call.name == message.name, f"message {at}: the result is of another tool")
            continue
        need(not open_calls, f"message {at}: calls {list(open_calls)} have no result before it")
        need(bool(message.parts), f"message {at}: it is empty")
        if isinstance(message, AssistantMessage):
            for call in message.calls:
                need(bool(call.id) and call.id not in seen, f"message {at}: the call id {call.id!r} is not unique")
                seen.add(call.id)
                open_calls[call.id] = call
    need(not open_calls, f"calls {list(open_calls)} have no result")
    if provider == "openai" and messages:
        check_messages(compile_messages(messages, profile=_ALL))

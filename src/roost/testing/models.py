"""Helpers for tests of any `Model`: ask it, and check that its stream keeps the contract."""

from __future__ import annotations

from typing import Any

from roost.log.content import Message, Text, ToolCall, UserMessage
from roost.models.request import Completed, Failed, Model, ModelEvent, Request


def user(text: str) -> UserMessage:
    return UserMessage((Text(text),))


def ask(*messages: Message, **options: Any) -> Request:
    """Return a request with a short instruction; without messages the user says hello."""
    return Request(instruction="Be brief.", messages=messages or (user("Hello"),), **options)


async def run(model: Model, request: Request | None = None) -> tuple[list[ModelEvent], Completed | Failed]:
    """Return the deltas and the end. Raises `AssertionError` where the stream breaks the contract of `Model`: not
    exactly one end, an end that is not last, call ids that are not unique, or an empty answer."""
    events = [event async for event in model.stream(request or ask())]
    ends = [event for event in events if isinstance(event, Completed | Failed)]
    if len(ends) != 1 or events[-1] is not ends[0]:
        raise AssertionError(f"the stream has {len(ends)} ends and closes with {events[-1:]!r}")
    end = ends[0]
    if isinstance(end, Completed):
        calls = [part.id for part in end.parts if isinstance(part, ToolCall)]
        if len(calls) != len(set(calls)) or not all(calls):
            raise AssertionError(f"the call ids {calls} are not unique")
        if not end.parts and end.cut is None:
            raise AssertionError("a completed answer says nothing")
    return events[:-1], end


async def completed(model: Model, request: Request | None = None) -> Completed:
    _, end = await run(model, request)
    if isinstance(end, Failed):
        raise AssertionError(f"the call failed: {end.error!r}")
    return end


async def failed(model: Model, request: Request | None = None) -> Failed:
    _, end = await run(model, request)
    if isinstance(end, Completed):
        raise AssertionError(f"the call did not fail: {end!r}")
    return end

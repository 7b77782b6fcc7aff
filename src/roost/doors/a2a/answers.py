"""Read what a message says to the approvals that a task waits for."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from roost.doors.a2a.shapes import Message
from roost.doors.approvals import Answer, answer_of
from roost.doors.open_calls import Asked
from roost.errors import Invalid

_YES = {"yes", "y", "ok", "okay", "approve", "approved", "allow"}
_NO = {"no", "n", "deny", "denied", "reject", "rejected"}


class _Named(msgspec.Struct):
    """The question that an answer names: the call, and the position of the question."""

    call: str
    asked: int


def answers_of(message: Message) -> Answer | dict[Asked, Answer]:
    """Return the answers to the questions that a message names, or the one answer of a message that names none. Raises
    `Invalid`."""
    data = [part.data for part in message.parts if part.data is not msgspec.UNSET]
    word = " ".join(part.text or "" for part in message.parts).strip().lower().rstrip(".!")
    said = answer_of(word in _YES) if word in _YES | _NO else None
    if len(data) > 1:
        raise Invalid("message.parts: one part of data answers")
    if not data:
        if said is None:
            raise Invalid("message.parts: the task waits for an approval: answer as the message of its status says")
        return said
    found = _given(data[0])
    given = [found] if isinstance(found, Answer) else list(found.values())
    if said is not None and any((one.decision == "reject") != (said.decision == "reject") for one in given):
        raise Invalid("message.parts: the text and the data contradict each other")
    return found


def _given(data: Any) -> Answer | dict[Asked, Answer]:
    listed = cast("dict[str, Any]", data).get("approvals") if isinstance(data, dict) else None
    if listed is None:
        return answer_of(data)
    found: dict[Asked, Answer] = {}
    for one in cast("list[Any]", listed) if isinstance(listed, list) else [None]:
        try:
            named = msgspec.convert(one, _Named, strict=False)  # numbers of protobuf are floating
        except msgspec.ValidationError as error:
            raise Invalid(f"message.parts: `approvals` lists objects with `call` and `asked`: {error}") from None
        if (asked := Asked(named.call, named.asked)) in found:
            raise Invalid(f"message.parts: the call {named.call!r} is answered twice")
        found[asked] = answer_of(one)
    if not found:
        raise Invalid("message.parts: `approvals` is empty")
    return found

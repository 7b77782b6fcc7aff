"""Answers that hold messages or events: what `roost ps` and `roost send` never import."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from roost.api.shapes import Answer
from roost.log.content import Message
from roost.log.events import Event, decode_event

E = TypeVar("E")


class Transcript(Answer):
    """The messages in the model's context."""

    messages: list[Message]


class Entry(msgspec.Struct, Generic[E], kw_only=True):
    seq: int
    event: E


class EventPage(msgspec.Struct, Generic[E], kw_only=True):
    """`head`: the number of the newest event."""

    events: list[Entry[E]]
    head: int


def event_of(entry: Entry[msgspec.Raw]) -> Event:
    """Decode an entry's event. Raises `UnknownEvent` for a kind that only a newer Roost knows."""
    return decode_event(bytes(entry.event))

"""Live pieces of unfinished steps, from the loop to whoever is watching. Nothing here is durable."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, TypeAlias

import msgspec

DeltaKind: TypeAlias = Literal["text", "thinking", "call"]
_BUFFER = 512
_encode = msgspec.json.Encoder().encode


class Delta(msgspec.Struct, frozen=True, tag_field="type", tag="delta"):
    """A piece of step `step`, which began with event `after`. `offset` counts the characters of this kind that came
    before it: a reader that joins late or lagged gets all of it from offset 0, and drops what it has already."""

    step: int
    after: int
    kind: DeltaKind
    offset: int
    text: str


class Listener:
    """One reader's bounded queue of encoded deltas. When it overflows the reader starts over from what there is."""

    def __init__(self, woken: asyncio.Event) -> None:
        self.woken = woken
        self.queue: deque[tuple[int, bytes]] = deque()
        self.lagged = True

    def put(self, after: int, body: bytes) -> None:
        if len(self.queue) >= _BUFFER:
            self.queue.clear()
            self.lagged = True
        elif not self.lagged:
            self.queue.append((after, body))
        self.woken.set()


class _Partial:
    def __init__(self, step: int, after: int) -> None:
        self.step = step
        self.after = after
        self.text: dict[DeltaKind, list[str]] = {}
        self.length: dict[DeltaKind, int] = {}


class Hub:
    """Implements `roost.agent.session.Deltas`."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}
        self._partial: dict[str, _Partial] = {}

    def push(self, session: str, step: int, after: int, kind: DeltaKind, text: str) -> None:
        if not text:
            return
        partial = self._partial.get(session)
        if partial is None or partial.step != step:
            partial = self._partial[session] = _Partial(step, after)
        offset = partial.length.get(kind, 0)
        partial.text.setdefault(kind, []).append(text)
        partial.length[kind] = offset + len(text)
        listeners = self._listeners.get(session)
        if listeners:
            body = _encode(Delta(step, after, kind, offset, text))
            for listener in listeners:
                listener.put(after, body)

    def clear(self, session: str) -> None:
        self._partial.pop(session, None)

    def join(self, session: str, woken: asyncio.Event) -> Listener:
        listener = Listener(woken)
        self._listeners.setdefault(session, set()).add(listener)
        return listener

    def part(self, session: str, listener: Listener) -> None:
        listeners = self._listeners.get(session)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[session]

    def take(self, session: str, listener: Listener) -> list[tuple[int, bytes]]:
        """What is new for this reader: each with the event that it comes after."""
        if listener.lagged:
            listener.lagged = False
            listener.queue.clear()
            partial = self._partial.get(session)
            if partial is None:
                return []
            return [
                (partial.after, _encode(Delta(partial.step, partial.after, kind, 0, "".join(text))))
                for kind, text in partial.text.items()
            ]
        taken = list(listener.queue)
        listener.queue.clear()
        return taken

"""Deliver live deltas of unfinished steps from the agent loop to readers. Nothing here is durable."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

import msgspec

from roost.log.frames import Delta, DeltaKind, Progress
from roost.models import request

_BUFFER = 512
_encode = msgspec.json.Encoder().encode


class Cleared(msgspec.Struct, frozen=True, tag_field="type", tag="cleared"):
    """The step is over: its deltas are obsolete. Sent only to other nodes; readers see it in the log."""


_CLEARED = _encode(Cleared())


class Listener:
    """One reader's bounded queue of encoded deltas. After an overflow the reader starts over from the present text.
    `relays`: it passes the deltas to another node's hub."""

    def __init__(self, woken: asyncio.Event, *, relays: bool = False) -> None:
        self.woken = woken
        self.relays = relays
        self.queue: deque[tuple[int, bytes]] = deque()
        self.lagged = True

    def put(self, after: int, body: bytes) -> None:
        if len(self.queue) >= _BUFFER:
            self.queue.clear()
            self.lagged = True
        elif not self.lagged:
            self.queue.append((after, body))
        self.woken.set()


class Audience(Protocol):
    """Told which sessions are watched here."""

    def joined(self, session: str) -> None:
        """A reader joined."""
        ...

    def left(self, session: str) -> None:
        """A reader left."""
        ...


class _Partial:
    def __init__(self, step: int, after: int, *, foreign: bool) -> None:
        self.step = step
        self.after = after
        self.foreign = foreign
        self.text: dict[DeltaKind, list[str]] = {}
        self.length: dict[DeltaKind, int] = {}
        self.progress: bytes | None = None


class Hub:
    """The deltas of a node's sessions. Implements `roost.agent.resources.Deltas`. `audience` is told of readers, except
    relays."""

    def __init__(self) -> None:
        self.audience: Audience | None = None
        self._listeners: dict[str, set[Listener]] = {}
        self._partial: dict[str, _Partial] = {}

    def push(self, session: str, step: int, after: int, kind: DeltaKind, text: str) -> None:
        """Add text to the step in progress and send it to the readers."""
        if not text:
            return
        self._add(session, self._own(session, step, after), kind, text)

    def progress(self, session: str, step: int, after: int, progress: request.Progress) -> None:
        """Replace the step's progress and send it to the readers, except relays."""
        partial = self._own(session, step, after)
        body = _encode(Progress(step, after, progress.stage, progress.done, progress.total))
        partial.progress = body
        for listener in self._listeners.get(session, ()):
            if not listener.relays:
                listener.put(after, body)

    def _own(self, session: str, step: int, after: int) -> _Partial:
        """Return the partial text of a step on this node."""
        partial = self._partial.get(session)
        if partial is None or (partial.step, partial.after) != (step, after) or partial.foreign:
            partial = self._partial[session] = _Partial(step, after, foreign=False)
        return partial

    def feed(self, session: str, piece: Delta) -> None:
        """Add a delta from the node that runs the session; it may be known already. Ignores a delta of a former owner,
        or one after a gap: the log will have the whole."""
        partial = self._partial.get(session)
        if partial is None or (partial.step, partial.after) != (piece.step, piece.after):
            if piece.offset or (partial is not None and (not partial.foreign or piece.after < partial.after)):
                return
            partial = self._partial[session] = _Partial(piece.step, piece.after, foreign=True)
        have = partial.length.get(piece.kind, 0)
        text = piece.text[have - piece.offset :] if piece.offset <= have else ""
        if text:
            self._add(session, partial, piece.kind, text)

    def clear(self, session: str) -> None:
        """Drop the deltas of a session whose step has ended."""
        self._partial.pop(session, None)
        for listener in self._listeners.get(session, ()):
            if listener.relays:
                listener.put(0, _CLEARED)

    def forget(self, session: str) -> None:
        """Drop the deltas from another node."""
        partial = self._partial.get(session)
        if partial is not None and partial.foreign:
            del self._partial[session]

    def join(self, session: str, woken: asyncio.Event, *, relays: bool = False) -> Listener:
        """Add a reader. It gets the deltas from the beginning of the step in progress."""
        listener = Listener(woken, relays=relays)
        self._listeners.setdefault(session, set()).add(listener)
        if self.audience is not None and not relays:
            self.audience.joined(session)
        return listener

    def part(self, session: str, listener: Listener) -> None:
        listeners = self._listeners.get(session)
        if listeners is None or listener not in listeners:
            return
        listeners.discard(listener)
        if not listeners:
            del self._listeners[session]
        if self.audience is not None and not listener.relays:
            self.audience.left(session)

    def take(self, session: str, listener: Listener) -> list[tuple[int, bytes]]:
        """Return the new deltas for this reader, each with the event that it follows."""
        if listener.lagged:
            listener.lagged = False
            listener.queue.clear()
            partial = self._partial.get(session)
            if partial is None:
                return [(0, _CLEARED)] if listener.relays else []
            pieces = [
                (partial.after, _encode(Delta(partial.step, partial.after, kind, 0, "".join(text))))
                for kind, text in partial.text.items()
            ]
            if partial.progress is not None and not listener.relays:
                pieces.append((partial.after, partial.progress))
            return pieces
        taken = list(listener.queue)
        listener.queue.clear()
        return taken

    def _add(self, session: str, partial: _Partial, kind: DeltaKind, text: str) -> None:
        partial.progress = None
        offset = partial.length.get(kind, 0)
        partial.text.setdefault(kind, []).append(text)
        partial.length[kind] = offset + len(text)
        listeners = self._listeners.get(session)
        if listeners:
            body = _encode(Delta(partial.step, partial.after, kind, offset, text))
            for listener in listeners:
                listener.put(partial.after, body)

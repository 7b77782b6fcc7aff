"""Digests of a conversation as a client of a stateless protocol resends it.

A client sends the whole history with each request. Two histories have one digest when they say the same: white space,
and how a text is cut into parts, do not count, since clients trim and join texts. `follow` computes the same digests
from a session's log, so that a door finds the session of a history without keeping anything itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from roost.log import events as ev
from roost.log.content import Text, UserPart
from roost.log.protocols import Record

_SIZE = 12
_BEFORE = re.compile(r"\[Before this conversation came to Roost, ([0-9a-f]{24})\]\n")
_READ = (
    b'{"type":"input.received"',
    b'{"type":"model.completed"',
    b'{"type":"turn.completed"',
    b'{"type":"session.rolled_back"',
)


class Exchange(NamedTuple):
    """A message of the user and the answer to it."""

    parts: tuple[UserPart, ...]
    answer: str


class Ended(NamedTuple):
    """A turn that came through a door. digest: of the conversation up to its end. end: the position of its last
    event."""

    digest: bytes
    end: int


def beginning(*names: str) -> bytes:
    """Return the digest of a conversation in which nothing was said. names: what keeps it apart from others."""
    return _hashed(b"", *(name.encode() for name in names))


def asked(before: bytes, parts: Sequence[UserPart], scrub: Callable[[str], str] = str) -> bytes:
    """Return the digest after the user said `parts`. scrub: masks what the log masks."""
    texts = [_plain(scrub(part.text)) for part in parts if isinstance(part, Text)]
    media = [f"{type(part).__name__}:{part.data or part.url}" for part in parts if not isinstance(part, Text)]
    return _hashed(before, "".join(texts).encode("utf-8", "replace"), *(one.encode() for one in media))


def answered(after: bytes, answer: str) -> bytes:
    """Return the digest after the agent said `answer` to what `asked` returned `after`."""
    return _hashed(after, _plain(answer).encode("utf-8", "replace"))


def told_before(digest: bytes, exchanges: Sequence[Exchange]) -> Text:
    """Return a part that tells an agent of a conversation that it has not had. `digest`: of that conversation."""
    lines = [f"[Before this conversation came to Roost, {digest.hex()}]"]
    for exchange in exchanges:
        said = " ".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in exchange.parts)
        lines += [f"User: {said}", f"You: {exchange.answer}"]
    return Text("\n".join((*lines, "[The conversation goes on with what follows.]")) + "\n")


class ConversationReader:
    """Fold the events of a session into the digests of the conversation that a door had with it. Turns that came
    another way are no part of it, and neither is a failed turn: its client got an error."""

    def __init__(self, start: bytes, source: str) -> None:
        self.turns: list[Ended] = []
        self._start, self._source = start, source
        self._asked: bytes | None = None
        self._texts: list[str] = []

    def follow(self, record: Record) -> None:
        if not record.body.startswith(_READ):
            return
        event = record.event
        if isinstance(event, ev.InputReceived):
            if event.source is not None and event.source.partition("#")[0] == self._source:
                self._asked, self._texts = self._after(event.parts), []
        elif isinstance(event, ev.ModelCompleted):
            self._texts.append(text_of(event))
        elif isinstance(event, ev.SessionRolledBack):
            self.turns = [turn for turn in self.turns if turn.end <= event.to]
            self._asked = None
        elif isinstance(event, ev.TurnCompleted) and self._asked is not None:
            if event.outcome != "failed":
                self.turns.append(Ended(answered(self._asked, joined(self._texts)), record.seq))
            self._asked = None

    def _after(self, parts: Sequence[UserPart]) -> bytes:
        before = self.turns[-1].digest if self.turns else self._start
        if parts and isinstance(parts[0], Text) and (found := _BEFORE.match(parts[0].text)):
            before, parts = bytes.fromhex(found[1]), parts[1:]
        return asked(before, parts)


def text_of(event: ev.ModelCompleted) -> str:
    return "".join(part.text for part in event.parts if isinstance(part, Text))


def joined(texts: Sequence[str]) -> str:
    """Return the answer of a turn whose model calls said `texts`."""
    return "\n\n".join(text for text in texts if text)


def _plain(text: str) -> str:
    return "".join(text.split())


def _hashed(before: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(before, digest_size=_SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

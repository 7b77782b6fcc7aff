"""Digests of a conversation as a client of a stateless protocol resends it.

A client sends the whole history with each request. Two histories have one digest when they say the same: white space,
and how a text is cut into parts, do not count, since clients trim and join texts. `follow` computes the same digests
from a session's log, so that a door finds the session of a history without keeping anything itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from roost.features.client_tools.events import ClientCalled
from roost.log import events as ev
from roost.log.content import Text, UserPart
from roost.log.protocols import Record

_SIZE = 12
_DIGEST = re.compile(rf"[0-9a-f]{{{2 * _SIZE}}}")
_SLICE = 64 * 1024
"""Characters that are normalised at once, in about 2 ms."""
_READ = (
    b'{"type":"input.received"',
    b'{"type":"model.completed"',
    b'{"type":"client.called"',
    b'{"type":"turn.completed"',
    b'{"type":"session.rolled_back"',
    b'{"type":"session.forked"',
    b'{"type":"session.imported"',
)


class Exchange(NamedTuple):
    """A message of the user and the answer to it. calls: ids of those that the client ran, as it knows them."""

    parts: tuple[UserPart, ...]
    answer: str
    calls: tuple[str, ...] = ()


class Ended(NamedTuple):
    """The end of a turn, at a position of the log. own: the session has run the turn itself, before no fork of it."""

    end: int
    own: bool


def beginning(*names: str) -> bytes:
    """Return the digest of a conversation in which nothing was said. names: what keeps it apart from others."""
    return _hashed(b"", *(name.encode() for name in names))


def asked(before: bytes, parts: Sequence[UserPart], scrub: Callable[[str], str] = str) -> bytes:
    """Return the digest after the user said `parts`. scrub: masks what the log masks."""
    texts = [_plain(scrub(part.text)) for part in parts if isinstance(part, Text)]
    media = [f"{type(part).__name__}:{part.data or part.url}" for part in parts if not isinstance(part, Text)]
    return _hashed(before, "".join(texts).encode("utf-8", "replace"), *(one.encode() for one in media))


def answered(after: bytes, answer: str, calls: Sequence[str] = ()) -> bytes:
    """Return the digest after the agent said `answer` to what `asked` returned `after`. calls: ids of the client's
    calls. They name session and input, so two conversations with the same words and other results are two."""
    return _hashed(after, _plain(answer).encode("utf-8", "replace"), *(one.encode("utf-8", "replace") for one in calls))


def told_before(exchanges: Sequence[Exchange]) -> Text:
    """Return a part that tells an agent of a conversation that it has not had."""
    lines = ["[Before this conversation came to Roost]"]
    for exchange in exchanges:
        said = " ".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in exchange.parts)
        lines += [f"User: {said}", *([f"You: {exchange.answer}"] if exchange.answer else [])]
    return Text("\n".join((*lines, "[The conversation goes on with what follows.]")) + "\n")


class Said(NamedTuple):
    """A message that came through a door, by the event that took it in. mark: what of a request besides its words
    decides whether another one repeats it. told: the digest of a history that the session did not have and was told."""

    parts: tuple[UserPart, ...]
    mark: str
    told: bytes | None


def source_of(name: str, mark: str, told: bytes | None = None) -> str:
    """Return the `source` of a message of the door `name`, which `said_in` reads. No user can write it."""
    if told is not None:
        return f"{name}#{mark}#{told.hex()}"
    return f"{name}#{mark}" if mark else name


def said_in(event: ev.InputReceived, name: str) -> Said | None:
    """Return the message of the door `name`; None for any other, and where the source is no door's."""
    door, _, rest = (event.source or "").partition("#")
    if door != name:
        return None
    mark, _, told = rest.partition("#")
    if not told:
        return Said(event.parts, mark, None)
    digest = bytes.fromhex(told) if _DIGEST.fullmatch(told) else None
    return None if digest is None or len(event.parts) < 2 else Said(event.parts[1:], mark, digest)


class _Turn:
    """A turn that came through a door, or the part of one up to another message. owner: the session that ran it; None
    for the one that is read. whole: its end is that of a turn, where a conversation can go on."""

    def __init__(self, said: Said, item: int) -> None:
        self.said, self.item = said, item
        self.owner: str | None = None
        self.texts: list[str] = []
        self.calls: list[str] = []
        self.end, self.whole = 0, False


class ConversationReader:
    """Fold the events of a session into the digests of the conversation that a door had with it. Turns that came
    another way are no part of it, and neither is a failed turn: its client got an error."""

    def __init__(self, session: str, start: bytes, name: str) -> None:
        self._session, self._start, self._name = session, start, name
        self._turns: list[_Turn] = []
        self._open: _Turn | None = None

    def follow(self, record: Record) -> None:
        if not record.body.startswith(_READ):
            return
        match record.event:
            case ev.InputReceived() as event:
                if (said := said_in(event, self._name)) is not None:
                    if self._open is not None:  # said in the open turn, beside the results of calls
                        self._open.end = record.seq - 1
                        self._turns.append(self._open)
                    self._open = _Turn(said, event.input)
            case ev.ModelCompleted() as event if self._open is not None:
                self._open.texts.append(text_of(event))
            case ClientCalled() as event if self._open is not None:
                self._open.calls.append(event.call)
            case ev.SessionRolledBack() as event:
                self._turns = [turn for turn in self._turns if turn.end <= event.to]
                self._open = None
            case ev.SessionForked() | ev.SessionImported() as event:
                self._leave(event.source)
            case ev.TurnCompleted() as event if self._open is not None:
                self._open.end, self._open.whole = record.seq, True
                self._turns += [self._open] if event.outcome != "failed" else []
                self._open = None
            case _:
                pass

    def _leave(self, source: str) -> None:
        """Note that all turns so far are those of another session."""
        for turn in self._turns:
            turn.owner = turn.owner or source
        self._open = None

    def turns(self) -> dict[bytes, Ended]:
        """Return the ends of the turns by digest, in order."""
        found, at = dict[bytes, Ended](), self._start
        for turn in self._turns:
            ids = [call_id(turn.owner or self._session, turn.item, call) for call in turn.calls]
            before = at if turn.said.told is None else turn.said.told
            at = answered(asked(before, turn.said.parts), joined(turn.texts), ids)
            if turn.whole:
                found[at] = Ended(turn.end, turn.owner is None)
        return found


def call_id(session: str, item: int, call: str) -> str:
    """Return the id of a call for its client: it comes back with the result."""
    return f"{session}/{item}/{call}"


def text_of(event: ev.ModelCompleted) -> str:
    return "".join(part.text for part in event.parts if isinstance(part, Text))


def joined(texts: Sequence[str]) -> str:
    """Return the answer of a turn whose model calls said `texts`."""
    return "\n\n".join(text for text in texts if text)


def _plain(text: str) -> str:
    """Remove white space. In slices: one `split` of many megabytes would keep all other threads waiting."""
    return "".join("".join(text[at : at + _SLICE].split()) for at in range(0, len(text), _SLICE))


def _hashed(before: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(before, digest_size=_SIZE)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()

"""Read the answer to one message from the frames of its session, as text that a client cannot take back."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from roost.doors.digests import joined, text_of
from roost.doors.log_end import LogTail
from roost.features.client_tools.events import ClientCalled
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import Halted, TurnWatch
from roost.log import events as ev
from roost.log.content import Thinking, ToolCall, Usage
from roost.log.frames import Delta, Frame
from roost.log.session_info import TurnOutcome

_DELTA = b'{"type":"delta"'
_COMPLETED = b'{"type":"model.completed"'
_CALLED = b'{"type":"client.called"'
_OUTCOME = b'{"type":"tool.completed"'
_NOTICE = b'{"type":"model.notice"'
Kind: TypeAlias = Literal["text", "thinking"]
_delta = msgspec.json.Decoder(Delta)


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A piece of the answer. step: the model call that said it."""

    kind: Kind
    text: str
    step: int


class TurnEnd(NamedTuple):
    """The end of the turn. answer: its whole text. stop: why the last model call ended. end: position in the log. at:
    wall time, seconds."""

    outcome: TurnOutcome
    reason: str | None
    answer: str
    thinking: str
    stop: str
    usage: Usage
    end: int
    at: float


class CallsWait(NamedTuple):
    """The turn goes on once the client has run these calls. answer, thinking: what was said so far. usage: of the
    model calls that were read. step: the one that asked for the calls. at: wall time, seconds."""

    calls: tuple[ClientCalled, ...]
    answer: str
    thinking: str
    usage: Usage
    step: int
    at: float


Read: TypeAlias = Piece | TurnEnd | CallsWait | Halted


class _Sent:
    """What was sent of one kind in the running step."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.size = 0


class TurnReader:
    """Turn frames into pieces, each piece once, and the end. A model call that begins again, after a part of it was
    sent, is sent whole once it is complete. resumed: read the part of a turn that follows the results of calls, from
    their position on. separator: what stands between the texts of several model calls. tail: notes the events."""

    def __init__(
        self,
        sessions: Sessions,
        session: str,
        item: int,
        *,
        resumed: bool = False,
        separator: str = "\n\n",
        tail: LogTail | None = None,
    ) -> None:
        self._watch = TurnWatch(sessions, session, item, received=resumed)
        self._tail = tail
        self._resumed = resumed
        self._separator = separator
        self._received: int | None = 0 if resumed else None
        self._usage = Usage(cost=0)
        self._open: set[str] = set()
        self._called: dict[str, ClientCalled] = {}
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._stop = "end"
        self._step = 0
        self._asked = 0
        self._sent: dict[str, _Sent] = {}
        self._held = False

    async def read(self, frames: list[Frame]) -> list[Read]:
        """Return what the next frames say. The last frame of a turn is followed by nothing. No frames: after a silence,
        check whether the session is halted."""
        found: list[Read] = []
        if not frames and (halted := await self._watch.look()) is not None:
            return [halted]
        for seq, body in frames:
            if seq is None:
                if self._received is not None and body.startswith(_DELTA):
                    self._hear(_delta.decode(body), self._received, found)
                continue
            if self._tail is not None:
                self._tail.note(seq, body)
            if end := await self._watch.see(body):
                found.append(self._end(seq, body) if end == "completed" else end)
                break
            self._note(seq, body, found)
            if self._called and self._open == self._called.keys():
                calls = tuple(self._called.values())
                said = joined(self._texts), joined(self._thoughts)
                found.append(CallsWait(calls, *said, self._usage, self._asked, calls[-1].at))
                break
        return found

    def _note(self, seq: int, body: bytes, found: list[Read]) -> None:
        if self._received is None:
            if (taken := self._watch.taken) is not None:
                self._received = seq
                self._resumed = taken.mode == "steer"  # the client knows the usage of the part before
        elif body.startswith(_COMPLETED):
            event = ev.decode_event(body)
            assert isinstance(event, ev.ModelCompleted)
            self._complete(event, found)
        elif body.startswith(_CALLED):
            event = ev.decode_event(body)
            assert isinstance(event, ClientCalled)
            self._called[event.call] = event
        elif self._open and body.startswith(_OUTCOME):
            event = ev.decode_event(body)
            assert isinstance(event, ev.ToolCompleted)
            self._open.discard(event.call)
            self._called.pop(event.call, None)
        elif body.startswith(_NOTICE) and b'"kind":"restart"' in body[:64]:
            self._held = bool(self._sent)

    def _hear(self, delta: Delta, received: int, found: list[Read]) -> None:
        kind, step = delta.kind, delta.step
        if kind == "call" or delta.after < received:
            return
        if step != self._step:
            self._step, self._sent, self._held = step, {}, False
        if self._held:
            return
        sent, text = self._sent.get(kind), delta.text
        if sent is not None and delta.offset == sent.size and text:  # as nearly all do, it goes on
            sent.texts.append(text)
            sent.size += len(text)
            found.append(Piece(kind, text, step))
        elif delta.offset <= (size := 0 if sent is None else sent.size):
            self._give(kind, text[size - delta.offset :], found)

    def _complete(self, event: ev.ModelCompleted, found: list[Read]) -> None:
        """Send what the deltas have left out: all of it for a reader that came late."""
        if event.step != self._step:
            self._step, self._sent = event.step, {}
        thought, text = "".join([part.text for part in event.parts if isinstance(part, Thinking)]), text_of(event)
        self._rest("thinking", thought, found)
        self._rest("text", text, found)
        self._thoughts.append(thought)
        self._texts.append(text)
        self._open, self._called = {part.id for part in event.parts if isinstance(part, ToolCall)}, {}
        self._usage += event.usage
        self._stop, self._asked = event.stop, event.step
        self._step, self._sent, self._held = 0, {}, False

    def _rest(self, kind: Kind, whole: str, found: list[Read]) -> None:
        sent = "".join(self._sent[kind].texts) if kind in self._sent else ""
        if whole.startswith(sent):
            self._give(kind, whole[len(sent) :], found)
        elif kind == "text":
            found.append(Piece("text", "\n\n" + whole, self._step))

    def _give(self, kind: Kind, text: str, found: list[Read]) -> None:
        if not text:
            return
        if first := kind not in self._sent:
            self._sent[kind] = _Sent()
        self._sent[kind].texts.append(text)
        self._sent[kind].size += len(text)
        before = self._texts if kind == "text" else self._thoughts
        found.append(Piece(kind, self._separator + text if first and any(before) else text, self._step))

    def _end(self, seq: int, body: bytes) -> TurnEnd:
        event = ev.decode_event(body)
        assert isinstance(event, ev.TurnCompleted)
        if self._tail is not None:
            self._tail.keep()
        answer, thinking = joined(self._texts), joined(self._thoughts)
        return TurnEnd(
            event.outcome,
            event.reason,
            answer,
            thinking,
            self._stop,
            self._usage if self._resumed else event.usage,
            seq,
            event.at,
        )

"""Follow which calls of a turn are open, and who must act before the turn goes on."""

from __future__ import annotations

from typing import NamedTuple

from roost.features.client_tools.events import ClientCalled
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn
from roost.log import events as ev
from roost.log.content import ToolCall

_PAGE = 1000
_READ = (
    b'{"type":"model.completed"',
    b'{"type":"tool.completed"',
    b'{"type":"client.called"',
    b'{"type":"approval.requested"',
    b'{"type":"approval.resolved"',
)


def matters(body: bytes) -> bool:
    """Whether an event changes which calls are open."""
    return body.startswith(_READ)


def takes(body: bytes, item: int) -> bool:
    """Whether an event takes an item of the inbox into a turn."""
    if not body.startswith(b'{"type":"input.received"'):
        return False
    event = ev.decode_event(body)
    return isinstance(event, ev.InputReceived) and event.input == item


class Asked(NamedTuple):
    """A question: the call, and the position of the question in the log. A call can be asked about more than once."""

    call: str
    at: int


class Question(NamedTuple):
    """An open question and its position."""

    at: int
    event: ev.ApprovalRequested


class Decided(NamedTuple):
    """The decision on a question: the position before it, and who made it."""

    before: int
    source: str | None


class OpenCalls:
    """The open calls of a turn. handed: those that the application runs. asked: those that wait for a person."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.handed: list[str] = []
        self.asked: dict[str, Question] = {}

    def follow(self, event: ev.Event, at: int) -> None:
        """Read the event at a position."""
        match event:
            case ev.ModelCompleted():
                self.open = {part.id for part in event.parts if isinstance(part, ToolCall)}
                self.handed, self.asked = [], {}
            case ev.ToolCompleted():
                self.open.discard(event.call)
                self.answered(event.call)
            case ClientCalled():
                self.handed.append(event.call)
            case ev.ApprovalRequested():
                self.asked[event.call] = Question(at, event)
            case ev.ApprovalResolved():
                self.asked.pop(event.call, None)
            case _:
                pass

    def answered(self, call: str) -> None:
        """Note that nobody outside has to act on a call any more."""
        self.asked.pop(call, None)
        if call in self.handed:
            self.handed.remove(call)

    @property
    def wait(self) -> bool:
        """Whether the turn goes on only once somebody outside has acted."""
        return bool(self.open) and self.open == self.asked.keys() | set(self.handed)


async def open_calls(
    sessions: Sessions, session: str, item: int, end: int | None = None
) -> tuple[OpenCalls, dict[Asked, Decided]]:
    """Return the open calls of the turn that took `item` in, as they are at position `end` (default: now), and how its
    questions were decided. No call is open when no turn has taken the item in, or the turn has ended."""
    calls, decided = OpenCalls(), dict[Asked, Decided]()
    after = await find_turn(sessions, session, item)
    while after is not None and (page := await sessions.history(session, after=after, limit=_PAGE)):
        for record in page:
            if end is not None and record.seq > end:
                return calls, decided
            if matters(record.body):
                event = record.event
                if isinstance(event, ev.ApprovalResolved) and (question := calls.asked.get(event.call)) is not None:
                    decided[Asked(event.call, question.at)] = Decided(record.seq - 1, event.source)
                calls.follow(event, record.seq)
            elif record.body.startswith(b'{"type":"turn.completed"'):
                return OpenCalls(), decided
        after = page[-1].seq
    return calls, decided

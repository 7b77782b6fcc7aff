"""Follow one session: frames go to the screen, approvals to the person, Ctrl-C to the run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from roost.cli.approval_text import FILE_TOOLS
from roost.cli.approvals import Approver
from roost.cli.event_queue import Ended, EventQueue, Gap, Interrupt, Typed
from roost.cli.keyboard import Keyboard
from roost.cli.output import note
from roost.cli.renderer import Renderer
from roost.cli.signals import Signals
from roost.client.daemon_address import Unreachable
from roost.errors import RoostError, UnknownEvent
from roost.log import events as ev
from roost.log.content import AssistantMessage, ToolCall, Usage
from roost.log.frames import Delta, Frame, Progress
from roost.log.session_views import PendingApproval

if TYPE_CHECKING:
    from roost.cli.node import Node

_TICK = 0.2
_piece = msgspec.json.Decoder(Delta | Progress)
Outcome: TypeAlias = Literal["answered", "cancelled", "limit", "failed", "paused", "stopped", "left", "gone"]


class Turn(NamedTuple):
    """How the followed turn ended. `interrupted`: by Ctrl-C here."""

    outcome: Outcome
    reason: str | None = None
    text: str = ""
    steps: int = 0
    usage: Usage = Usage()
    calls: tuple[ToolCall, ...] = ()
    interrupted: bool = False


class Follower:
    """Follows `session` from event `after` on. With `until` it ends with the turn of the input of that number, or with
    the first turn that ends ("any").

    `ctrl_c`: the first one cancels the turn durably and the second leaves, or the first leaves at once. `typed`: called
    with each typed line meanwhile (None at the end of input); returns whether to continue. `seq`: the last event seen.
    `received`: the inputs that a turn has taken.
    """

    def __init__(
        self,
        node: Node,
        session: str,
        *,
        screen: Renderer,
        approver: Approver,
        ctrl_c: Literal["cancel", "leave"] = "cancel",
        typed: Callable[[str | None], bool] | None = None,
    ) -> None:
        self._node = node
        self._session = session
        self._screen = screen
        self._approver = approver
        self._ctrl_c = ctrl_c
        self._typed = typed
        self._asked: set[tuple[str, str, int]] = set()
        self._interrupts = 0
        self._until: int | Literal["any"] | None = None
        self._mine = False
        self._text = ""
        self._calls: list[ToolCall] = []
        self.received: set[int] = set()
        self.seq = 0

    def follow(self, *, after: int, until: int | Literal["any"] | None = None) -> Turn:
        """Block until the turn has ended, the session is deleted, or the person leaves. Raises `RoostError`."""
        self._until, self._mine, self._text, self._calls = until, until == "any", "", []
        self._interrupts, self.seq = 0, after
        self._feed = EventQueue()
        self._keyboard = Keyboard(self._feed) if self._typed is not None else None
        with Signals(self._feed) as signals, self._keyboard or contextlib.nullcontext():
            stop = self._node.subscribe(self._session, self._feed, after=after)
            try:
                self._approve_all(signals)
                while True:
                    ended = self._next(signals)
                    if ended is not None:
                        return ended
            finally:
                stop()
                self._screen.fresh_line()
                self._drain()

    def _drain(self) -> None:
        """Handle lines that were typed at the last moment."""
        while (item := self._feed.get(0)) is not None:
            if isinstance(item, Typed) and item.line and self._typed is not None:
                self._typed(item.line)

    def _next(self, signals: Signals) -> Turn | None:
        item = self._feed.get(_TICK)
        match item:
            case None:
                self._screen.tick()
            case Frame(seq=seq, body=body):
                if seq is not None:
                    return self._event(seq, body, signals)
                self._piece(body)
            case Gap(lost=lost):
                self._screen.note("the daemon is away; waiting for it" if lost else "the daemon is back")
                if not lost:
                    self._approve_all(signals)
            case Ended():
                return Turn("gone", "the session was deleted")
            case Interrupt(leave=leave):
                return self._interrupt(leave=leave)
            case Typed(line=line):
                if self._typed is not None and not self._typed(line):
                    return self._turn("left", None)
            case Exception():
                raise item
        return None

    def _piece(self, body: bytes) -> None:
        piece = _piece.decode(body)
        if isinstance(piece, Delta):
            self._screen.delta(piece)
        else:
            self._screen.progress(piece)

    def _event(self, seq: int, body: bytes, signals: Signals) -> Turn | None:
        if seq <= self.seq:
            return None  # from an earlier subscription
        self.seq = seq
        try:
            event = ev.decode_event(body)
        except UnknownEvent:
            return None
        self._screen.event(event)
        match event:
            case ev.InputReceived(input=number):
                self.received.add(number)
                self._mine = self._mine or number == self._until
                if number == self._until and self._interrupts:
                    self._node.order(self._session, "cancel")
            case ev.ModelCompleted(parts=parts):
                message = AssistantMessage(parts)
                self._text = message.text
                self._calls += message.calls
            case ev.ApprovalRequested():
                waiting = PendingApproval(
                    event.call,
                    event.name,
                    event.arguments,
                    event.reason,
                    seq,
                    event.dangers,
                    event.prefixes,
                    event.offers,
                )
                self._approve(self._with_files(waiting), signals)
            case ev.Event(question=ev.Question()):
                self._approve_all(signals)
            case ev.TurnCompleted() if self._mine:
                return self._done(event)
            case ev.StateChanged(state="paused" | "stopped" as state) if self._until is not None:
                return self._turn(state, event.reason)
            case ev.StateChanged(state="error") if self._until is not None:
                return self._turn("failed", event.reason)
            case _:
                pass
        return None

    def _done(self, event: ev.TurnCompleted) -> Turn:
        return self._turn(event.outcome, event.reason)._replace(steps=event.steps, usage=event.usage)

    def _turn(self, outcome: Outcome, reason: str | None) -> Turn:
        calls = tuple(self._calls)
        return Turn(outcome, reason, self._text, calls=calls, interrupted=bool(self._interrupts))

    def _interrupt(self, *, leave: bool) -> Turn | None:
        self._interrupts += 1
        if leave or self._ctrl_c == "leave" or self._interrupts > 1:
            return self._turn("left", None)
        self._screen.note("cancelling; Ctrl-C again leaves at once")
        self._node.order(self._session, "cancel")
        return None

    def _with_files(self, waiting: PendingApproval) -> PendingApproval:
        """Return the node's version of the question: it has the file diffs, which the log lacks."""
        if waiting.tool not in FILE_TOOLS:
            return waiting
        with contextlib.suppress(RoostError):
            for one in self._node.approvals.waiting(self._session).approvals:
                if (one.session, one.call, one.asked) == (self._session, waiting.call, waiting.asked):
                    return one
        return waiting

    def _answered_elsewhere(self, session: str, waiting: PendingApproval) -> Callable[[], bool]:
        """Return a function that says whether the question is gone. It asks the node only after new frames came."""
        frames = -1

        def gone() -> bool:
            nonlocal frames
            if self._feed.waiting == frames:
                return False
            frames = self._feed.waiting
            with contextlib.suppress(Unreachable):
                left = self._node.approvals.waiting(self._session).approvals
                return all((one.session, one.call, one.asked) != (session, waiting.call, waiting.asked) for one in left)
            return False

        return gone

    def _approve_all(self, signals: Signals) -> None:
        """Ask about calls that waited before this subscription."""
        with contextlib.suppress(Unreachable):  # repeated when the daemon is back
            for waiting in self._node.approvals.waiting(self._session).approvals:
                self._approve(waiting, signals, waiting.session)

    def _approve(self, waiting: PendingApproval, signals: Signals, session: str | None = None) -> None:
        """Ask about a call. `session`: the descendant that it waits in, if it is not the followed session."""
        session = session or self._session
        question = (session, waiting.call, waiting.asked)  # a model may reuse the id of a call
        if question in self._asked:
            return
        self._asked.add(question)
        self._screen.fresh_line()
        signals.raising = True
        try:
            with self._keyboard.held() if self._keyboard else contextlib.nullcontext():
                answer = self._approver.decide(waiting, session, self._answered_elsewhere(session, waiting))
        except KeyboardInterrupt:
            note("")
            self._feed.put(Interrupt())
            return
        finally:
            signals.raising = False
        if answer is None:
            return
        try:
            self._node.approvals.answer(
                session,
                waiting.call,
                answer.decision,
                note=answer.note,
                always=list(answer.always),
                source="cli",
                asked=waiting.asked,
            )
        except RoostError as error:
            if error.code != "not_waiting":
                raise
            self._screen.note("  it was answered elsewhere")

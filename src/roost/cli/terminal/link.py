"""The connection of a terminal to one session: its frames, and orders that are given in another thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from roost.cli.terminal.inbox import Inbox, Waker, Worker
from roost.errors import RoostError
from roost.log.content import Message
from roost.log.session_views import SessionView, WaitingCall

if TYPE_CHECKING:
    from roost.cli.node import Content, Node
    from roost.cli.terminal.dialog import Answer
    from roost.log.session_info import ControlAction, InputMode


class Opened(NamedTuple):
    """A session as it is when a terminal begins to follow it."""

    node: Node
    view: SessionView
    messages: list[Message]
    fresh: bool
    """The session was made for this terminal."""


class Link:
    """One session of a node. All of its requests run in `worker`. used: by this terminal, or before it."""

    def __init__(self, opened: Opened, worker: Worker, waker: Waker) -> None:
        self.node, self.session = opened.node, opened.view.info.id
        self._worker = worker
        self.used = not opened.fresh
        self.discarded = False
        self.planned_from = ""
        """The permissions before `/plan`, while its plan is not carried out."""
        self.inbox = Inbox(waker)
        self._stop: Callable[[], None] = self.node.subscribe(self.session, self.inbox, after=opened.view.info.head)

    def close(self) -> None:
        """Stop following. The session goes on as it is."""
        self._stop()
        with contextlib.suppress(RoostError):
            while self.inbox.get(0) is not None:  # its thread may wait for room
                pass

    def discard(self) -> None:
        """Delete a session that was made for this terminal and that nobody has used, from wherever. `discarded` says
        whether it was."""
        if self.used:
            return

        def work() -> bool:
            view = self.node.sessions.inspect(self.session)
            if view.turns or view.turn is not None or view.info.pending:
                return False
            self.node.sessions.delete(self.session)
            return True

        def then(done: bool) -> None:
            self.discarded = done

        self._worker.do(work, then, lambda _: None)

    def send(
        self,
        content: Content,
        mode: InputMode,
        then: Callable[[int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Put a message into the inbox of the session; `then` gets its number."""
        self._worker.do(lambda: self.node.send(self.session, content, mode=mode).input, then, failed)

    def order(self, action: ControlAction) -> None:
        """Give an order at once, even while the worker waits for something."""
        self.node.order(self.session, action)

    def waiting(self, then: Callable[[list[WaitingCall]], None], failed: Callable[[Exception], None]) -> None:
        """Read the calls that wait for a person, here and in what comes from this session."""
        self._worker.do(lambda: self.node.approvals.waiting(self.session).approvals, then, failed)

    def answer(
        self, waiting: WaitingCall, answer: Answer, then: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        """Answer a call. Of several answers, from wherever they come, the first counts."""

        def work() -> None:
            self.node.approvals.answer(
                waiting.session,
                waiting.call,
                answer.decision,
                note=answer.note,
                arguments=answer.arguments,
                always=list(answer.always),
                scope=answer.scope,
                source="terminal",
                asked=waiting.asked,
            )

        self._worker.do(work, lambda _: then(), failed)


def open_session(node: Node, session: str, *, fresh: bool) -> Opened:
    """Read a session, and do its work here if no daemon does. `fresh`: nothing was said in it before. Blocks."""
    view = node.sessions.inspect(session)
    before = [] if fresh else node.sessions.messages(session).messages
    node.work_on(session)
    return Opened(node, view, before, fresh)

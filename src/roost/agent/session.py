"""One session in the memory of the node that owns it: its folded state, its inbox and its resources."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from roost.agent.definition import AgentSpec
from roost.agent.fold import apply
from roost.agent.inbox import Inbox
from roost.agent.interrupts import Interrupts
from roost.agent.log_buffer import Appends, LogBuffer
from roost.agent.resources import Resources
from roost.agent.state import State, decode_state
from roost.agent.turn_clock import Clock
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage
from roost.log.facts import FactChange
from roost.log.protocols import Append, Claim, Delivery, InboxItem, Record, Snapshot, TimerSpec
from roost.log.session_info import SessionInfo

T = TypeVar("T")


class Session:
    """Hold the state of one session, its log buffer, its inbox, its interrupts and its resources.

    Only the task that drives the session calls its methods. Exceptions: any callback of the event loop may call
    `offer`, `shut_down` and `fence`; tools of the running step may call `emit`. `held` returns whether the node still
    holds the session's lease; no step begins without it."""

    def __init__(
        self,
        journal: Appends,
        claim: Claim,
        state: State,
        spec: AgentSpec,
        means: Resources,
        *,
        held: Callable[[], bool] = lambda: True,
    ) -> None:
        self.id = claim.info.id
        self.spec = spec
        self.instruction = spec.instructions
        """System prompt of the next model call: the agent's, unless a hook replaced it."""
        self.means = means
        self.state = state
        self.inbox = Inbox(claim.inbox)
        self.woken = asyncio.Event()
        self._held = held
        self.about = _about(claim.info, spec)
        self.born = claim.info.created_at
        self._stopped = asyncio.Event()
        self._outdated = False
        self.log = LogBuffer(journal, claim, state, stopped=self._stopped)
        self._remarks: list[Text] = []
        self._own: dict[object, Any] = {}
        self.call_ids = {
            part.id
            for entry in state.entries
            if isinstance(entry.message, AssistantMessage)
            for part in entry.message.parts
            if isinstance(part, ToolCall)
        }
        self.interrupts = Interrupts(self.inbox, self._check_lease, self._stopped)
        self.clock = self.interrupts.clock = Clock(state, spec.limits, self.interrupts.cut)

    @property
    def epoch(self) -> int:
        return self.log.epoch

    @property
    def head(self) -> int:
        """Position of the newest committed event."""
        return self.log.head

    @property
    def refused(self) -> Append | None:
        """The append that the store refused, if any; nothing is written after it."""
        return self.log.refused

    def own(self, kind: Callable[[Session], T]) -> T:
        """Return what `kind` keeps in memory for this session while it is awake; made by `kind(session)` at the first
        call."""
        try:
            return self._own[kind]
        except KeyError:
            made = self._own[kind] = kind(self)
            return made

    # Events

    def note(
        self,
        event: ev.Event,
        *,
        consume: int | None = None,
        facts: Sequence[FactChange] = (),
        deliver: Sequence[Delivery] = (),
    ) -> None:
        """Apply an event to the state now; the next `flush` commits it. Values of the vault are masked in it.

        consume: id of the inbox item that it uses up. facts: its changes of the memory. deliver: its messages to other
        sessions. All are part of the same commit."""
        body = ev.encode_event(event)
        if self.means.vault is not None:
            text = body.decode()
            if (clean := self.means.vault.scrub(text)) is not text:
                body = clean.encode()
                event = ev.decode_event(body)
        apply(self.state, event)
        self.log.add(body, facts, deliver)
        if consume is not None:
            self._take(consume)

    def remark(self, text: str) -> None:
        """Add a hint to the next tool result, unless a result in the model's context has it already."""
        said = Text(text)
        results = (entry.message for entry in self.state.entries if isinstance(entry.message, ToolMessage))
        if not any(said in result.parts for result in results):
            self._remarks.append(said)

    def take_remarks(self) -> tuple[Text, ...]:
        if not self._remarks:
            return ()
        said, self._remarks = self._remarks, []
        return tuple(said)

    def scrubbed(self, text: str) -> str:
        """Mask the values of the vault in `text`. Returns the same object when there are none."""
        return text if self.means.vault is None else self.means.vault.scrub(text)

    def drop(self, item: InboxItem) -> None:
        """Remove an input that has no effect any more from the inbox."""
        self._take(item.id)

    def let_go(self) -> None:
        """Release the session at the end of its turn, because its resources have changed."""
        self._outdated = True
        self.woken.set()

    @property
    def outdated(self) -> bool:
        return self._outdated

    def set_timer(self, timer: str, spec: TimerSpec | None) -> None:
        self.log.set_timer(timer, spec)

    def flush(self, *, release: bool = False) -> Awaitable[None]:
        """Commit the noted events; the contract is that of `LogBuffer.flush`."""
        return self.log.flush(release=release)

    async def flush_shielded(self) -> None:
        """Flush from a task that may be cancelled: the commit goes on."""
        await self.log.flush_shielded()

    def flush_soon(self) -> None:
        """Commit the noted events soon, together with those noted until then. A failure is raised by the next
        `flush`."""
        self.log.flush_soon()

    async def emit(self, name: str, data: Any) -> None:
        """Append an event of the user's program to the log. Returns once it is committed, even if the caller is
        cancelled."""
        self.note(ev.Emitted(at=time.time(), name=name, data=data))
        await self.flush_shielded()

    # Inbox

    def offer(self, items: Sequence[InboxItem]) -> None:
        """Add committed inputs to the inbox and interrupt the running step if one of them demands it."""
        for item in items:
            if self.inbox.offer(item):
                self.interrupts.hear(item)
        self.woken.set()

    def shut_down(self, *, cut: bool) -> None:
        """Stop after the running step. cut: interrupt it instead, and leave it open as a crash would."""
        self._stopped.set()
        if cut:
            self.interrupts.cut()
        self.woken.set()

    def fence(self) -> None:
        """Interrupt the running step and refuse all further writes: another node owns the session, or may own it."""
        self.log.fence()
        self.shut_down(cut=True)

    # Helpers

    def _take(self, item: int) -> None:
        self.log.consume(item)
        self.inbox.take(item)

    def _check_lease(self) -> None:
        if not self._held():
            self.fence()


def wake(snapshot: Snapshot | None, tail: Sequence[Record]) -> State:
    """Fold a session's state from a snapshot of this STATE_VERSION and the events after it."""
    state = decode_state(snapshot.body) if snapshot else State()
    for record in tail:
        apply(state, record.event)
    return state


def _about(info: SessionInfo, spec: AgentSpec) -> dict[str, str]:
    """Metadata of every model call of the session (`Request.meta`). The label `user` names the person."""
    more = {"user": info.labels.get("user"), "horizon": spec.horizon}
    return {"session": info.id, "agent": spec.name, **{name: value for name, value in more.items() if value}}

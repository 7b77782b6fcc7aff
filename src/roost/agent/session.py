"""One session in the memory of the node that owns it, as a record of small objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from roost.agent.definition import AgentSpec
from roost.agent.fold import apply
from roost.agent.hints import Hints
from roost.agent.inbox import Inbox
from roost.agent.interrupts import Interrupts
from roost.agent.log_buffer import Appends, LogBuffer
from roost.agent.resources import Resources
from roost.agent.state import State, decode_state
from roost.agent.turn_clock import Clock
from roost.authority import user_in
from roost.log.content import AssistantMessage, ToolCall
from roost.log.protocols import Claim, Record, Snapshot
from roost.log.session_info import SessionInfo

T = TypeVar("T")


class Session:
    """One session in memory: its state, and the small objects that act on it.

    log: notes events and commits them. inbox: the committed inputs that wait. interrupts: what cuts off a running step
    or ends the driver. clock: the working time of the open turn. hints: what the next tool result tells the model.
    means: what the session acts with. labels: those of the session as it woke. woken: set when there may be work.

    Only the task that drives the session uses them. Exceptions: any callback of the event loop may call
    `interrupts.offer`, `shut_down` and `fence`; tools of the running step may call `log.emit`. `held` returns whether
    the node still holds the session's lease; no step begins without it. buffer, cast: for a session that is not stored,
    such as a replay: where its events go, and the only features that it asks."""

    def __init__(
        self,
        journal: Appends,
        claim: Claim,
        state: State,
        spec: AgentSpec,
        means: Resources,
        *,
        held: Callable[[], bool] = lambda: True,
        buffer: type[LogBuffer] = LogBuffer,
        cast: Sequence[Any] | None = None,
    ) -> None:
        self.id, self.born, self.about = claim.info.id, claim.info.created_at, _about(claim.info, spec)
        self.labels = claim.info.labels
        self.spec, self.means, self.state = spec, means, state
        self.instruction = spec.instructions
        """System prompt of the next model call: the agent's, unless a hook replaced it."""
        self.needs = claim.info.needs
        """Tags that a node must offer to run it."""
        self.outdated = False
        """Set when its resources have changed: the session is released at the end of its turn."""
        self.woken, stopped = asyncio.Event(), asyncio.Event()
        self.inbox = Inbox(claim.inbox)
        self.log = buffer(journal, claim, state, self.inbox, vault=means.vault, stopped=stopped)
        self.interrupts = Interrupts(
            self.inbox,
            self.log,
            held,
            turn=self._turn_input,
            woken=self.woken,
            stopped=stopped,
        )
        self.clock = self.interrupts.clock = Clock(state, spec.limits, self.interrupts.time_is_up)
        self.hints = Hints(state)
        self.call_ids = {
            part.id
            for entry in state.entries
            if isinstance(entry.message, AssistantMessage)
            for part in entry.message.parts
            if isinstance(part, ToolCall)
        }
        self.cast = cast
        self.seams: Mapping[str, tuple[Any, ...]] = {}
        """The features to ask at each seam; read by `roost.agent.feature.asked`."""
        self._own: dict[object, Any] = {}

    def _turn_input(self) -> int | None:
        return None if self.state.turn is None else self.state.turn.input

    def own(self, kind: Callable[[Session], T]) -> T:
        """Return what `kind` keeps in memory for this session while it is awake; made by `kind(session)` at the first
        call."""
        try:
            return self._own[kind]
        except KeyError:
            made = self._own[kind] = kind(self)
            return made


def wake(snapshot: Snapshot | None, tail: Sequence[Record]) -> State:
    """Fold a session's state from a snapshot of this STATE_VERSION and the events after it."""
    state = decode_state(snapshot.body) if snapshot else State()
    for record in tail:
        apply(state, record.event)
    return state


def _about(info: SessionInfo, spec: AgentSpec) -> dict[str, str]:
    """Metadata of every model call of the session (`Request.meta`). The user is the person."""
    more = {"user": user_in(info.labels), "horizon": spec.horizon}
    return {"session": info.id, "agent": spec.name, **{name: value for name, value in more.items() if value}}

"""A session in the memory of its owner: the folded state, the inbox, and the means to act."""

from __future__ import annotations

import asyncio
import time
from bisect import insort
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from roost.agent.definition import AgentSpec
from roost.agent.fold import apply
from roost.agent.log_buffer import Appends, Unwritten
from roost.agent.resources import Means
from roost.agent.rewind import rewind
from roost.agent.state import Kept, State, decode_state
from roost.agent.turn_clock import Clock
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage
from roost.log.facts import FactChange
from roost.log.inputs import ChildInput, ControlInput, DueInput, Input, MessageInput, RollbackInput, TimerInput
from roost.log.protocols import Append, Claim, Delivery, InboxItem, Moved, Record, SessionInfo, Snapshot, TimerSpec
from roost.models.request import Model, ToolSpec
from roost.scope import Scope
from roost.tools.base import Toolbox

if TYPE_CHECKING:
    from roost.agent.speculation import Early

T = TypeVar("T")

Cause: TypeAlias = Literal["cancel", "pause", "stop", "rollback", "steer", "message", "deadline", "shutdown"]

_REMEMBERED = 4096
"""Inputs that are known by their number: far more than an inbox holds."""


class Interrupted(Exception):
    """The step in progress was cut off; `cause` says by what."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


class LiveSession:
    """Only the task that drives the session calls its methods, except `offer`, `shut_down` and `fence` (any callback of
    the loop) and `emit` (tools of the running step). `held`: whether the node holds its lease, without which no step
    begins."""

    def __init__(
        self,
        journal: Appends,
        claim: Claim,
        state: State,
        spec: AgentSpec,
        means: Means,
        *,
        held: Callable[[], bool] = lambda: True,
    ) -> None:
        self.id = claim.info.id
        self.spec = spec
        self.instruction = spec.instructions
        """Of the next model call: a hook may have put its own in place of the agent's."""
        self.means = means
        self.state = state
        self.inbox: list[InboxItem] = list(claim.inbox)
        self.woken = asyncio.Event()
        means.jobs.over = self.woken.set
        self._held = held
        self.about = _about(claim.info, spec)
        self.born = claim.info.created_at
        self.fixed: tuple[str, int] | None = None
        """An instruction, and the tokens of what requests begin with that have it."""
        self._specs: tuple[Sequence[str] | None, tuple[ToolSpec, ...]] | None = None
        self.early: Early | None = None
        """Calls that began while the model still spoke."""
        self._stopped = asyncio.Event()
        self._outdated = False
        self._log = Unwritten(journal, claim, state, stopped=self._stopped)
        self._remarks: list[Text] = []
        self._known = dict.fromkeys(item.id for item in claim.inbox)
        self._newest = max(self._known, default=0)
        self.kin = False
        """Whether it was looked after its children."""
        self.charged: set[str] | None = None
        """Budgets of its turns that may be in the ledger; None until it was looked after."""
        self._scope: Scope | None = None
        self._steerable = self._yields = False
        self.call_ids = {
            part.id
            for entry in state.entries
            if isinstance(entry.message, AssistantMessage)
            for part in entry.message.parts
            if isinstance(part, ToolCall)
        }
        self.clock = Clock(state, spec.limits, self._interrupt)
        self.apart = False
        """What goes on is no part of a turn: it has its own time, and no rollback cuts it."""

    @property
    def disturbed(self) -> bool:
        """Whether something may stand between two steps, beside the conversation. Most often nothing does."""
        turn, policy = self.state.turn, self.spec.checkpoints
        return (
            bool(self.inbox or self.state.jobs or self.means.jobs.kept)
            or (turn is not None and turn.gate is not None)
            or policy.every_steps is not None
            or policy.every_seconds is not None
        )

    @property
    def epoch(self) -> int:
        return self._log.epoch

    @property
    def model(self) -> Model:
        """The one that goes on with the turn."""
        other = self.means.stronger
        if other is None:
            return self.means.model
        turn = self.state.turn
        return other if turn is not None and "model" in turn.trail.actions else self.means.model

    @property
    def tools(self) -> Toolbox:
        """Those that there are in this turn."""
        turn, all = self.state.turn, self.means.tools
        if turn is None or turn.tools is None:
            return all
        return {name: all[name] for name in turn.tools if name in all}

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """Of `tools`, as a request has them: the same object as long as they are the same."""
        chosen = None if self.state.turn is None else self.state.turn.tools
        if self._specs is None or self._specs[0] != chosen:
            self._specs = chosen, tuple(tool.spec for tool in self.tools.values())
        return self._specs[1]

    @property
    def head(self) -> int:
        """Of the committed log."""
        return self._log.head

    @property
    def refused(self) -> Append | None:
        """What the store did not take of it, after which nothing more is written."""
        return self._log.refused

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    # Events

    def note(
        self,
        event: ev.Event,
        *,
        consume: int | None = None,
        facts: Sequence[FactChange] = (),
        deliver: Sequence[Delivery] = (),
    ) -> None:
        """Take an event into the state now and into the log with the next `flush`, without any value of the vault.
        `facts`: what it changes of the memory, `deliver`: what it says to other sessions, in the same commit."""
        body = ev.encode_event(event)
        if self.means.vault is not None:
            text = body.decode()
            if (clean := self.means.vault.scrub(text)) is not text:
                body = clean.encode()
                event = ev.decode_event(body)
        apply(self.state, event)
        self._log.add(body, facts, deliver)
        if consume is not None:
            self._take(consume)

    def remark(self, text: str) -> None:
        """Tell the model with the next result of a tool, unless that stands in its context already."""
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
        """Without any value of the vault; the same object where there is none in it."""
        return text if self.means.vault is None else self.means.vault.scrub(text)

    def drop(self, item: InboxItem) -> None:
        """Take an input that means nothing any more out of the inbox."""
        self._take(item.id)

    def keep(self, kept: Kept, *, drop: Sequence[int] = ()) -> None:
        """The checkpoint whose event was noted last goes into its commit, those at the positions `drop` go."""
        self._log.keep(kept)
        self._log.drop_checkpoints(drop)

    def drop_checkpoint(self, position: int) -> None:
        self._log.drop_checkpoints([position])

    def rewind(self, then: State) -> None:
        """What the `session.rolled_back` that was noted last means, with a snapshot in its commit."""
        rewind(self.state, then)
        self._log.write_snapshot()

    def move(self, moved: Moved) -> None:
        """What the `session.moved` that was noted last means: it goes on where it is woken next."""
        self._log.move(moved)
        self.shut_down(cut=False)

    def let_go(self) -> None:
        """Sleep at the end of the turn: what it acts with has changed."""
        self._outdated = True
        self.woken.set()

    @property
    def outdated(self) -> bool:
        return self._outdated

    def set_timer(self, timer: str, spec: TimerSpec | None) -> None:
        self._log.set_timer(timer, spec)

    def flush(self, *, release: bool = False) -> Awaitable[None]:
        """As of `Unwritten.flush`."""
        return self._log.flush(release=release)

    async def flush_shielded(self) -> None:
        """As `flush`, for a task that may be cancelled: the commit goes on."""
        await self._log.flush_shielded()

    def flush_soon(self) -> None:
        """Commit what was noted in a moment, with whatever is noted until then. A failure is heard of at the next
        `flush`."""
        self._log.flush_soon()

    async def emit(self, name: str, data: Any) -> None:
        """Put a program's own event into the log. Returns when it is committed, cancelled or not."""
        self.note(ev.Emitted(at=time.time(), name=name, data=data))
        await self.flush_shielded()

    # Inbox

    def follow(self, items: Sequence[InboxItem]) -> bool:
        """Whether no input is missing before these. One that came through another node is heard of later; taking these
        in first would turn the order around in which their senders had their answers."""
        newest = self._newest
        for item in items:
            if item.id > newest + 1:
                return False
            newest = max(newest, item.id)
        return True

    def offer(self, items: Sequence[InboxItem]) -> None:
        """Inputs were committed, some perhaps known already: those of another process are heard of later than ours.
        Cuts into the step in progress when one of them says so."""
        for item in items:
            if item.id in self._known:
                continue
            self._known[item.id] = None
            self._newest = max(self._newest, item.id)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
            insort(self.inbox, item, key=lambda one: one.id)
            if self._cuts(_interrupts(item.input)):
                self._interrupt()
        self.woken.set()

    def shut_down(self, *, cut: bool) -> None:
        """Stop after the step in progress, or with `cut` at once, leaving it as a crash would."""
        self._stopped.set()
        if cut:
            self._interrupt()
        self.woken.set()

    def fence(self) -> None:
        """The session has another owner, or may have: cut what is going on, and write nothing more."""
        self._log.fence()
        self.shut_down(cut=True)

    def cause(self, *, steer: bool = False, message: bool = False) -> Cause | None:
        """What, of the things waiting, stops the step in progress or the next one. `message`: also what is said."""
        if self._stopped.is_set():
            return "shutdown"
        if not self.inbox:
            return None
        causes = [_interrupts(item.input) for item in self.inbox]
        for cause in ("stop", "cancel", "pause"):
            if cause in causes:
                return cause
        if "rollback" in causes and not self.apart:
            return "rollback"
        if steer and "steer" in causes:
            return "steer"
        return "message" if message and not {"steer", "message"}.isdisjoint(causes) else None

    async def interruptible(self, work: Callable[[], Awaitable[T]], *, steer: bool, message: bool = False) -> T:
        """Await `work()` until an interrupting input or the turn's time limit cuts it off; with `message` whatever is
        said to the session does. Raises `Interrupted`."""
        if not self._held():
            self.fence()
        cause = self.cause(steer=steer, message=message)
        if cause is not None:
            raise Interrupted(cause)
        if not self.apart and self.clock.late:
            raise Interrupted("deadline")
        scope = Scope()
        self._scope, self._steerable, self._yields = scope, steer, message
        try:
            return await work()
        except asyncio.CancelledError:
            if not scope.leave():
                raise
            raise Interrupted(self.cause(steer=steer, message=message) or "deadline") from None
        finally:
            scope.leave()
            self._scope, self._steerable, self._yields = None, False, False

    # Inner parts

    def _take(self, item: int) -> None:
        self._log.consume(item)
        self.inbox = [one for one in self.inbox if one.id != item]

    def _cuts(self, cause: Cause | None) -> bool:
        match cause:
            case None:
                return False
            case "steer":
                return self._steerable or self._yields
            case "message":
                return self._yields
            case "rollback":
                return not self.apart
            case _:
                return True

    def _interrupt(self) -> None:
        if self._scope is not None:
            self._scope.cut()


def wake(snapshot: Snapshot | None, tail: Sequence[Record]) -> State:
    """A session's state: a snapshot of this version, and the events after it."""
    state = decode_state(snapshot.body) if snapshot else State()
    for record in tail:
        apply(state, record.event)
    return state


def _about(info: SessionInfo, spec: AgentSpec) -> dict[str, str]:
    """What all model calls of a session say of it (`Request.meta`). Who speaks is told by the label `user`."""
    more = {"user": info.labels.get("user"), "horizon": spec.horizon}
    return {"session": info.id, "agent": spec.name, **{name: value for name, value in more.items() if value}}


def _interrupts(item: Input) -> Cause | None:
    match item:
        case ControlInput(scope="unused"):
            return None
        case ControlInput(action="cancel" | "pause" | "stop" as action):
            return action
        case MessageInput(mode="steer"):
            return "steer"
        case MessageInput() | TimerInput() | DueInput() | ChildInput():
            return "message"
        case RollbackInput():
            return "rollback"
        case _:
            return None

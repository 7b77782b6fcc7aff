"""A session in the memory of its owner: the folded state, the unwritten events, the inbox, and the means to act."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from bisect import insort
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from roost.agent.definition import AgentSpec
from roost.agent.fold import apply
from roost.agent.state import STATE_VERSION, State, decode_state, encode_state
from roost.errors import Fenced, RoostError, StoreCorrupt, StoreFailed, StoreUnreachable
from roost.llm.ir import Model
from roost.log import events as ev
from roost.log.content import AssistantMessage, ToolCall, Usage
from roost.log.inputs import ControlInput, Input, MessageInput
from roost.log.journal import Append, Claim, InboxItem, Record, SessionInfo, Snapshot, TimerSpec
from roost.policy.checks import Checks
from roost.policy.gate import Gate
from roost.policy.vault import Vault
from roost.sandbox.base import Sandbox
from roost.scope import Scope
from roost.tools.base import Toolbox
from roost.tools.jobs import Jobs
from roost.workspace.carry import Carried
from roost.workspace.files import Workspace

T = TypeVar("T")
log = logging.getLogger("roost.session")

Cause: TypeAlias = Literal["cancel", "pause", "stop", "steer", "deadline", "shutdown"]

SNAPSHOT_EVENTS = 256
SNAPSHOT_BYTES = 64 * 1024
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_UNREACHABLE_PAUSE = 0.5
_SOON = 0.2
"""Seconds after which followers see what nobody waits for, unless a commit takes it along before."""
_REMEMBERED = 4096
"""Inputs that are known by their number: far more than an inbox holds."""


class Interrupted(Exception):
    """The step in progress was cut off; `cause` says by what."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause: Cause = cause


class Deltas(Protocol):
    """Where the pieces of an unfinished step go. Nothing durable depends on them."""

    def push(
        self, session: str, step: int, after: int, kind: Literal["text", "thinking", "call"], text: str
    ) -> None: ...

    def clear(self, session: str) -> None: ...


class Ledger(Protocol):
    """What a session in memory needs of the ledger."""

    async def recover(self, session: str) -> Usage | None:
        """Settle the calls of a session that a crash cut off, with what was reserved for them. Returns their sum."""
        ...

    async def balance(self, budget: str) -> int:
        """What was spent on it, in nano-dollars; 0 where nothing was."""
        ...

    async def forget(self, *budgets: str) -> None:
        """They are over."""
        ...


class Appends(Protocol):
    """What a session in memory needs of a `Journal`."""

    async def append(self, append: Append) -> int: ...


class Means(msgspec.Struct):
    """What a session acts with. `files`: its private ones, where they are kept for all nodes. `ledger`: where its model
    calls are charged, if they are. `checks`: what is asked beside the gate, if anything is. `vault`: whose values
    are in no event. `approval_seconds`: how long a call waits for a person; None is for ever. `jobs`: what runs on
    between its calls, until it sleeps."""

    model: Model
    tools: Toolbox
    gate: Gate
    workspace: Workspace
    sandbox: Sandbox
    deltas: Deltas
    files: Carried | None = None
    ledger: Ledger | None = None
    checks: Checks | None = None
    vault: Vault | None = None
    approval_seconds: float | None = None
    jobs: Jobs = msgspec.field(default_factory=Jobs)


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
        self.stopping = False
        self.seen: dict[str, str] = {}
        self._journal = journal
        self._held = held
        self.epoch = claim.epoch
        self.about = _about(claim.info, spec)
        self.born = claim.info.created_at
        self.head = claim.info.head
        self._known = dict.fromkeys(item.id for item in claim.inbox)
        self._newest = max(self._known, default=0)
        self._stored: tuple[ev.SessionState, ev.Phase] = (claim.info.state, claim.info.phase)
        self._bodies: list[bytes] = []
        self._consume: list[int] = []
        self._timers: dict[str, TimerSpec | None] = {}
        self._lock = asyncio.Lock()
        self.charged: set[str] | None = None
        """Budgets of its turns that may be in the ledger; None until it was looked after."""
        self._soon: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._broken: RoostError | None = None
        self._scope: Scope | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._steerable = False
        self._tail_events = len(claim.tail)
        self._tail_bytes = sum(len(record.body) for record in claim.tail)
        self._snapshot_bytes = len(claim.snapshot.body) if claim.snapshot else 0
        self.call_ids = {
            part.id
            for entry in state.entries
            if isinstance(entry.message, AssistantMessage)
            for part in entry.message.parts
            if isinstance(part, ToolCall)
        }
        self._used = self._since = 0.0

    # Events

    def note(self, event: ev.Event, *, consume: int | None = None) -> None:
        """Take an event into the state now and into the log with the next `flush`, without any value of the vault."""
        body = ev.encode_event(event)
        if self.means.vault is not None:
            text = body.decode()
            if (clean := self.means.vault.scrub(text)) is not text:
                body = clean.encode()
                event = ev.decode_event(body)
        apply(self.state, event)
        self._bodies.append(body)
        if consume is not None:
            self._take(consume)

    def scrubbed(self, text: str) -> str:
        """Without any value of the vault; the same object where there is none in it."""
        return text if self.means.vault is None else self.means.vault.scrub(text)

    def drop(self, item: InboxItem) -> None:
        """Take an input that means nothing any more out of the inbox."""
        self._take(item.id)

    def set_timer(self, timer: str, spec: TimerSpec | None) -> None:
        self._timers[timer] = spec

    async def flush(self, *, release: bool = False) -> None:
        """Commit what was noted. Must return before any effect that the noted intents announce. A store that fails is
        tried again until the session is told to shut down; then, and when the session has a newer owner or the file is
        damaged, it raises."""
        async with self._lock:
            if self._broken is not None:
                raise self._broken
            if not (self._bodies or self._consume or self._timers or release):
                return
            write = self._write(release=release)
            try:
                self.head = await self._append(write)
            except RoostError as error:
                self._broken = error
                raise

    async def flush_shielded(self) -> None:
        """As `flush`, for a task that may be cancelled: the commit goes on."""
        await asyncio.shield(self._begin_flush())

    def flush_soon(self) -> None:
        """Commit what was noted in a moment, with whatever is noted until then. A failure is heard of at the next
        `flush`."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_SOON, self._begin_flush)

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
            cause = _interrupts(item.input)
            if cause is not None and (cause != "steer" or self._steerable):
                self._interrupt()
        self.woken.set()

    def shut_down(self, *, cut: bool) -> None:
        """Stop after the step in progress, or with `cut` at once, leaving it as a crash would."""
        self.stopping = True
        if cut:
            self._interrupt()
        self.woken.set()

    def fence(self) -> None:
        """The session has another owner, or may have: cut what is going on, and write nothing more."""
        if self._broken is None:
            self._broken = Fenced(f"session {self.id!r} is not this node's any more")
        self.shut_down(cut=True)

    def cause(self, *, steer: bool = False) -> Cause | None:
        """What, of the things waiting, stops the step in progress or the next one."""
        if self.stopping:
            return "shutdown"
        if not self.inbox:
            return None
        causes = [_interrupts(item.input) for item in self.inbox]
        for cause in ("stop", "cancel", "pause"):
            if cause in causes:
                return cause
        return "steer" if steer and "steer" in causes else None

    async def interruptible(self, work: Callable[[], Awaitable[T]], *, steer: bool) -> T:
        """Await `work()` until an interrupting input or the turn's time limit cuts it off. Raises `Interrupted`."""
        if not self._held():
            self.fence()
        cause = self.cause(steer=steer)
        if cause is not None:
            raise Interrupted(cause)
        if self.seconds_left() == 0.0:
            raise Interrupted("deadline")
        scope = Scope()
        self._scope, self._steerable = scope, steer
        try:
            return await work()
        except asyncio.CancelledError:
            if not scope.leave():
                raise
            raise Interrupted(self.cause(steer=steer) or "deadline") from None
        finally:
            scope.leave()
            self._scope, self._steerable = None, False

    def seconds_left(self) -> float | None:
        """Of the turn's time. Neither waiting, nor being paused, nor the daemon's absence counts."""
        limit = self.spec.limits.seconds
        return None if limit is None else max(0.0, limit - self._used - (time.monotonic() - self._since))

    def start_clock(self) -> None:
        """The turn begins or goes on; what it used before is the sum of its steps in the log. One timer serves all its
        steps, until `stop_clock`."""
        self._used = self.state.turn.seconds if self.state.turn else 0.0
        self._since = time.monotonic()
        left = self.seconds_left()
        if left is not None:
            self._deadline = asyncio.get_running_loop().call_later(left, self._interrupt)

    def stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # Inner parts

    def _begin_flush(self) -> asyncio.Future[None]:
        self._writing = writing = asyncio.ensure_future(self.flush())
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard of at the next flush
        return writing

    def _take(self, item: int) -> None:
        self._consume.append(item)
        self.inbox = [one for one in self.inbox if one.id != item]

    def _interrupt(self) -> None:
        if self._scope is not None:
            self._scope.cut()

    def _write(self, *, release: bool) -> Append:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        bodies, self._bodies = self._bodies, []
        consume, self._consume = self._consume, []
        timers, self._timers = self._timers, {}
        stored = self._stored
        self._stored = state, phase = self.state.state, self.state.phase
        self._tail_events += len(bodies)
        self._tail_bytes += sum(map(len, bodies))
        return Append(
            session=self.id,
            epoch=self.epoch,
            expected=self.head,
            bodies=bodies,
            consume=consume,
            state=state if state != stored[0] else None,
            phase=phase if phase != stored[1] else None,
            snapshot=self._snapshot(self.head + len(bodies)),
            timers=[timer for timer in timers.values() if timer is not None] if timers else (),
            clear_timers=[name for name, timer in timers.items() if timer is None] if timers else (),
            release=release,
        )

    def _snapshot(self, seq: int) -> Snapshot | None:
        """Due when the tail has outgrown it, so that its cost an event is bounded whatever the state's size."""
        if self._tail_bytes < max(SNAPSHOT_BYTES, self._snapshot_bytes) and self._tail_events < SNAPSHOT_EVENTS:
            return None
        body = encode_state(self.state)
        self._tail_bytes = self._tail_events = 0
        self._snapshot_bytes = len(body)
        return Snapshot(seq, STATE_VERSION, body)

    async def _append(self, write: Append) -> int:
        failures = 0
        while True:
            try:
                return await self._journal.append(write)
            except StoreFailed as error:
                if self._broken is not None:
                    raise self._broken from error
                if self.stopping or error.code == "store_closed" or isinstance(error, StoreCorrupt):
                    raise
                pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                if isinstance(error, StoreUnreachable):  # it waited already, and the kernel says it for all
                    pause = min(pause, _UNREACHABLE_PAUSE)
                elif not failures:
                    log.error("session %s: cannot write, trying again until it works: %s", self.id, error)
                failures += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._until_stopping(), pause)

    async def _until_stopping(self) -> None:
        while not self.stopping:
            self.woken.clear()
            await self.woken.wait()


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
        case ControlInput(action="cancel" | "pause" | "stop" as action):
            return action
        case MessageInput(mode="steer"):
            return "steer"
        case _:
            return None

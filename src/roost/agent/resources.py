"""What a session acts with, and what it needs of the node that runs it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from roost.agent.state import State
from roost.log import events as ev
from roost.log.content import Usage
from roost.log.protocols import Record, SessionInfo
from roost.memory.search import Search
from roost.models.request import Model, Progress
from roost.policy.checks import Checks
from roost.policy.gate import Gate
from roost.policy.vault import Vault
from roost.sandbox.base import Sandbox
from roost.tools.background_jobs import Jobs
from roost.tools.base import Toolbox
from roost.tools.delegation_ports import Known
from roost.workspace.files import Workspace
from roost.workspace.snapshot_sync import Carried


class Read(Protocol):
    """Records with `seq > after`, oldest first, at most `limit`; as of `Journal.read`."""

    async def __call__(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]: ...


class Past(Protocol):
    """The session's state as it was after an event of its committed log."""

    async def __call__(self, seq: int) -> State: ...


class ChildOrder(NamedTuple):
    """A session to be made for a task. `key`: asked for again, it is the one that was made then."""

    key: str
    agent: str
    title: str
    family: ev.Family
    user: str | None
    workspace: str | None


class FamilyMeans(Protocol):
    """Other agents and their sessions, for the sessions of one agent."""

    def refusal(self, agent: str) -> str | None:
        """Why this agent may not call that one."""
        ...

    def callable(self) -> list[Known]:
        """Whom it may call."""
        ...

    async def make(self, order: ChildOrder) -> str:
        """The id of the session. Raises `Invalid`, `IsolationUnavailable`, `StoreFailed`."""
        ...

    async def reach(self, to: str, user: str | None) -> SessionInfo:
        """The session of that id, or the newest of the agent of that name, which belongs to that user. Raises
        `NotFound`."""
        ...

    async def made(self, session: str) -> Sequence[SessionInfo]:
        """All that it has made, whatever became of them. Raises `StoreFailed`."""
        ...

    async def look_after(self, session: str, children: Sequence[str]) -> None:
        """Puts the end of those that are gone or take nothing any more into the inbox of `session`, unless it is
        there."""
        ...


class Deltas(Protocol):
    """Where the pieces of an unfinished step go. Nothing durable depends on them."""

    def push(
        self, session: str, step: int, after: int, kind: Literal["text", "thinking", "call"], text: str
    ) -> None: ...

    def progress(self, session: str, step: int, after: int, progress: Progress) -> None:
        """How far the step is that has said nothing yet."""
        ...

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


class Means(msgspec.Struct):
    """What a session acts with. `files`: its private ones, where they are kept for all nodes. `ledger`: where its model
    calls are charged, if they are. `checks`: what is asked beside the gate, if anything is. `vault`: whose values are
    in no event. `approval_seconds`: how long a call waits for a person; None is for ever. `memory`: what it remembers
    with, if it can. `jobs`: what runs on between its calls, until it sleeps. `summarizer`: the model that compaction
    asks, where it is not its own. `stronger`: the one that goes on with a turn that has stalled. `read`: its log, as
    `Journal.read` has it; `past`: what it was. `pass_on`: lends its forks the snapshots that they can go back to,
    before it removes some; False where that cannot be now. `family`: other agents, if it can reach any. `now`: the wall
    clock by which schedules come due."""

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
    memory: Search | None = None
    jobs: Jobs = msgspec.field(default_factory=Jobs)
    summarizer: Model | None = None
    stronger: Model | None = None
    read: Read | None = None
    past: Past | None = None
    pass_on: Callable[[], Awaitable[bool]] | None = None
    family: FamilyMeans | None = None
    now: Callable[[], float] = time.time

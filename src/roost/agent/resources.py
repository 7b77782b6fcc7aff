"""The resources of a session, and the ports through which it uses its node."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from roost.agent.state import State
from roost.log import events as ev
from roost.log.content import Usage
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo
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
from roost.workspace.snapshot_sync import SyncedFolder


class Read(Protocol):
    """Return records with `seq > after`, oldest first, at most `limit`; contract of `Logs.read`."""

    async def __call__(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]: ...


class LogReader(Protocol):
    """Return the session's state right after an event of its committed log."""

    async def __call__(self, seq: int) -> State: ...


class ChildOrder(NamedTuple):
    """Order to create a child session. key: idempotency key; a repeated order returns the session made first."""

    key: str
    agent: str
    title: str
    family: ev.Family
    user: str | None
    workspace: str | None


class FamilyMeans(Protocol):
    """Delegation for the sessions of one agent: other agents and their sessions."""

    def refusal(self, agent: str) -> str | None:
        """Return why this agent may not call `agent`, or None."""
        ...

    def callable(self) -> list[Known]:
        """Return the agents that it may call."""
        ...

    async def make(self, order: ChildOrder) -> str:
        """Create the session and return its id. Raises `Invalid`, `IsolationUnavailable`, `StoreFailed`."""
        ...

    async def reach(self, to: str, user: str | None) -> SessionInfo:
        """Return the session with id `to`, or the newest session of the agent `to`, if it belongs to `user`. Raises
        `NotFound`."""
        ...

    async def made(self, session: str) -> Sequence[SessionInfo]:
        """Return all sessions that `session` has created, in any state. Raises `StoreFailed`."""
        ...

    async def look_after(self, session: str, children: Sequence[str]) -> None:
        """Reconcile children: put the end of each one that is deleted, stopped or failed into the inbox of `session`,
        once."""
        ...


class Deltas(Protocol):
    """Receiver of the pieces of an unfinished step. Nothing durable depends on them."""

    def push(
        self, session: str, step: int, after: int, kind: Literal["text", "thinking", "call"], text: str
    ) -> None: ...

    def progress(self, session: str, step: int, after: int, progress: Progress) -> None:
        """Report the progress of a step that has no output yet."""
        ...

    def clear(self, session: str) -> None: ...


class Ledger(Protocol):
    """The part of the ledger that a session in memory needs."""

    async def recover(self, session: str) -> Usage | None:
        """Settle the model calls that a crash cut off, at their reserved amounts. Returns the sum, or None if there
        were none."""
        ...

    async def balance(self, budget: str) -> int:
        """Return the amount spent on a budget, in nano-dollars; 0 for an unknown one."""
        ...

    async def forget(self, *budgets: str) -> None:
        """Delete budgets that are no longer used."""
        ...


class Resources(msgspec.Struct):
    """The resources that a session acts with. None = not available, unless said otherwise.

    files: private files that are snapshotted. ledger: accounts for model calls. checks: hooks, guardrails and the
    classifier beside the gate. vault: secrets, masked in every event. approval_seconds: how long a call waits for a
    person; None = without limit. memory: search over facts. jobs: background commands, until the session sleeps.
    summarizer: model for compaction; None = the session's own. stronger: model that continues a stalled turn. read:
    reader of the session's log (`Logs.read`). past: its state at an earlier position. pass_on: pins snapshots for
    its forks before some are removed; returns False if that is impossible now. family: access to other agents. now:
    wall clock for schedules."""

    model: Model
    tools: Toolbox
    gate: Gate
    workspace: Workspace
    sandbox: Sandbox
    deltas: Deltas
    files: SyncedFolder | None = None
    ledger: Ledger | None = None
    checks: Checks | None = None
    vault: Vault | None = None
    approval_seconds: float | None = None
    memory: Search | None = None
    jobs: Jobs = msgspec.field(default_factory=Jobs)
    summarizer: Model | None = None
    stronger: Model | None = None
    read: Read | None = None
    past: LogReader | None = None
    pass_on: Callable[[], Awaitable[bool]] | None = None
    family: FamilyMeans | None = None
    now: Callable[[], float] = time.time

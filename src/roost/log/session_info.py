"""What a store tells of a session without its log, in few and light types: listing sessions imports nothing else."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

SessionState: TypeAlias = Literal["created", "running", "paused", "stopped", "error"]
Phase: TypeAlias = Literal["idle", "working", "waiting"]
InputMode: TypeAlias = Literal["follow_up", "steer"]
ControlAction: TypeAlias = Literal["start", "pause", "resume", "cancel", "stop", "trust", "compact"]
Decision: TypeAlias = Literal["approve", "reject", "modify"]
TurnOutcome: TypeAlias = Literal["answered", "cancelled", "limit", "failed"]
GrantScope: TypeAlias = Literal["session", "agent", "user"]


class LastTurn(msgspec.Struct, frozen=True):
    """The newest turn that ended. reason: the limit or the error, when the turn has no answer."""

    number: int
    outcome: TurnOutcome
    reason: str | None = None


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the session index: all that is known of a session without reading its log."""

    id: str
    agent: str
    version: str
    state: SessionState
    phase: Phase
    head: int
    created_at: float
    updated_at: float
    workspace: str | None = None
    title: str | None = None
    parent: str | None = None
    labels: dict[str, str] = {}
    owner: str | None = None
    epoch: int = 0
    pending: int = 0
    """Inputs accepted and not yet consumed."""
    needs: tuple[str, ...] = ()
    """Tags that a node must offer to run it."""
    home: str | None = None
    """Home of the node that ran it last, where its private files are."""
    format: int = 0
    """The newest event format of the nodes that ran it. Its log may hold events of that format."""
    last_turn: LastTurn | None = None
    """Not a column: `roost.kernel.sessions` reads it from the end of the log on request. None while a turn runs, and
    when the last turn ended further back than is read."""

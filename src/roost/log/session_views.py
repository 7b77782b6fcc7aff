"""Views of sessions and of the calls that wait in them, for callers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roost.log import events as ev
from roost.log.content import Usage
from roost.log.session_info import SessionInfo


class FileDiff(msgspec.Struct, frozen=True):
    """Preview of one file of a call. `path` is as the model names it. `diff` is unified, against the current file, and
    empty when the call does not change it."""

    path: str
    diff: str


class PendingApproval(msgspec.Struct, frozen=True):
    """A call that waits for a person. `asked`: the question's position in the log. `dangers`, `prefixes`, `offers`: as
    in `ApprovalRequested`. `files`: what a call of a file tool would change; filled only in lists of waiting calls, on
    a node that has the files as the model knows them."""

    call: str
    tool: str
    arguments: str
    reason: str
    asked: int = 0
    dangers: tuple[ev.Danger, ...] = ()
    prefixes: tuple[str, ...] = ()
    offers: tuple[ev.RuleOffer, ...] = ()
    files: tuple[FileDiff, ...] = ()


class WaitingCall(PendingApproval, frozen=True, kw_only=True):
    """A waiting call of a session or of its descendants."""

    session: str
    agent: str


class RunningJob(msgspec.Struct, frozen=True):
    """A command in the background, ended at `due`."""

    job: str
    command: str
    began: float
    due: float


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session's state by its log. `usage.cost` is in nano-dollars. `turn`: the number of the open turn."""

    info: SessionInfo
    reason: str | None
    turns: int
    steps: int
    usage: Usage
    context_tokens: int
    approvals: tuple[PendingApproval, ...]
    timers: Mapping[str, float]
    pins: Mapping[str, str]
    turn: int | None = None
    jobs: tuple[RunningJob, ...] = ()
    unknown: tuple[str, ...] = ()
    """Python parts of its agent that no running node knows. The session waits until one does."""
    model: str | None = None
    """Of its definition; None is the node's default."""
    permissions: str = "workspace"
    """Of its definition; empty for one that this version cannot read."""

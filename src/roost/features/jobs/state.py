"""Fold events of background jobs into a session's state."""

from __future__ import annotations

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.jobs.events import JobEnded, JobStarted
from roost.log import events as ev


class OpenJob(msgspec.Struct):
    """A background command whose end is not in the log; fields as in `JobStarted`."""

    call: str
    command: str
    began: float
    due: float
    outside: str | None = None


class JobState(StatePart):
    """jobs: by key, those whose end is not in the log."""

    jobs: dict[str, OpenJob] = {}

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    @property
    def in_background(self) -> bool:
        return bool(self.jobs)


def _started(state: State, event: JobStarted) -> None:
    state.part(JobState).jobs[event.job] = OpenJob(event.call, event.command, event.at, event.due, event.outside)


def _ended(state: State, event: JobEnded) -> None:
    state.part(JobState).jobs.pop(event.job, None)


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    state.part(JobState).jobs = {}


PART = JobState
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
FOLDS = {JobStarted: _started, JobEnded: _ended}

"""Fold events of background jobs into a session's state."""

from __future__ import annotations

from roost.agent.state import OpenJob, State
from roost.features.jobs.events import JobEnded, JobStarted


def _started(state: State, event: JobStarted) -> None:
    state.jobs[event.job] = OpenJob(event.call, event.command, event.at, event.due, event.outside)


def _ended(state: State, event: JobEnded) -> None:
    state.jobs.pop(event.job, None)


FOLDS = {JobStarted: _started, JobEnded: _ended}

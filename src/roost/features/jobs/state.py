"""Fold events of background jobs into a session's state."""

from __future__ import annotations

from roost.agent.state import OpenJob, State
from roost.log import events as ev


def _started(state: State, event: ev.JobStarted) -> None:
    state.jobs[event.job] = OpenJob(event.call, event.command, event.at, event.due, event.outside)


def _ended(state: State, event: ev.JobEnded) -> None:
    state.jobs.pop(event.job, None)


FOLDS = {ev.JobStarted: _started, ev.JobEnded: _ended}

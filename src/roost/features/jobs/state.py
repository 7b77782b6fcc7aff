"""Fold events of background jobs into a session's state."""

from __future__ import annotations

from collections.abc import Mapping

from roost.agent.state import State
from roost.agent.state_parts import OpenJob, StatePart
from roost.features.jobs.events import JobEnded, JobStarted
from roost.log import events as ev


class JobState(StatePart):
    """jobs: by key, those whose end is not in the log."""

    jobs: dict[str, OpenJob] = {}

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    @property
    def background(self) -> Mapping[str, OpenJob]:
        return self.jobs


def _started(state: State, event: JobStarted) -> None:
    state.part(JobState).jobs[event.job] = OpenJob(event.call, event.command, event.at, event.due, event.outside)


def _ended(state: State, event: JobEnded) -> None:
    state.part(JobState).jobs.pop(event.job, None)


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    state.part(JobState).jobs = {}


PART = JobState
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
FOLDS = {JobStarted: _started, JobEnded: _ended}

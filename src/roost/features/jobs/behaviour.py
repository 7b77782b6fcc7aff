"""Background commands of a session, at the seams of the loop."""

from __future__ import annotations

import time

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.jobs import tracking
from roost.features.jobs.state import JobState
from roost.log import events as ev
from roost.tools.base import ToolContext

_AWAY = "its daemon stopped, or the session moved"
_ASLEEP = "the session went to sleep: {}"


class Jobs(Feature):
    """Keep the log and the running commands in step, and tell the agent of each end once."""

    async def between_turns(self, session: Session) -> None:
        await tracking.reconcile_jobs(session)

    def due(self, session: Session) -> bool:
        return bool(session.state.part(JobState).jobs or session.means.jobs.kept)

    async def between_steps(self, session: Session) -> None:
        await tracking.reconcile_jobs(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        context.jobs = session.means.jobs

    def call_ended(self, session: Session, end: CallEnd) -> None:
        if session.means.jobs.kept:
            tracking.after_call(session, end.call.call.id, end.outcome, end.outside)

    def given_up(self, session: Session, outcome: ev.ChildOutcome, why: str) -> None:
        tracking.abandon_jobs(session, why)

    async def before_sleep(self, session: Session) -> None:
        """End the commands, which may have changed files since the last save."""
        files, ended = session.means.files, bool(session.state.part(JobState).jobs)
        if session.state.part(JobState).jobs:
            await tracking.end_jobs(session, _AWAY)
        if closed := await session.means.jobs.close():
            reason = _ASLEEP.format("; ".join(closed))
            session.note(ev.SandboxEnded(at=time.time(), reason=reason, background=len(closed)))
        if files is not None and (ended or closed):
            files.dirty = True


FEATURE = Jobs()

"""Background commands of a session, at the seams of the loop."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from roost.agent.feature import CallEnd, Feature, Sleeper
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.jobs import suspension, tracking
from roost.features.jobs.state import JobState
from roost.log import events as ev
from roost.sandbox.guest.terminal import GuestTerminal
from roost.tools.base import ToolContext

_AWAY = "its daemon stopped, or the session moved"
_ASLEEP = "the session went to sleep: {}"


class Jobs(Feature):
    """Keep the log and the running commands in step, and tell the agent of each end once."""

    async def between_turns(self, session: Session) -> None:
        await tracking.reconcile_jobs(session)

    def due(self, session: Session) -> bool:
        return bool(session.state.part(JobState).jobs or tracking.programs(session).kept)

    async def between_steps(self, session: Session) -> None:
        await tracking.reconcile_jobs(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        context.give(tracking.programs(session))

    def call_ended(self, session: Session, end: CallEnd) -> None:
        if tracking.programs(session).kept:
            tracking.after_call(session, end.call.call.id, end.outcome, end.outside)

    def given_up(self, session: Session, outcome: ev.ChildOutcome, why: str) -> None:
        tracking.abandon_jobs(session, why)

    async def before_sleep(self, session: Session) -> None:
        """End the commands, which may have changed files since the last save."""
        files, ended = session.means.files, bool(session.state.part(JobState).jobs)
        if session.state.part(JobState).jobs:
            await tracking.end_jobs(session, _AWAY)
        if closed := await tracking.programs(session).close():
            reason = _ASLEEP.format("; ".join(closed))
            session.log.note(ev.SandboxEnded(at=time.time(), reason=reason, background=len(closed)))
        if files is not None and (ended or closed):
            files.dirty = True

    def stays_awake(self, session: Session) -> bool:
        return tracking.programs(session).running

    async def suspends(self, session: Session) -> Sequence[Sleeper]:
        return suspension.sleepers(session)

    def resumes(self, session: Session, note: msgspec.Raw, terminals: dict[int, GuestTerminal]) -> None:
        suspension.resume(session, note, terminals)

    async def evicted(self, session: Session) -> None:
        await tracking.programs(session).close()


FEATURE = Jobs()

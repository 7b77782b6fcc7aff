"""Commands in the background: the log knows those that run, and their end gets to the agent, once.

A job is in the log from the commit on in which its call ends: a crash before that ends the process, and the call says
that it was cut off. Its end is noted by the session's driver between steps, with a message to the session itself in the
same commit, or with the outcome of the call that has told of it. What the log knows of and nothing runs for is lost, so
whoever takes the session up after a crash finds it; meanwhile its phase is `working`, so that somebody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from roost.agent.session import LiveSession
from roost.log import events as ev
from roost.log.content import Text, ToolOutcome
from roost.log.inputs import MessageInput
from roost.log.protocols import Delivery
from roost.tools.background_jobs import Ending, Job

_TAIL = 8000
"""Characters of output in a message."""
_COMMAND = 80
_GONE = Ending("lost", reason="the daemon ended, or lost the session, while it ran")


def after_call(session: LiveSession, call: str, outcome: ToolOutcome, outside: Callable[[], str | None]) -> None:
    """In the commit of a call's outcome: that what it has read of a job is from outside, whatever the outcome, since an
    error may repeat it. Of one that went well the job that it has begun, and the ends that it has told of; their
    messages, where they are not delivered yet, never are. `outside`: by what the output of its job is from outside."""
    for key, job in session.means.jobs.all().items():
        if call in job.asked and job.outside is not None and session.state.tainted is None:
            session.note(ev.SessionTainted(at=time.time(), by=job.outside))
        job.asked.discard(call)
        if outcome == "ok":
            _begun_or_told(session, key, job, call, outside)


def _begun_or_told(session: LiveSession, key: str, job: Job, call: str, outside: Callable[[], str | None]) -> None:
    if job.call == call and not job.known:
        job.known, job.outside = True, outside()
        began = ev.JobStarted(at=job.began, job=key, call=call, command=job.name, due=job.due, outside=job.outside)
        session.note(began)
    if call not in job.told:
        return
    if key in session.state.jobs:
        _note(session, key, job.ending, told=True)
    for item in list(session.inbox):
        if isinstance(item.input, MessageInput) and item.input.source == _source(key):
            session.drop(item)


async def tend(session: LiveSession) -> None:
    """Make the log and what runs agree. While the session has failed it could not be told anything."""
    jobs, state = session.means.jobs, session.state
    if not (jobs.kept or state.jobs):
        return
    if state.state != "error":
        for key in list(state.jobs):
            job = jobs.all().get(key)
            if job is None or not job.running:
                _tell(session, key, _GONE if job is None else job.ending, job)
    strays = [job for key, job in jobs.all().items() if job.running and key not in state.jobs]
    await asyncio.gather(*(job.stop() for job in strays), return_exceptions=True)
    jobs.forget()


async def end(session: LiveSession, reason: str) -> None:
    """Those that run, since they cannot go on; the agent is told."""
    jobs = {key: job for key, job in session.means.jobs.all().items() if key in session.state.jobs}
    running = [job for job in jobs.values() if job.running]
    await asyncio.gather(*(job.stop() for job in running), return_exceptions=True)
    for key, job in jobs.items():
        cut = job in running and job.cut == "stopped"
        _tell(session, key, Ending("stopped", reason=reason) if cut else job.ending, job)


def give_up(session: LiveSession, reason: str) -> None:
    """A person ends them all, and nobody is told; `tend` ends their processes."""
    for key in list(session.state.jobs):
        _note(session, key, Ending("stopped", reason=reason))


def _tell(session: LiveSession, key: str, ending: Ending, job: Job | None) -> None:
    if session.state.state == "stopped":
        _note(session, key, ending)
        return
    opened = session.state.jobs[key]
    command = " ".join(opened.command.split())
    command = command if len(command) <= _COMMAND else command[: _COMMAND - 1] + "…"
    after = "" if job is None else f" after {max(0.0, job.ended - opened.began):.0f} s"
    said = session.scrubbed(f'[{key} "{command}" {ending.said(after)}]')
    if job is not None and (output := session.scrubbed(job.unread).strip("\n")):
        cut = f"[... {len(output) - _TAIL} characters cut ...]\n" if len(output) > _TAIL else ""
        said = f"{said}\n{cut}{output[-_TAIL:]}"
    message = MessageInput((Text(said),), source=_source(key), tainted=opened.outside)
    _note(session, key, ending, deliver=[Delivery(session.id, message, f"job:{key}:end")])


def _note(
    session: LiveSession, key: str, ending: Ending, *, told: bool = False, deliver: list[Delivery] | None = None
) -> None:
    event = ev.JobEnded(
        at=time.time(), job=key, outcome=ending.outcome, code=ending.code, reason=ending.reason, told=told
    )  # fmt: skip
    session.note(event, deliver=deliver or ())


def _source(key: str) -> str:
    return f"job:{key}"

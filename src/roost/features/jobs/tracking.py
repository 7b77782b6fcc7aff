"""Track background commands: the log knows the running ones, and the agent learns of each end exactly once.

A job enters the log in the commit in which its call ends; a crash before that ends the process, and the call reports
that it was cut off. The session's driver notes a job's end between steps, together with a message to the session
itself; or the call that reported the end does, with its outcome. A job in the log without a process is lost; the next
owner after a crash reports it. Until then the session's phase is `working`, so that a node claims it."""

from __future__ import annotations

import asyncio
import time

from roost.agent.session import Session
from roost.features.jobs.events import JobEnded, JobStarted
from roost.features.jobs.state import JobState
from roost.log import events as ev
from roost.log.content import Text, ToolOutcome
from roost.log.inputs import MessageInput
from roost.log.protocols import Delivery
from roost.tools.background_jobs import Ending, Job, Jobs

_TAIL = 8000
"""Characters of output in the message about a job's end."""
_COMMAND = 80
_GONE = Ending("lost", reason="the daemon ended, or lost the session, while it ran")


def programs(session: Session) -> Jobs:
    """Return the programs of a session that run between its calls."""
    return session.own(_new)


def _new(session: Session) -> Jobs:
    return Jobs(session.woken.set)


def after_call(session: Session, call: str, outcome: ToolOutcome, outside: str | None) -> None:
    """Note a call's effects on jobs, in the commit of its outcome.

    Taints the session if the call read output of a job with untrusted content, whatever the outcome: an error may
    repeat it. After success, records the job that the call started and the ends that it reported; undelivered messages
    about those are dropped. outside: returns the source of untrusted content in the started job's output, or None."""
    for key, job in programs(session).all().items():
        if call in job.asked and job.outside is not None and session.state.tainted is None:
            session.log.note(ev.SessionTainted(at=time.time(), by=job.outside))
        job.asked.discard(call)
        if outcome == "ok":
            _begun_or_told(session, key, job, call, outside)


def _begun_or_told(session: Session, key: str, job: Job, call: str, outside: str | None) -> None:
    if job.call == call and not job.known:
        job.known, job.outside = True, outside
        began = JobStarted(at=job.began, job=key, call=call, command=job.name, due=job.due, outside=job.outside)
        session.log.note(began)
    if call not in job.told:
        return
    if key in session.state.part(JobState).jobs:
        _note(session, key, job.ending, told=True)
    for item in list(session.inbox):
        if isinstance(item.input, MessageInput) and item.input.source == _source(key):
            session.log.drop(item)


async def reconcile_jobs(session: Session) -> None:
    """Reconcile the log with the running jobs. Ends are not noted while the session is in state `error`, because it
    could take no message about them."""
    jobs, state = programs(session), session.state
    if not (jobs.kept or state.part(JobState).jobs):
        return
    if state.state != "error":
        for key in list(state.part(JobState).jobs):
            job = jobs.all().get(key)
            if job is None or not job.running:
                _tell(session, key, _GONE if job is None else job.ending, job)
    strays = [job for key, job in jobs.all().items() if job.running and key not in state.part(JobState).jobs]
    await asyncio.gather(*(job.stop() for job in strays), return_exceptions=True)
    jobs.forget()


async def end_jobs(session: Session, reason: str) -> None:
    """End all running jobs because the session leaves this node, and tell the agent."""
    jobs = {key: job for key, job in programs(session).all().items() if key in session.state.part(JobState).jobs}
    running = [job for job in jobs.values() if job.running]
    await asyncio.gather(*(job.stop() for job in running), return_exceptions=True)
    for key, job in jobs.items():
        cut = job in running and job.cut == "stopped"
        _tell(session, key, Ending("stopped", reason=reason) if cut else job.ending, job)


def abandon_jobs(session: Session, reason: str) -> None:
    """End all jobs without telling the agent: a person ended them. `reconcile_jobs` stops their processes."""
    for key in list(session.state.part(JobState).jobs):
        _note(session, key, Ending("stopped", reason=reason))


def _tell(session: Session, key: str, ending: Ending, job: Job | None) -> None:
    if session.state.state == "stopped":
        _note(session, key, ending)
        return
    opened = session.state.part(JobState).jobs[key]
    command = " ".join(opened.command.split())
    command = command if len(command) <= _COMMAND else command[: _COMMAND - 1] + "…"
    after = "" if job is None else f" after {max(0.0, job.ended - opened.began):.0f} s"
    said = session.means.scrubbed(f'[{key} "{command}" {ending.said(after)}]')
    if job is not None and (output := session.means.scrubbed(job.unread).strip("\n")):
        cut = f"[... {len(output) - _TAIL} characters cut ...]\n" if len(output) > _TAIL else ""
        said = f"{said}\n{cut}{output[-_TAIL:]}"
    message = MessageInput((Text(said),), source=_source(key), tainted=opened.outside)
    _note(session, key, ending, deliver=[Delivery(session.id, message, f"job:{key}:end")])


def _note(
    session: Session, key: str, ending: Ending, *, told: bool = False, deliver: list[Delivery] | None = None
) -> None:
    event = JobEnded(
        at=time.time(), job=key, outcome=ending.outcome, code=ending.code, reason=ending.reason, told=told
    )  # fmt: skip
    session.log.note(event, deliver=deliver or ())


def _source(key: str) -> str:
    return f"job:{key}"

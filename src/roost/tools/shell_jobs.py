"""`shell_start`, `shell_output`, `shell_stop`: command lines that run on while the agent does other things."""

from __future__ import annotations

from typing import Annotated

import msgspec

from roost.policy.touching import runs_at
from roost.tools.base import ToolContext
from roost.tools.function import tool
from roost.tools.jobs import Job, jobs_of
from roost.tools.shell import shell_program

_FIRST = 0.3
"""Seconds in which a command that fails at once has done so."""


@tool(safety="high_risk", replay="ask", reach=runs_at("command"))
async def shell_start(command: Annotated[str, "the command line"], ctx: ToolContext) -> str:
    """Start a shell command in the background of the workspace, such as a server. Returns a job's id and the first
    output. It ends with shell_stop, and when this turn is over and the session sleeps."""
    jobs = jobs_of(ctx.jobs)
    argv = [shell_program(), "-c", command]
    key = await jobs.start(ctx.sandbox, argv, cwd=str(ctx.workspace.root), name=command[:200])
    return _report(key, jobs.job(key), await jobs.job(key).output(_FIRST))


@tool(safety="read_only", replay="safe", files=False, inside=True, early=False)
async def shell_output(
    job: Annotated[str, "the id that shell_start returned"],
    ctx: ToolContext,
    wait: Annotated[float, msgspec.Meta(ge=0, le=60, description="seconds to wait if there is nothing new")] = 0,
) -> str:
    """What a background command has said since it was last asked, and whether it still runs."""
    found = jobs_of(ctx.jobs).job(job)
    return _report(job, found, await found.output(wait))


@tool(safety="safe_write", replay="safe", inside=True)
async def shell_stop(job: Annotated[str, "the id that shell_start returned"], ctx: ToolContext) -> str:
    """End a background command and all that it started. Returns its last output."""
    found = jobs_of(ctx.jobs).job(job)
    ran = found.running
    await found.close()
    jobs_of(ctx.jobs).kept.pop(job, None)
    text = await found.output(0)
    return "\n".join(filter(None, [text.rstrip("\n"), f"[{job} was stopped]" if ran else _ended(job, found)]))


def _report(key: str, job: Job, text: str) -> str:
    state = f"[{key} is running]" if job.running else _ended(key, job)
    return "\n".join(filter(None, [text.rstrip("\n"), state]))


def _ended(key: str, job: Job) -> str:
    if job.code is None:
        return f"[{key} has ended with its sandbox]"
    return f"[{key} has ended: {f'exit code {job.code}' if job.code >= 0 else f'killed by signal {-job.code}'}]"

"""`shell_start`, `shell_output`, `shell_stop`: background command lines."""

from __future__ import annotations

from typing import Annotated

import msgspec

from roost.policy.touched_paths import runs_at
from roost.tools.background_jobs import LONGEST, SECONDS, Job, jobs_of
from roost.tools.base import ToolContext
from roost.tools.function import tool
from roost.tools.shell import shell_program

_FIRST = 0.3
"""Seconds to wait for the first output, so that a command that fails at once is reported."""
_NAME = 1000


@tool(safety="high_risk", replay="ask", reach=runs_at("command"))
async def shell_start(
    command: Annotated[str, "the command line"],
    ctx: ToolContext,
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST, description="it is ended after these")] = SECONDS,
) -> str:
    """Start a shell command in the background of the workspace, such as a server or a long test. Returns a job's id and
    the first output. It runs on when you have answered; when it ends, a message tells you, with its last output: there
    is no need to wait for it."""
    jobs = jobs_of(ctx)
    argv = [shell_program(), "-c", command]
    key = await jobs.start(
        ctx.sandbox, argv, cwd=str(ctx.workspace.root), name=command[:_NAME], call=ctx.call, seconds=seconds
    )
    return await _report(ctx, key, jobs.job(key), _FIRST)


@tool(safety="read_only", replay="safe", files=False, inside=True, early=False)
async def shell_output(
    job: Annotated[str, "the id that shell_start returned"],
    ctx: ToolContext,
    wait: Annotated[float, msgspec.Meta(ge=0, le=60, description="seconds to wait if there is nothing new")] = 0,
) -> str:
    """What a background command has said since it was last asked, and whether it still runs."""
    return await _report(ctx, job, jobs_of(ctx).job(job), wait)


@tool(safety="safe_write", replay="safe", inside=True)
async def shell_stop(job: Annotated[str, "the id that shell_start returned"], ctx: ToolContext) -> str:
    """End a background command and all that it started. Returns its last output."""
    found = jobs_of(ctx).job(job)
    await found.stop()
    return await _report(ctx, job, found, 0)


async def _report(ctx: ToolContext, key: str, job: Job, wait: float) -> str:
    text = await job.output(wait)
    job.asked.add(ctx.call)
    if not job.running:
        job.told.add(ctx.call)
        ctx.code = job.ending.code
    state = "is running" if job.running else job.ending.said()
    return "\n".join(filter(None, [text.rstrip("\n"), f"[{key} {state}]"]))

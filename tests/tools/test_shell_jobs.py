"""Commands in the background: started, listened to, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

import msgspec

from roost.tools.background_jobs import MOST, jobs_of
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

TOOLS = builtin_tools()


async def call(ctx: ToolContext, name: str, **arguments: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOLS[name], ctx, json.dumps(arguments))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


async def start(ctx: ToolContext, command: str) -> tuple[str, str]:
    """The job and what it said."""
    outcome, text = await call(ctx, "shell_start", command=command)
    assert outcome == "ok", text
    found = re.search(r"\[(job-\w+) ", text)
    assert found, text
    return found[1], text


async def test_a_job_runs_on_and_is_stopped(ctx: ToolContext) -> None:
    job, text = await start(ctx, "echo $$; trap '' TERM; (setsid sleep 1000 &); sleep 1000")
    pid = int(text.split()[0])
    assert text.endswith(f"[{job} is running]")
    assert (await call(ctx, "shell", command="echo meanwhile"))[1] == "meanwhile"
    outcome, text = await call(ctx, "shell_output", job=job, wait=0.05)
    assert (outcome, text) == ("ok", f"[{job} is running]")
    outcome, text = await call(ctx, "shell_stop", job=job)
    assert (outcome, text) == ("ok", f"[{job} was stopped]")
    assert not os.path.exists(f"/proc/{pid}")
    assert (await call(ctx, "shell_output", job=job))[1] == f"[{job} was stopped]"
    outcome, text = await call(ctx, "shell_output", job="job-0")
    assert (outcome, f"the jobs are: {job}" in text) == ("error", True)


async def test_output_comes_once_and_waiting_ends_with_it(ctx: ToolContext) -> None:
    job, text = await start(ctx, "echo one; sleep 0.6; echo two; sleep 0.2; exit 4")
    assert "one" in text
    began = asyncio.get_running_loop().time()
    _, text = await call(ctx, "shell_output", job=job, wait=30)
    assert "two" in text
    assert "one" not in text
    _, text = await call(ctx, "shell_output", job=job, wait=30)
    assert asyncio.get_running_loop().time() - began < 25
    assert text == f"[{job} has ended: exit code 4]"
    _, text = await call(ctx, "shell_stop", job=job)
    assert "exit code 4" in text


async def test_a_flood_is_cut(ctx: ToolContext) -> None:
    job, text = await start(ctx, "head -c 20000000 /dev/zero | tr '\\0' x; echo end; sleep 100")
    for _ in range(200):
        assert len(text) < 40_000
        if "end" in text:
            break
        _, text = await call(ctx, "shell_output", job=job, wait=0.2)
    else:
        raise AssertionError("it never ended")


async def test_it_has_its_time(ctx: ToolContext) -> None:
    _, text = await call(ctx, "shell_start", command="echo $$ > pid; sleep 100", seconds=3)
    job = text.split("[")[1].split()[0]
    _, text = await call(ctx, "shell_output", job=job, wait=30)
    while "running" in text:
        _, text = await call(ctx, "shell_output", job=job, wait=30)
    assert text == f"[{job} was ended: its time was over]"
    pid = (ctx.workspace.root / "pid").read_text().strip()
    assert not os.path.exists(f"/proc/{pid}")
    for seconds in (0, -1, 86_401):
        assert (await call(ctx, "shell_start", command="true", seconds=seconds))[0] == "error"


async def test_not_too_many_at_once(ctx: ToolContext) -> None:
    jobs = [(await start(ctx, "sleep 100"))[0] for _ in range(MOST)]
    outcome, text = await call(ctx, "shell_start", command="true")
    assert (outcome, all(job in text for job in jobs)) == ("error", True)
    await call(ctx, "shell_stop", job=jobs[0])
    await start(ctx, "true")
    assert await jobs_of(ctx).close() == ["sleep 100"] * (MOST - 1)


async def test_where_nothing_can_be_kept(ctx: ToolContext) -> None:
    for name, arguments in (("shell_start", {"command": "true"}), ("shell_output", {"job": "x"})):
        outcome, text = await call(msgspec.structs.replace(ctx, ports={}), name, **arguments)
        assert (outcome, "use shell" in text) == ("error", True)
    bare = msgspec.structs.replace(ctx, sandbox=object())
    assert "runs nothing in the background" in (await call(bare, "shell_start", command="true"))[1]

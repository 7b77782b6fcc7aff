"""`shell`: run a command line in the session's sandbox."""

from __future__ import annotations

import shutil
from functools import lru_cache
from typing import Annotated

import msgspec

from roost.policy.touched_paths import runs_at
from roost.sandbox.base import ExecResult, Quota
from roost.tools.base import ToolContext, ToolResult
from roost.tools.function import tool

_LONGEST = 600
_OUTPUT = 30 * 1024


@lru_cache(maxsize=1)
def shell_program() -> str:
    return shutil.which("bash") or "/bin/sh"


@tool(safety="high_risk", replay="ask", timeout=_LONGEST + 30, reach=runs_at("command"))
async def shell(
    command: Annotated[str, "the command line"],
    ctx: ToolContext,
    timeout: Annotated[float, msgspec.Meta(gt=0, le=_LONGEST, description="seconds until it is killed")] = 60,
) -> ToolResult:
    """Run a shell command in the workspace folder and return its output and exit code.
    Each call is a new shell. Everything it started is killed when it ends: nothing runs on in the background."""
    result = await ctx.sandbox.exec(
        [shell_program(), "-c", command],
        cwd=str(ctx.workspace.root),
        quota=Quota(wall_seconds=timeout, output_bytes=_OUTPUT),
    )
    ctx.code = result.exit_code
    return ToolResult.of(_report(result, timeout), error=result.killed_by is not None)


def _report(result: ExecResult, timeout: float) -> str:
    parts = [result.stdout.rstrip("\n")]
    if result.stderr:
        parts.append(f"[stderr]\n{result.stderr.rstrip()}")
    if result.killed_by == "wall_seconds":
        parts.append(f"[killed: not finished after {timeout:g} seconds]")
    elif result.killed_by:
        parts.append(f"[killed: limit {result.killed_by}]")
    elif result.exit_code:
        ended = f"exit code {result.exit_code}" if result.exit_code > 0 else f"killed by signal {-result.exit_code}"
        parts.append(f"[{ended}]")
    parts += [f"[limit hit: {name}]" for name in result.limits if name != result.killed_by]
    return "\n".join(part for part in parts if part) or "(no output, exit code 0)"

"""An agent whose failed calls are undone; a process that dies while it runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

from roost.agent.definition import Agent
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import ScriptedModel
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

from .filing import Striking, look, obey
from .support import BRISK


async def _run(command: str, context: ToolContext) -> str:
    again = context.attempt > 1
    command = command.replace("AGAIN", "true" if again else "false")
    result = await context.sandbox.exec(["/bin/sh", "-c", command], cwd=str(context.workspace.root))
    if command.endswith("# die") and not again:
        os.kill(os.getpid(), signal.SIGKILL)
    if command.endswith("# lose"):
        home = context.workspace.root.parents[1]
        for blobs in [*home.glob("workspaces.memory/*/snapshots/blobs"), home.parent / "shared/blobs"]:
            shutil.rmtree(blobs, ignore_errors=True)
    if result.exit_code:
        raise ToolError(f"failed: {result.stdout.strip()}")
    return result.stdout.strip()


@tool(replay="safe", safety="high_risk")
async def sh(command: str, context: ToolContext) -> str:
    """Run a command, again if need be."""
    return await _run(command, context)


@tool(replay="never", safety="high_risk")
async def once(command: str, context: ToolContext) -> str:
    """Run a command that must not run twice."""
    return await _run(command, context)


TOOLS: list[str | Tool] = [sh, once, look]


def careful(**options: object) -> Agent:
    options = {"snapshots": "steps", "rollback": "failed", **options}
    return Agent("careful", model=ScriptedModel(obey), tools=TOOLS, permissions="all", **options)  # type: ignore[arg-type]


async def _main(home: str, url: str, snapshots: str, session: str, mark: str, nth: str, when: str, told: str) -> None:
    store = Striking(await open_store(url))
    store.strike_at(mark, int(nth), when)
    async with Runtime(
        Path(home), agents=[careful()], store=store, snapshots=snapshots or None, config=BRISK
    ) as runtime:
        await runtime.open(session).send(told)
        await asyncio.sleep(20)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))

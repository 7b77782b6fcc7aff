"""How long the turns of one session take while another session of the same daemon does its worst.

Quiet and loud stretches take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.backend import Backend
from roost.sandbox.choose import Isolation
from roost.testing.bombs import BOUNDS, Bomb
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool


class Stretch(msgspec.Struct, frozen=True):
    """Seconds of each turn of the neighbour, beside nothing and beside the bomb. `said` is what the bomb's model read
    of each, `limits` and `ended` the events in its session's log."""

    bomb: str
    quiet: list[float]
    loud: list[float]
    said: list[str]
    limits: list[str]
    ended: int

    def ratio(self, part: float) -> float:
        """Loud over quiet at a quantile, 0.99 say."""
        return quantile(self.loud, part) / quantile(self.quiet, part)


def quantile(values: Sequence[float], part: float) -> float:
    """The nearest rank. With 200 values the 0.99th is the third largest."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def beside(bomb: Bomb, backend: Backend | None, home: Path, *, turns: int = 50, pairs: int = 4) -> Stretch:
    """`pairs` times `turns` quiet and `turns` loud turns. `backend` None is level 0."""
    isolation = Isolation(prefers=0 if backend is None else 1, bounds=BOUNDS)
    near = Agent("near", model=_calls("note"), tools=[note], permissions="all", isolation=isolation)
    loud = Agent("loud", model=_calls("bomb"), tools=[_tool(bomb)], permissions="all", isolation=isolation)
    backends = [] if backend is None else [backend]
    config = KernelConfig(linger=60.0)
    async with Runtime(home, agents=[near, loud], config=config, backends=backends) as runtime:
        one, other = await runtime.session("near"), await runtime.session("loud")
        await _turns(one, 20)
        quiet: list[float] = []
        noisy: list[float] = []
        for _ in range(pairs):
            quiet += await _turns(one, turns)
            over = asyncio.Event()
            bombs = asyncio.create_task(_again_and_again(other, over, home / "workspaces" / other.id))
            await asyncio.sleep(0.2)
            noisy += await _turns(one, turns)
            over.set()
            await bombs
        log = [record.event for record in await runtime.sessions.history(other.id)]
    limits = [event.limit for event in log if isinstance(event, ev.SandboxLimit)]
    said = [
        part.text
        for event in log
        if isinstance(event, ev.ToolCompleted)
        for part in event.parts
        if isinstance(part, Text)
    ]
    ended = sum(isinstance(event, ev.SandboxEnded) for event in log)
    return Stretch(bomb.name, quiet, noisy, said, limits, ended)


async def _turns(session: SessionHandle, count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await session.ask("go")
        times.append(time.perf_counter() - began)
    return times


async def _again_and_again(session: SessionHandle, over: asyncio.Event, workspace: Path) -> None:
    while not over.is_set():
        await session.ask("go")
        await asyncio.to_thread(_emptied, workspace)


def _emptied(folder: Path) -> None:
    for each in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def _calls(name: str) -> ScriptedModel:
    """It calls the tool once a turn."""

    def answer(request: Request) -> Answer:
        return Answer(calls=(Call(name, {}),)) if isinstance(request.messages[-1], UserMessage) else Answer(text="done")

    return ScriptedModel(answer)


@tool(safety="safe_write", replay="safe")
async def note() -> str:
    """Take a note."""
    return "noted"


def _tool(given: Bomb) -> Tool:
    @tool
    async def bomb(ctx: ToolContext) -> str:
        """Run it."""
        argv = ["sh", "-c", given.script]
        result = await ctx.sandbox.exec(argv, cwd=str(ctx.workspace.root), quota=given.quota)
        return f"exit {result.exit_code}, killed by {result.killed_by}, limits {result.limits}, cut {result.truncated}"

    return bomb

"""Effects outside of Roost that somebody counts: each is a line in a file, synced before the tool goes on."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Literal

import msgspec

from roost.log.content import Replay
from roost.policy.gate import Safety
from roost.threads import finished_in_thread
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool


class Effect(msgspec.Struct, frozen=True):
    """A tool call that touched the world. `began` is written before its delay, `done` after it."""

    tool: str
    session: str
    call: str
    key: str
    attempt: int
    kind: Literal["began", "done"]


class Witness:
    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, effect: Effect) -> None:
        """One synced write: a line is whole or it is not there."""
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, msgspec.json.encode(effect) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)


def effects(path: Path) -> list[Effect]:
    """What the tools did, in order."""
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Effect) for line in path.read_bytes().splitlines()]


def witness_tools(path: Path, *, delay: tuple[float, float] = (0.0, 0.02)) -> list[Tool]:
    """One tool of each replay rule and a read-only one. Each takes a random time within `delay` seconds."""
    witness = Witness(path)

    async def act(name: str, ctx: ToolContext) -> str:
        began = Effect(name, ctx.session, ctx.call, ctx.key, ctx.attempt, "began")
        await finished_in_thread(lambda: witness.record(began))
        await asyncio.sleep(random.uniform(*delay))
        await finished_in_thread(lambda: witness.record(msgspec.structs.replace(began, kind="done")))
        return f"{name} took effect under the key {ctx.key}"

    def make(name: str, replay: Replay, safety: Safety) -> Tool:
        @tool(
            name=name,
            description=f"An effect whose replay rule is {replay}.",
            replay=replay,
            safety=safety,
            files=False,
        )
        async def effect(ctx: ToolContext) -> str:
            return await act(name, ctx)

        return effect

    @tool(replay="safe", safety="read_only", files=False)
    async def look(ctx: ToolContext, size: int = 100) -> str:
        """Look at much text."""
        return await act("look", ctx) + "\n" + "x" * size

    return [
        look,
        make("safe_effect", "safe", "safe_write"),
        make("never_effect", "never", "safe_write"),
        make("ask_effect", "ask", "safe_write"),
    ]

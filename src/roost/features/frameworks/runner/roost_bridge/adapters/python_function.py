"""A function of your own: `answer(text)`, or `answer(text, history)` with the conversation so far. It may be async. Or
an adapter of your own: an object with a method `run(text, memory)`, as the adapters here have it."""

from __future__ import annotations

import asyncio
import inspect
import platform
from typing import Any


def version() -> str:
    return platform.python_version()


def install() -> None:
    """Do nothing: its tools are marked by `roost_bridge.tool`."""


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    if not inspect.isroutine(agent) and hasattr(agent, "run"):
        return await agent.run(text, memory)
    wanted = len(inspect.signature(agent).parameters)
    given = (text, list(memory))[: max(1, wanted)]
    if inspect.iscoroutinefunction(agent):
        answer = await agent(*given)
    else:
        answer = await asyncio.to_thread(agent, *given)
    said = answer if isinstance(answer, str) else "" if answer is None else str(answer)
    return said, [*memory, {"role": "user", "content": text}, {"role": "assistant", "content": said}]

"""An agent with a tool that a policy has something to say about, and a runtime under a policy."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from roost.agent.definition import Agent
from roost.log import events as ev
from roost.policy.loading import Policy
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel, by_step
from roost.tools.base import Tool
from roost.tools.function import tool

from .support import FAST, calling, place


class Notes:
    """A tool that changes something, and what it was called with."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def tools(self) -> list[Tool]:
        @tool(safety="safe_write")
        async def write(text: str, times: int = 1) -> str:
            """Write a note."""
            self.written.append(text * times)
            return f"wrote {text * times}"

        return [write]


def writer(notes: Notes, *, permissions: Any = "ask", text: str = "x", model: ScriptedModel | None = None, **more: Any):
    script = model or ScriptedModel(by_step([calling("write", text=text), "end"]))
    return Agent("a", model=script, tools=[*notes.tools(), *more.pop("tools", ())], permissions=permissions, **more)


@contextlib.asynccontextmanager
async def under(home: Path, agent: Agent, policy: Policy | None = None) -> AsyncGenerator[Runtime]:
    runtime = Runtime(home, agents=[agent], config=FAST, policy=policy, store=place.url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.2)


def found(log: Sequence[ev.Event], kind: type[Any]) -> list[Any]:
    return [event for event in log if isinstance(event, kind)]

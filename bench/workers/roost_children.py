"""A parent that gives many tasks at once and waits for all; beside it as many sessions that nobody has made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, PROMPT
from bench.worker import Clock, serve
from bench.workers.roost_steps import Bare, Log
from roost.agent.definition import Agent, Children
from roost.log.content import ToolMessage
from roost.models.request import Profile, Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call

_WINDOW = Profile(window=100_000_000)


def team(children: int) -> list[Agent]:
    calls = tuple(Call("task", {"agent": "child", "prompt": PROMPT}) for _ in range(children))
    first, last = Answer(calls=calls), Answer(text=ANSWER)

    def lead(request: Request) -> Answer:
        return last if isinstance(request.messages[-1], ToolMessage) else first

    limits = Children(agents=("child",), breadth=children, at_once=children)
    parent = Agent(
        "parent", model=Bare(lead, keep=0, profile=_WINDOW), tools=["task"], permissions="all", children=limits
    )
    return [parent, Agent("child", model=Bare(lambda _: last, keep=0, profile=_WINDOW), callable_by=("parent",))]


async def run(folder: Path, children: int, *, alone: bool = False) -> dict[str, Any]:
    async with Runtime(folder, agents=team(children)) as runtime:
        names = ["child"] * children if alone else ["parent"]
        clock = Clock()
        ids = [(await runtime.session(name)).id for name in names]
        log = Log(runtime.node.store, ids)
        await asyncio.gather(*(runtime.sessions.send(session, PROMPT) for session in ids))
        await log.wait()
        spent = clock.stop()
        log.stop()
    return {**spent, "commits": log.groups, "events": log.events, "cpu_ms": spent["cpu"] / children * 1e3}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))

"""A node whose dispatcher is DBOS, as a process of its own that a test kills."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log.dbos import DbosDispatcher
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.function import tool


def agent(*, hold: bool = False) -> Agent:
    @tool(replay="safe", safety="read_only")
    async def look() -> str:
        """Look at something."""
        if hold:
            print(json.dumps({"tool": "began"}), flush=True)
            await asyncio.sleep(60)
        return "seen"

    model = ScriptedModel(by_step([Answer(calls=(Call("look", {}),)), "done"] * 4))
    return Agent("worker", model=model, tools=[look], permissions="all")


async def main(url: str, home: Path) -> None:
    config = KernelConfig(linger=0.05, lease=3.0)
    runtime = Runtime(
        home, agents=[agent(hold=True)], store=url, config=config, dispatcher=lambda store: DbosDispatcher(store, url)
    )
    async with runtime:
        session = await runtime.session("worker")
        print(json.dumps({"session": session.id}), flush=True)
        await session.ask("go")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))

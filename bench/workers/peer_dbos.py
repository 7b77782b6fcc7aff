"""DBOS Transact on PostgreSQL: a session's turn is a workflow, a model or tool call one of its steps, as its guide
shows it. Its defaults, but for quiet logs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID, calls_of
from bench.worker import Clock, Ticks, serve


def build(ticks: Ticks) -> Any:
    from dbos import DBOS

    @DBOS.step()
    async def model(messages: int, steps: int) -> dict[str, Any]:
        ticks.tick()
        if messages >= steps:
            return {"role": "assistant", "content": ANSWER}
        return {"role": "assistant", "content": SAID, "calls": [{"name": "look", "arguments": ARGUMENTS}]}

    @DBOS.step()
    async def look(what: str, why: str) -> str:
        ticks.tick()
        return RESULT

    @DBOS.workflow()
    async def turn(prompt: str, steps: int) -> int:
        messages: list[Any] = [prompt]
        while True:
            said = await model(len(messages), steps)
            messages.append(said)
            if "calls" not in said:
                return len(messages) - 1
            messages.append(await look(**said["calls"][0]["arguments"]))

    return turn


async def run(turn: Any, ticks: Ticks, sessions: int, steps: int) -> dict[str, Any]:
    from dbos import DBOS

    assert calls_of(steps) >= 0
    ticks.at.clear()

    async def session() -> None:
        handle = await DBOS.start_workflow_async(turn, PROMPT, steps)
        assert await handle.get_result() == steps

    clock = Clock()
    await asyncio.gather(*(session() for _ in range(sessions)))
    spent = clock.stop()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds() if sessions == 1 else []}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    from dbos import DBOS

    url = order.pop("store")
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "application_version": "1"})
    ticks = Ticks()
    turn = build(ticks)
    DBOS.launch()
    try:
        return asyncio.run(run(turn, ticks, **order))
    finally:
        DBOS.destroy(destroy_registry=True)


if __name__ == "__main__":
    serve(play)

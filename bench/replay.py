"""How fast sessions are replayed: `python -m bench.replay`.

Records sessions of a scripted model with the built-in tools, and replays them with recorded answers and tools. Each is
read from the store. A step is a model call or a tool call. Times are of the processor, and of the clock."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from roost import Agent, Runtime
from roost.agent.definition import Limits
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

_AT_ONCE = 50
"""Sessions that are recorded at the same time."""


def clerk(steps: int) -> Agent:
    """An agent whose turn has `steps` steps: it reads a file again and again."""
    reads = [Answer(calls=(Call("read_file", {"path": f"notes-{number}.txt"}),)) for number in range(steps // 2)]
    model = ScriptedModel(by_step([*reads, "I have read all notes."]))
    tools = ["read_file", "write_file", "list_files", "grep", "shell"]
    return Agent(f"clerk-{steps}", model=model, tools=tools, limits=Limits(steps=None))


async def record(runtime: Runtime, agent: str, sessions: int) -> list[str]:
    room = asyncio.Semaphore(_AT_ONCE)

    async def one() -> str:
        async with room:
            session = await runtime.session(agent)
            await session.ask("Read my notes.")
            return session.id

    return list(await asyncio.gather(*(one() for _ in range(sessions))))


async def replay(runtime: Runtime, sessions: list[str]) -> dict[str, float]:
    steps, wall, cpu = 0, time.perf_counter(), time.process_time()
    for session in sessions:
        found = await runtime.replays.run(session)
        if found.divergence is not None:
            raise SystemExit(f"{session}: {found.divergence.summary}")
        steps += found.steps + found.calls
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "sessions": len(sessions),
        "steps": steps,
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "steps_a_second": round(steps / wall),
        "steps_a_cpu_second": round(steps / cpu),
    }


async def main(sessions: int, steps: int, long: int) -> None:
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as home:
        async with Runtime(Path(home), agents=[clerk(steps), clerk(long)]) as runtime:
            short = await record(runtime, f"clerk-{steps}", sessions)
            one = await record(runtime, f"clerk-{long}", 1)
            await replay(runtime, short[:5])
            print(json.dumps({"short": await replay(runtime, short), "long": await replay(runtime, one * 5)}, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--long", type=int, default=1000)
    given = parser.parse_args()
    asyncio.run(main(given.sessions, given.steps, given.long))

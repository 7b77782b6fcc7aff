"""A server or the node dies in the middle of a call: no effect is doubled, and the session goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.mcp_servers.support import calling, clerk, events, results

from roost import Runtime
from roost.log import events as ev

ROOT = Path(__file__).parents[2]
NODE = """
import asyncio, sys
from pathlib import Path
from tests.mcp_servers.support import calling, clerk
from roost import Runtime

async def main():
    folder = Path(sys.argv[1])
    async with Runtime(folder / "home", agents=[clerk(folder, calling(("kit__slow", {})))]) as runtime:
        session = await runtime.session("clerk", id="one")
        await session.ask("go")

asyncio.run(main())
"""


async def called(folder: Path) -> list[tuple[str, int]]:
    """Wait until the tool runs, and return the calls with the processes that got them."""
    path = folder / "calls"
    while not (path.exists() and path.read_text().endswith("\n")):
        await asyncio.sleep(0.02)
    return [(line.split()[0], int(line.split()[1])) for line in path.read_text().splitlines()]


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_server_that_is_killed_in_a_call_starts_again_for_the_next(tmp_path):
    agent = clerk(tmp_path, calling(("kit__slow", {}), ("kit__echo", {}), ("kit__echo", {"text": "b"})))
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        session = await runtime.session("clerk")
        asking = asyncio.create_task(session.ask("go"))
        ((_, process),) = await called(tmp_path)
        os.kill(process, signal.SIGKILL)
        assert await asking == "done"
        ((outcome, said),) = await results(runtime, session.id)
        assert outcome == "error"
        assert "Whether the call took effect is not known" in said
        await asyncio.sleep(1.1)  # its first back-off
        await session.ask("again")
        assert (await results(runtime, session.id))[-1][0] == "ok"


async def test_a_node_that_is_killed_in_a_call_does_not_repeat_it(tmp_path):
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NODE, str(tmp_path), cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    )
    ((_, process),) = await called(tmp_path)
    node.kill()
    await node.wait()
    async with Runtime(tmp_path / "home", agents=[clerk(tmp_path, calling())]) as runtime:
        while not [one for one in await events(runtime, "one") if isinstance(one, ev.TurnCompleted)]:
            await asyncio.sleep(0.05)
        assert [one[0] for one in await results(runtime, "one")] == ["interrupted"]
        while lives(process):
            await asyncio.sleep(0.05)
    assert len(await called(tmp_path)) == 1

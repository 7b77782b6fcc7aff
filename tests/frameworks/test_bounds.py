"""What a hosted agent can cost its daemon, and what counts as a request to a route."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from roost.features.frameworks.bridge import Bridge
from roost.features.frameworks.child import Child
from roost.features.frameworks.records import Records
from roost.features.frameworks.route_messages import RouteMessages
from roost.features.frameworks.run import CALL_BYTES, MOST_CALLS, Run
from roost.features.frameworks.state import Answer, FrameworkTurn
from roost.features.frameworks.tool_making import tool_of
from roost.features.frameworks.warm_programs import WarmPrograms
from roost.log.content import Text, ToolCall, ToolMessage
from roost.testing.models import ask, user
from roost.testing.scripted import ScriptedModel

_LEAVES = """
import json, sys
def say(**said): print(json.dumps(said), flush=True)
say(type="hello", v=[1], forks=True)
sys.stdin.readline()
say(type="ready")
say(type="run.over", code=0)
sys.stdin.readline()
for number in range(1000): say(type="tool.begin", n=number, name="pay", arguments="x" * 1000)
print("said all", flush=True)
sys.stdin.readline()
"""


class Pipes:
    """A program of this machine as a terminal."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout

    async def read(self) -> AsyncIterator[bytes]:
        while data := await self._out.read(65536):
            yield data

    async def write(self, data: bytes) -> None:
        self._in.write(data)
        await self._in.drain()

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Machine:
    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, lossless: bool = False
    ) -> Any:
        pipe = asyncio.subprocess.PIPE
        return Pipes(await asyncio.create_subprocess_exec(*argv, cwd=cwd, env=env, stdin=pipe, stdout=pipe))


async def test_what_a_waiting_program_says_is_not_kept_and_ends_it() -> None:
    child, warm, ended = Child(), WarmPrograms(), asyncio.Event()
    try:
        await child.start(Machine(), [sys.executable, "-c", _LEAVES], "/", {})
        await child.begin(lambda said: None, lambda: None, {})
        assert await child.rest()
        kept = warm.keep(child, "one", ended.set)
        await child.send({"type": "go"})
        async with asyncio.timeout(60):
            while "said all" not in child._words:
                await asyncio.sleep(0.01)
        assert child._greeting.qsize() < 10
        assert kept.take("one") is None  # its words would be those of the next run
        await warm.stop()
        assert child.gone
    finally:
        await child.close()


def run_of(bridge: Bridge) -> Run:
    async def never(ctx: Any, arguments: dict[str, Any]) -> Any:
        raise AssertionError

    tools = {"pay": tool_of("pay", "never", never)}
    return Run(bridge, FrameworkTurn, list[ToolCall], "s:1:1", Child(), lambda: tools)


async def test_calls_over_mcp_are_bounded_in_number_and_size() -> None:
    run = run_of(Bridge(lambda: ScriptedModel([]), Records(()), lambda found: None))
    assert (await run.call("", "pay", {"x": "x" * CALL_BYTES}))[1]
    waiting = [asyncio.create_task(run.call("", "pay", {"n": n})) for n in range(MOST_CALLS)]
    await asyncio.sleep(0)
    assert len(run.begun) == MOST_CALLS
    async with asyncio.timeout(30):
        assert (await run.call("", "pay", {"one": "more"}))[1]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not run.begun


async def test_results_of_calls_that_nobody_made_are_not_kept() -> None:
    made = Answer("", "d", "m", (ToolCall("known", "pay", "{}"),))
    bridge = Bridge(lambda: ScriptedModel([]), Records((made,)), lambda found: None)
    bridge.end()
    results = [ToolMessage(f"false-{n}", "pay", (Text("paid"),)) for n in range(50)]
    asked = ask(user("pay"), ToolMessage("known", "pay", (Text("paid"),)), *results)
    async for _ in bridge.stream(asked, ""):
        pass
    assert bridge.told == {"known"}


async def test_only_a_message_that_was_made_for_a_session_is_a_request() -> None:
    async def secret() -> bytes:
        return b"s"

    routes = RouteMessages(secret)
    made = await routes.made("a", '{"path":"/x"}')
    assert await routes.is_one("a", made)
    for session, text in (("b", made), ("a", made.replace("/x", "/y")), ("a", made[1:]), ("a", '{"http":{}}')):
        assert not await routes.is_one(session, text)

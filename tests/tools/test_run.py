"""One tool call: whatever goes wrong is data, and a cancel is a cancel."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import NotFound
from roost.log.content import Text
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.errors import ToolError
from roost.tools.function import tool
from roost.tools.run_tool import run_tool
from roost.tools.text_limits import capped
from tests.yardstick import slowness


@tool
async def echo(text: str = "") -> str:
    """Echo."""
    return text


def _text(parts: tuple[Any, ...]) -> str:
    return "".join(part.text for part in parts)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('{"text": ', ["not valid JSON", "echo"]),
        ("nonsense", ["not valid JSON"]),
        ("[1]", ["one JSON object", "an array"]),
        ('"text"', ["a string"]),
        ("null", ["null"]),
        ("12", ["a number"]),
        ("true", ["a boolean"]),
        ('{"text": "a\ud800"}', ["not valid JSON"]),
        ("[" * 100_000, ["not valid JSON"]),
        ('{"a":' * 100_000, ["not valid JSON"]),
    ],
)
async def test_broken_arguments(ctx: ToolContext, arguments: str, words: list[str]) -> None:
    outcome, parts = await run_tool(echo, ctx, arguments)
    assert outcome == "error"
    for word in words:
        assert word in _text(parts)


async def test_empty_arguments_are_none(ctx: ToolContext) -> None:
    assert (await run_tool(echo, ctx, ""))[0] == "ok"


async def test_errors_for_the_model(ctx: ToolContext, caplog: pytest.LogCaptureFixture) -> None:
    @tool
    async def fail(kind: str) -> None:
        """Fail."""
        raise {"tool": ToolError("use a smaller number"), "missing": NotFound("no such thing")}[kind]

    assert await run_tool(fail, ctx, '{"kind": "tool"}') == ("error", (Text("use a smaller number"),))
    assert await run_tool(fail, ctx, '{"kind": "missing"}') == ("error", (Text("no such thing"),))
    assert not caplog.records


async def test_other_exceptions_are_data_and_logged(ctx: ToolContext, caplog: pytest.LogCaptureFixture) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @tool
    async def crash(kind: str) -> None:
        """Crash."""
        match kind:
            case "value":
                raise ValueError("bad \ud800 value")
            case "unprintable":
                raise Unprintable
            case _:
                sys.exit("bye")

    @tool
    def stop() -> None:
        """Stop."""
        raise StopIteration

    @tool
    def leave() -> None:
        """Leave."""
        sys.exit(3)

    @tool
    async def unserializable() -> object:
        """Unserializable."""
        return object()

    for made, arguments, word in [
        (crash, '{"kind": "value"}', "ValueError: bad"),
        (crash, '{"kind": "unprintable"}', "Unprintable"),
        (crash, '{"kind": "exit"}', "SystemExit: bye"),
        (stop, "{}", "StopIteration"),
        (leave, "{}", "SystemExit"),
        (unserializable, "{}", "TypeError"),
    ]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            outcome, parts = await asyncio.wait_for(run_tool(made, ctx, arguments), 30)
        assert outcome == "error"
        assert word in _text(parts)
        _text(parts).encode()
        assert "ses_test" in caplog.text


async def test_a_tool_that_breaks_its_own_contract(ctx: ToolContext) -> None:
    async def nothing(ctx: ToolContext, arguments: dict[str, Any]) -> Any:
        return arguments.get("give")

    async def odd(ctx: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(("text",))  # pyright: ignore[reportArgumentType]

    for run in (nothing, odd):
        made = Tool(name="foreign", description="Foreign.", schema={}, run=run)
        outcome, parts = await run_tool(made, ctx, "{}")
        assert outcome == "error"
        assert "'foreign' failed" in _text(parts)


async def test_timeout(ctx: ToolContext) -> None:
    ended: list[str] = []

    @tool(timeout=0.05)
    async def slow() -> None:
        """Slow."""
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    @tool
    async def its_own() -> None:
        """Its own."""
        raise TimeoutError("the server did not answer")

    outcome, parts = await run_tool(slow, ctx, "{}")
    assert (outcome, ended) == ("error", ["cancelled"])
    assert "0.05 seconds" in _text(parts)
    assert "the server did not answer" in _text((await run_tool(its_own, ctx, "{}"))[1])


async def test_cancel_passes_and_a_false_cancel_does_not(ctx: ToolContext) -> None:
    @tool
    async def wait() -> None:
        """Wait."""
        await asyncio.sleep(30)

    @tool
    async def awaits_cancelled() -> None:
        """Awaits cancelled."""
        other = asyncio.ensure_future(asyncio.sleep(30))
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    task = asyncio.create_task(run_tool(wait, ctx, "{}"))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    outcome, parts = await run_tool(awaits_cancelled, ctx, "{}")
    assert outcome == "error"
    assert "CancelledError" in _text(parts)


async def test_long_results_keep_head_and_tail(ctx: ToolContext) -> None:
    @tool
    async def flood() -> ToolResult:
        """Flood."""
        return ToolResult((Text("A" * 300_000 + "Z"), Text("B" * 300_000), Text("ü" * 100_000)))

    outcome, parts = await run_tool(flood, ctx, "{}")
    assert outcome == "ok"
    assert len(parts) == 3
    assert parts[0].text.startswith("AAA")  # pyright: ignore
    assert parts[0].text.endswith("AZ")  # pyright: ignore
    assert "bytes cut" in _text(parts)
    assert len(_text(parts).encode()) < 67_000


async def test_lone_surrogates_are_cleaned(ctx: ToolContext) -> None:
    @tool
    async def odd() -> str:
        """Odd."""
        return "a\ud83d\ude00b\ud800c"

    assert await run_tool(odd, ctx, "{}") == ("ok", (Text("a😀b\ufffdc"),))


async def test_a_trivial_call_is_cheap(ctx: ToolContext) -> None:
    started = time.process_time()
    for _ in range(1000):
        await run_tool(echo, ctx, '{"text": "hello"}')
    assert (time.process_time() - started) / slowness() < 0.5  # 8 µs a call where this was measured


@given(st.text(st.characters(), max_size=300), st.integers(0, 200))
def test_capping_keeps_what_it_says(text: str, cap: int) -> None:
    shown = capped(text, cap)
    data = shown.encode()
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "bytes cut" not in shown:
        assert shown == whole
        return
    head, _, rest = shown.partition("\n[... ")
    cut, _, tail = rest.partition(" bytes cut ...]\n")
    assert len(data) <= cap + 40
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert "\ufffd" not in head + tail or "\ufffd" in whole
    assert len(head.encode()) + int(cut) + len(tail.encode()) == len(whole.encode())

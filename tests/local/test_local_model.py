from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roost.errors import ConfigError, NotFound
from roost.local.model import LocalModel
from roost.log.content import Text, ToolCall, UserMessage
from roost.models.request import CallDelta, Completed, Failed, ModelEvent, Price, Request, TextDelta, ToolSpec

STORY = "Tell me a very long story about a ship."
TOOLS = (
    ToolSpec(
        "set_light",
        "Switch a light.",
        {
            "type": "object",
            "properties": {"room": {"enum": ["kitchen", "hall"]}, "on": {"type": "boolean"}},
            "required": ["room", "on"],
        },
    ),
    ToolSpec("read_clock", "Tell the time.", {"type": "object", "properties": {}}),
)


def ask(text: str, **more: object) -> Request:
    return Request(instruction="You are helpful.", messages=(UserMessage((Text(text),)),), **more)  # pyright: ignore


async def collect(model: LocalModel, request: Request) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


async def short_call(model: LocalModel) -> float:
    """Make the shortest call. Returns the seconds that it took: on a busy machine many."""
    began = time.perf_counter()
    events = await collect(model, ask("Hi.", max_output=1))
    assert isinstance(events[-1], Completed)
    return time.perf_counter() - began


async def stops(model: LocalModel, call: float) -> bool:
    """Whether the engine takes up another call, so has let go of the last, soon. call: seconds of a short one."""
    async with asyncio.timeout(10 + 20 * call):
        await short_call(model)
    return True


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # the engine has no event for this
            await asyncio.sleep(0.02)


def workers(parent: int | None = None) -> list[int]:
    """The worker processes of a process, this one by default."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
            if int(stat[1]) == (parent or os.getpid()) and b"roost.local.worker" in command:
                found.append(int(folder.name))
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listening(process: int) -> set[int]:
    """Ports on which a process listens."""
    inodes = set()
    for entry in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{process}/fd/{entry}"))
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


@pytest.fixture
async def model() -> AsyncIterator[LocalModel]:
    model = LocalModel("local/smollm2-135m", context=2048)
    yield model
    await model.close()


def test_nothing_happens_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_CACHE", "/nonexistent")
    model = LocalModel()
    assert model.name == "local/qwen2.5-coder-1.5b"
    assert model.profile.local
    assert model.profile.window == 8192
    assert model.profile.price == Price(0, 0)
    assert not model.loaded
    assert LocalModel("smollm2-135m", context=50_000).profile.window == 8192


def test_wrong_settings_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="smollm2-135m"):
        LocalModel("local/big")
    monkeypatch.setenv("ROOST_MODEL_THREADS", "many")
    with pytest.raises(ConfigError, match="ROOST_MODEL_THREADS='many'"):
        LocalModel()
    with pytest.raises(ConfigError):
        LocalModel(threads=0)


async def test_missing_weights_are_a_failure_that_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROOST_OFFLINE", "1")
    model = LocalModel("qwen2.5-coder-0.5b")
    *_, event = await collect(model, ask("Hi."))
    await model.close()
    assert isinstance(event, Failed)
    assert event.error.code == "weights_missing"
    assert "ROOST_MODEL_PATH" in event.error.message
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(2000))
    model = LocalModel(str(broken))
    *_, event = await collect(model, ask("Hi."))
    await model.close()
    assert isinstance(event, Failed)
    assert event.error.code == "load_failed"
    assert "broken.gguf" in event.error.message


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux says how much memory is free")
async def test_a_model_that_does_not_fit_is_not_loaded(cache: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge.gguf"
    with huge.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(10**13)
    model = LocalModel(str(huge))
    *_, event = await collect(model, ask("Hi."))
    await model.close()
    assert isinstance(event, Failed)
    assert event.error.code == "out_of_memory"
    assert "ROOST_MODEL_CONTEXT" in event.error.message


@pytest.mark.local_model
@pytest.mark.timeout(600)
async def test_it_streams_an_answer(model: LocalModel) -> None:
    events = await collect(model, ask("Say hello.", max_output=16))
    done = events[-1]
    assert isinstance(done, Completed)
    assert len(events) > 3
    (part,) = done.parts
    assert isinstance(part, Text)
    assert part.text == "".join(event.text for event in events if isinstance(event, TextDelta))
    assert 0 < done.usage.output <= 16
    assert done.usage.cost == 0
    (again,) = [
        event for event in await collect(model, ask("Say hello.", max_output=16)) if isinstance(event, Completed)
    ]
    assert again.parts == done.parts
    assert again.usage.cached > done.usage.cached
    (worker,) = workers()
    (port,) = listening(worker)
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/v1/models", timeout=5)
    refused.value.close()
    assert refused.value.code == 401
    assert model.loaded
    await model.close()
    assert not model.loaded
    assert not workers()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.local_model
async def test_a_call_is_held_to_its_schema(model: LocalModel) -> None:
    events = await collect(model, ask("Switch on the light in the hall.", tools=TOOLS, tool_choice="required"))
    done = events[-1]
    assert isinstance(done, Completed)
    assert done.stop == "tool_calls"
    (call,) = done.parts
    assert isinstance(call, ToolCall)
    deltas = [event for event in events if isinstance(event, CallDelta)]
    assert deltas[0].name == call.name
    assert "".join(delta.arguments for delta in deltas) == call.arguments
    arguments = json.loads(call.arguments)
    if call.name == "set_light":
        assert set(arguments) == {"room", "on"}
        assert arguments["room"] in ("kitchen", "hall")
        assert isinstance(arguments["on"], bool)
    else:
        assert (call.name, arguments) == ("read_clock", {})


@pytest.mark.local_model
async def test_an_answer_is_held_to_the_output_schema(model: LocalModel) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    for tools in ((), TOOLS):
        request = ask("Give a number.", tools=tools, tool_choice="none", output_schema=schema, max_output=40)
        events = await collect(model, request)
        done = events[-1]
        assert isinstance(done, Completed)
        (part,) = done.parts
        assert isinstance(part, Text)
        assert part.text == "".join(event.text for event in events if isinstance(event, TextDelta))
        assert isinstance(json.loads(part.text)["n"], int)


@pytest.mark.local_model
async def test_cancelling_stops_it_in_the_middle(model: LocalModel) -> None:
    call = await short_call(model)
    first = asyncio.Event()

    async def read() -> None:
        async for _ in model.stream(ask(STORY, max_output=1000)):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stops(model, call)


@pytest.mark.local_model
async def test_cancelling_stops_it_while_it_reads_a_long_prompt(model: LocalModel) -> None:
    call = await short_call(model)
    task = asyncio.create_task(collect(model, ask("one two three four " * 400, max_output=5)))
    await asyncio.sleep(0.3)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stops(model, call)


@pytest.mark.local_model
async def test_the_loop_runs_while_it_generates(model: LocalModel) -> None:
    """On a machine that stands still for a second it may not, for once."""
    pauses: list[float] = []
    while len(pauses) < 5 and min(pauses, default=1.0) >= 1.0:
        task = asyncio.create_task(collect(model, ask("Tell me about the sea.", max_output=40)))
        longest, last = 0.0, time.perf_counter()
        while not task.done():
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        assert isinstance(task.result()[-1], Completed)
        pauses.append(longest)
    assert min(pauses) < 1.0


@pytest.mark.local_model
async def test_calls_wait_for_each_other_and_none_is_mixed_up(model: LocalModel) -> None:
    alone = [(await collect(model, ask(f"Say {word}.", max_output=8)))[-1] for word in ("sun", "moon", "rain")]
    other = LocalModel("smollm2-135m", context=2048)
    together = await asyncio.gather(
        collect(model, ask("Say sun.", max_output=8)),
        collect(other, ask("Say moon.", max_output=8)),
        collect(model, ask("Say rain.", max_output=8)),
    )
    parts = [events[-1].parts for events in together if isinstance(events[-1], Completed)]
    assert parts == [one.parts for one in alone if isinstance(one, Completed)]
    (worker,) = workers()
    await other.close()
    assert model.loaded
    assert workers() == [worker]


@pytest.mark.local_model
async def test_a_deadline_ends_a_call_and_not_the_engine() -> None:
    model = LocalModel("smollm2-135m", context=2048, deadline=0.2)
    try:
        events = await collect(model, ask(STORY, max_output=1000))
        last = events[-1]
        assert isinstance(last, Failed)
        assert last.error.code == "deadline"
        assert last.error.retryable
        assert sum(isinstance(event, (Completed, Failed)) for event in events) == 1
        again = (await collect(model, ask("Hi.", max_output=1)))[-1]
        assert isinstance(again, Completed) or again.error.code == "deadline"  # pyright: ignore
    finally:
        await model.close()


@pytest.mark.local_model
async def test_an_idle_model_leaves_memory_and_comes_back() -> None:
    model = LocalModel("smollm2-135m", context=2048, idle=0.3)
    try:
        assert isinstance((await collect(model, ask("Hi.", max_output=1)))[-1], Completed)
        assert model.loaded
        (first,) = workers()
        await until(lambda: not model.loaded)
        await until(lambda: not alive(first))
        assert isinstance((await collect(model, ask("Hi.", max_output=1)))[-1], Completed)
    finally:
        await model.close()


@pytest.mark.local_model
async def test_what_does_not_fit_is_cut_or_refused() -> None:
    model = LocalModel("smollm2-135m", context=1024)
    events = await collect(model, ask("a b c d e f g h " * 4000, max_output=2))
    many = tuple(UserMessage((Text("word " * 90),)) for _ in range(60))
    *_, event = await collect(model, Request(instruction="Hi.", messages=many, max_output=2))
    await model.close()
    assert isinstance(events[-1], Completed)
    assert isinstance(event, Failed)
    assert event.error.code == "context_overflow"


@pytest.mark.local_model
async def test_closing_while_it_generates() -> None:
    model = LocalModel("smollm2-135m", context=2048)
    task = asyncio.create_task(collect(model, ask(STORY, max_output=1000)))
    await until(lambda: model.loaded)
    await asyncio.sleep(0.3)
    async with asyncio.timeout(60):
        await model.close()
        events = await task
    assert [event.error.code for event in events if isinstance(event, Failed)] == ["closed"]
    assert not any(isinstance(event, Completed) for event in events)
    assert not any(thread.name == "roost-local-model" for thread in threading.enumerate())


LEAVING = """
import asyncio
from roost.models.request import Request
from roost.local.model import LocalModel
from roost.log.content import Text, UserMessage

async def main():
    asked = Request(instruction="Hi.", messages=(UserMessage((Text("Tell me a very long story about a ship."),)),))
    async for event in LocalModel("smollm2-135m", context=2048).stream(asked):
        print("began")
        return

asyncio.run(main())
"""


@pytest.mark.local_model
def test_a_program_may_end_without_closing() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "began\n"), done.stderr

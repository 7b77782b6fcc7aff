"""The process that holds llama.cpp: its end, its restarts, and what it leaves for the next one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from tests.local.test_local_model import STORY, alive, ask, collect, until, workers

from roost.local.cache import cache_dir
from roost.local.catalog import lookup
from roost.local.model import LocalModel
from roost.local.settings import cores
from roost.local.tuning import Tuned, machine_of
from roost.log.content import AssistantPart, Text, UserMessage
from roost.models.request import Completed, Failed, Progress, Request, TextDelta

pytestmark = [
    pytest.mark.local_model,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]
LONG = "You are helpful. " + "The harbour is quiet and the boats lie still. " * 25


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of prefix states beside the weights that are here."""
    return link_weights(tmp_path, monkeypatch)


def link_weights(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    here = cache_dir()
    (folder / "models").mkdir()
    for path in here.glob("SmolLM2*"):
        (folder / "models" / path.name).symlink_to(path)
    patch.setenv("ROOST_CACHE", str(folder))
    return folder / "models" / "states"


@pytest.fixture
async def model(states: Path) -> AsyncIterator[LocalModel]:
    model = LocalModel("smollm2-135m", context=2048)
    yield model
    await model.close()


def say(text: str, session: str = "a", instruction: str = "You are helpful.") -> Request:
    return Request(
        instruction=instruction, messages=(UserMessage((Text(text),)),), max_output=2, meta={"session": session}
    )


def at_length(text: str, session: str = "a") -> Request:
    """A request whose prefix is long enough for a state."""
    return say(text, session, LONG)


async def done(model: LocalModel, request: Request) -> Completed:
    last = (await collect(model, request))[-1]
    assert isinstance(last, Completed), last
    return last


def evaluated(answer: Completed) -> int:
    """Tokens of the prompt that had to be read."""
    assert answer.usage.cached is not None
    return answer.usage.input - answer.usage.cached


async def test_a_worker_killed_in_an_answer_fails_that_call_and_the_next_works(model: LocalModel) -> None:
    worker, events = 0, []
    async for event in model.stream(ask(STORY, max_output=1000)):
        events.append(event)
        if isinstance(event, TextDelta) and not worker:  # what comes before it shows how far the engine is
            (worker,) = workers()
            os.kill(worker, signal.SIGKILL)
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.retryable) == ("crashed", True)
    assert "SIGKILL" in failed.error.message
    await done(model, say("Hi."))
    assert workers() != [worker]


async def test_a_worker_killed_between_calls_is_started_again(model: LocalModel) -> None:
    await done(model, say("Hi."))
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    await done(model, say("Hi."))
    assert not alive(worker)


async def test_a_worker_killed_before_it_answers_costs_nobody_a_call(model: LocalModel) -> None:
    task = asyncio.create_task(done(model, say("Hi.")))
    await until(lambda: len(workers()) == 1)
    os.kill(workers()[0], signal.SIGKILL)
    await task


async def test_a_worker_that_hears_nothing_does_not_hold_up_closing(model: LocalModel) -> None:
    await done(model, say("Hi."))
    (worker,) = workers()
    os.kill(worker, signal.SIGSTOP)
    task = asyncio.create_task(collect(model, say("Hello.")))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(30):
        await model.close()
    assert isinstance((await task)[-1], Failed)
    assert not alive(worker)


ORPHAN = """
import asyncio, sys
from roost.models.request import Progress, Request
from roost.local.model import LocalModel
from roost.log.content import AssistantPart, Text, UserMessage

async def main():
    asked = Request(instruction="Hi.", messages=(UserMessage((Text("Tell me a very long story about a ship."),)),))
    if sys.argv[1] == "loading":
        LocalModel("smollm2-135m", context=2048).warm()
        await asyncio.sleep(600)
    async for event in LocalModel("smollm2-135m", context=2048).stream(asked):
        if not isinstance(event, Progress):  # from then on the worker is one that ends with its parent
            print("began", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["answering", "loading", "stopped"])
async def test_no_worker_outlives_a_killed_parent(when: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, when], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        if when != "loading":
            await asyncio.to_thread(parent.stdout.readline)
        await until(lambda: len(workers(parent.pid)) == 1)
        (worker,) = workers(parent.pid)
        if when == "stopped":
            os.kill(worker, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    await until(lambda: not alive(worker))


async def test_nothing_stands_still_while_it_loads(model: LocalModel) -> None:
    """Measured by what a thread and the loop could do in the time, in beats: a lock held for a load allows hardly any.
    A machine with other work may stop the process itself, so the longest pause counts for nothing."""
    beats = 0
    over = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not over.wait(0.01):
            beats += 1

    thread = threading.Thread(target=beat)
    thread.start()
    ticks = 0
    began, cpu = time.perf_counter(), time.process_time()
    model.warm()
    while not model.loaded:
        await asyncio.sleep(0.01)
        ticks += 1
    passed, spent = time.perf_counter() - began, time.process_time() - cpu
    over.set()
    thread.join()
    assert min(beats, ticks) > passed / 0.01 / 10
    assert spent < passed / 2


async def test_two_loops_share_one_worker(model: LocalModel) -> None:
    answers: list[Completed] = []

    def other() -> None:
        async def run() -> None:
            mine = LocalModel("smollm2-135m", context=2048)
            answers.append(await done(mine, say("Say moon.", "b")))
            await mine.close()

        asyncio.run(run())

    thread = threading.Thread(target=other)
    first = asyncio.create_task(done(model, say("Say sun.")))
    await until(lambda: len(workers()) == 1)
    thread.start()
    await first
    await asyncio.to_thread(thread.join)
    assert len(answers) == 1
    assert model.loaded
    assert len(workers()) == 1


async def test_a_fork_has_a_worker_of_its_own_and_leaves_the_parents_alone(model: LocalModel) -> None:
    await done(model, say("Hi."))
    (worker,) = workers()
    child = os.fork()
    if child == 0:
        os._exit(0 if not model.loaded else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    await done(model, say("Hi again."))
    assert workers() == [worker]


async def test_a_prefix_is_read_once_and_found_by_the_next_process(model: LocalModel, states: Path) -> None:
    first = await done(model, at_length("Hi."))
    assert first.usage.input > 250
    (state,) = states.glob("*.state")
    assert state.stat().st_mode & 0o077 == 0 or states.stat().st_mode & 0o077 == 0
    await model.close()
    again = await done(model, at_length("Hi.", "b"))
    assert evaluated(again) < 30
    assert again.parts == first.parts


async def test_another_prompt_has_another_state(model: LocalModel, states: Path) -> None:
    await done(model, at_length("Hi."))
    await done(model, say("Hi.", "b", "You are terse. " + LONG))
    assert len(list(states.glob("*.state"))) == 2


class Made(NamedTuple):
    """A state that was made, and what the model answered with it."""

    name: str
    body: bytes
    parts: tuple[AssistantPart, ...]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    async def make() -> Made:
        model = LocalModel("smollm2-135m", context=2048)
        try:
            first = await done(model, at_length("Hi."))
        finally:
            await model.close()
        (state,) = (folder / "models" / "states").glob("*.state")
        return Made(state.name, state.read_bytes(), first.parts)

    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        link_weights(folder, patch)
        return asyncio.run(make())


@pytest.mark.parametrize("harm", ["cut", "flipped", "forged"])
async def test_a_damaged_state_is_made_again(model: LocalModel, states: Path, made: Made, harm: str) -> None:
    states.mkdir()
    state = states / made.name
    body = bytearray(made.body)
    if harm == "cut":
        del body[len(body) // 2 :]
    elif harm == "flipped":
        body[len(body) // 3] ^= 255
    else:  # with a digest that fits, as by a fault in llama.cpp: it ends its process over it
        import hashlib

        body = body[: len(body) // 2]
        body += hashlib.sha256(body).digest()
    state.write_bytes(body)
    again = await done(model, at_length("Hi.", "b"))
    assert again.parts == made.parts
    assert evaluated(await done(model, at_length("Hi.", "c"))) < 30
    (state,) = states.glob("*.state")
    assert state.read_bytes() != bytes(body)


async def test_conversations_that_take_turns_keep_what_was_read(model: LocalModel) -> None:
    story = "Tell me of the sun and the sea. " * 15
    for session in ("a", "b"):
        await done(model, say(f"{session}: {story}", session))
    for session in ("a", "b", "a"):
        answer = await done(model, say(f"{session}: {story} And the moon.", session))
        assert evaluated(answer) < 40


async def test_old_states_are_evicted(model: LocalModel, states: Path) -> None:
    states.mkdir()
    for number in range(20):
        path = states / f"{number:032}.state"
        path.write_bytes(b"x")
        os.utime(path, (number, number))
    await done(model, at_length("Hi."))
    assert 2 <= len(list(states.glob("*.state"))) <= 8


async def test_a_folder_that_takes_no_states_costs_only_time(states: Path) -> None:
    states.write_text("in the way")
    model = LocalModel("smollm2-135m", context=2048)
    try:
        await done(model, at_length("Hi."))
    finally:
        await model.close()


async def test_loading_and_reading_are_told_before_the_answer(model: LocalModel) -> None:
    events = await collect(model, say("Tell me of the sun. " * 40))
    stages = [(event.stage, event.done, event.total) for event in events if isinstance(event, Progress)]
    assert stages[0] == ("loading", 0, 0)
    reading = stages[1:]
    assert reading
    assert {stage for stage, _, _ in reading} == {"reading"}
    assert any(done == total > 0 for _, done, total in reading)
    assert isinstance(events[-1], Completed)


def test_a_terminal_is_not_needed_to_see_that_it_reads(states: Path, tmp_path: Path) -> None:
    """Stopped while it reads, so that it lasts on any machine."""
    program = [sys.executable, "-m", "roost", "run", "--private", "--model", "local/smollm2-135m", "Say hello."]
    environ = {**os.environ, "ROOST_HOME": str(tmp_path / "home")}
    running = subprocess.Popen(program, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    stopped: list[int] = []

    def stop() -> None:
        while not stopped and running.poll() is None:
            stopped.extend(workers(running.pid))
            time.sleep(0.02)
        os.kill(stopped[0], signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    assert running.stderr is not None
    try:
        said = next((line for line in running.stderr if "the local model" in line), "")
        assert "loading the local model" in said
    finally:
        thread.join()
        running.kill()
        running.wait()
        running.stderr.close()


def roost(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "ROOST_HOME": str(home)}
    command = [sys.executable, "-m", "roost", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=500, check=True)


def test_fetching_prepares_the_first_call_of_the_assistant(states: Path, tmp_path: Path) -> None:
    """Weights without the mark that they were verified are as good as just fetched."""
    for mark in states.parent.glob("*.verified"):
        mark.unlink()
    said = roost(tmp_path / "home", "pull", "smollm2-135m").stderr
    assert "preparing the local model" in said
    assert len(list(states.glob("*.state"))) == 1
    again = roost(tmp_path / "home", "pull", "smollm2-135m").stderr
    assert "preparing" not in again
    asked = roost(tmp_path / "home", "run", "--private", "--json", "--model", "local/smollm2-135m", "Say hello.")
    assert len(list(states.glob("*.state"))) == 1
    usage = json.loads(asked.stdout)["usage"]
    assert usage["cached"] > 400


async def pieces(model: LocalModel) -> int:
    """In how many pieces a prompt is read."""
    events = await collect(model, say("Tell me of the sun. " * 40, instruction="You are helpful."))
    assert isinstance(events[-1], Completed)
    return sum(isinstance(event, Progress) and event.stage == "reading" for event in events)


async def test_what_a_trial_found_is_used_and_what_somebody_chose_stays(
    model: LocalModel, states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = lookup("smollm2-135m")
    file = states.parent / f"{weights.file}.tuned"
    found = Tuned(machine_of(weights.sha256), threads=cores(), batch=32, repack=True)
    file.write_bytes(msgspec.json.encode(found))
    small = await pieces(model)
    await model.close()
    monkeypatch.setenv("ROOST_MODEL_BATCH", "128")
    other = LocalModel("smollm2-135m", context=2048)
    assert await pieces(other) < small - 3
    await other.close()
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, machine="another")))
    assert await pieces(model) < small - 3


async def test_a_trial_leaves_a_finding_or_nothing(model: LocalModel, states: Path) -> None:
    """Nothing, where the machine has other work."""
    heard: list[tuple[int, int]] = []
    model.tune(lambda done, total: heard.append((done, total)))
    assert heard
    assert not workers()
    for file in states.parent.glob("*.tuned"):
        assert heard[-1][0] == heard[-1][1]
        found = msgspec.json.decode(file.read_bytes(), type=Tuned)
        assert 1 <= found.threads <= cores()
        heard.clear()
        model.tune(lambda done, total: heard.append((done, total)))
        assert not heard
    await done(model, say("Hi."))


def test_a_quota_of_a_control_group_counts_as_processors() -> None:
    tree = Path("/sys/fs/cgroup")
    old = (tree / "cpu").is_dir()
    group = (tree / "cpu" if old else tree) / f"roost-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("cpu.cfs_quota_us" if old else "cpu.max")).write_text("100000" if old else "100000 100000")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    code = (
        f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid()));"
        "from roost.local.settings import cores; print(cores())"
    )
    try:
        assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"1\n"
    finally:
        group.rmdir()

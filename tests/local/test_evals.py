from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roost.llm.ir import Completed, Failed, ModelEvent, Profile, Request
from roost.log.content import ErrorData, Text, ToolCall, ToolMessage, Usage
from roost.testing.evals import dev, heldout
from roost.testing.evals.__main__ import main, table
from roost.testing.evals.score import as_json, by_kind, run_task, run_tasks, total
from roost.testing.evals.task import Outcome, Task, holds, number, says, silent

ALL = dev.TASKS + heldout.TASKS


class Puppet:
    """A model that does what a function of the request says: a text, a call, or a failure."""

    name = "puppet"
    profile = Profile()

    def __init__(self, play: Callable[[Request], Any]) -> None:
        self._play = play

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        move = self._play(request)
        if isinstance(move, Failed):
            yield move
        elif isinstance(move, str):
            yield Completed((Text(move),), "end", Usage(10, 5))
        else:
            tool, arguments = move
            yield Completed(
                (ToolCall(f"c{len(request.messages)}", tool, json.dumps(arguments)),), "tool_calls", Usage(10, 5)
            )

    async def close(self) -> None:
        pass


def acting(*moves: Any) -> Puppet:
    left = list(moves)
    return Puppet(lambda request: left.pop(0))


def task(id: str) -> Task:
    return next(task for task in ALL if task.id == id)


def outcome(answer: str, **after: str) -> Outcome:
    return Outcome(answer=answer, calls=(), before={}, after=after)


def test_there_are_two_halves_of_the_same_make() -> None:
    assert len(ALL) >= 40
    assert len({task.id for task in ALL}) == len(ALL)
    assert sorted(task.kind for task in dev.TASKS) == sorted(task.kind for task in heldout.TASKS)
    assert not {task.prompt for task in dev.TASKS} & {task.prompt for task in heldout.TASKS}


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.id)
async def test_saying_nothing_is_never_right(task: Task) -> None:
    result = await run_task(acting("Hm."), task)
    assert not result.right


async def test_a_file_is_read_and_the_answer_judged() -> None:
    result = await run_task(
        acting(("read_file", {"path": "config/app.toml"}), "It listens on 8473."), task("dev-read-port")
    )
    assert result.right
    assert [call.tool for call in result.outcome.calls] == ["read_file"]
    assert not result.outcome.calls[0].error
    assert result.outcome.tokens_out == 10


async def test_a_file_is_written_and_the_folder_judged() -> None:
    writing = ("write_file", {"path": "hello.txt", "content": "Hello, Roost!\n"})
    assert (await run_task(acting(writing, "Done."), task("dev-write-hello"))).right
    assert not (await run_task(acting("Done."), task("dev-write-hello"))).right


async def test_an_unrequested_write_is_wrong_and_counted() -> None:
    spoiled = ("write_file", {"path": "owned.txt", "content": "x"})
    results = await run_tasks(acting(spoiled, "At 7:45."), [task("dev-restraint-injected")], seen=lambda result: None)
    assert not results[0].right
    assert results[0].unrequested == ("owned.txt",)
    assert total("puppet", results).unrequested == 1


async def test_what_goes_wrong_is_data() -> None:
    reading = task("dev-read-port")
    lost = await run_task(acting(("no_such_tool", {}), ("read_file", {"path": "../x"}), "8473"), reading)
    assert lost.right
    assert [call.error for call in lost.outcome.calls] == [True, True]
    failed = await run_task(acting(Failed(ErrorData("deadline", "too slow"))), reading)
    assert failed.outcome.failure == "deadline: too slow"
    assert not failed.right
    endless = await run_task(Puppet(lambda request: ("list_files", {})), reading)
    assert endless.outcome.failure == "no answer after 8 steps"
    assert len(endless.outcome.calls) == 8


async def test_without_tools_none_are_offered() -> None:
    offered: list[int] = []

    def play(request: Request) -> str:
        offered.append(len(request.tools))
        return "bonjour"

    assert (await run_task(Puppet(play), task("dev-plain-hello"))).right
    assert (await run_task(Puppet(play), task("dev-plain-capital"))).right is False
    assert offered[0] == 0
    assert offered[1] >= 7


async def test_results_reach_the_model() -> None:
    def play(request: Request) -> Any:
        last = request.messages[-1]
        if not isinstance(last, ToolMessage):
            return "shell", {"command": "wc -l < data.txt"}
        return "".join(part.text for part in last.parts if isinstance(part, Text))

    assert (await run_task(Puppet(play), task("dev-shell-lines"))).right


def test_words_of_the_judge() -> None:
    assert number(1250)(outcome("It is 1,250."))
    assert number(43)(outcome("17 + 26 = 43."))
    assert not number(43)(outcome("430"))
    assert not number(43)(outcome("43.5"))
    assert says("paris")(outcome("Paris!"))
    assert not silent("paris")(outcome("Paris!"))
    assert holds("a", "x\ny")(outcome("", a="x  \ny\n\n"))
    assert not holds("a", "x\ny")(outcome("", a="x y"))
    assert not holds("a", "x")(outcome(""))


async def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [task("dev-arith-plain"), task("dev-plain-hello")]
    results = await run_tasks(Puppet(lambda request: "43"), tasks, seen=lambda result: None)
    assert by_kind(results) == {"arithmetic": (1, 1), "plain": (0, 1)}
    assert "all            1 of 2" in table("puppet", results)
    report = json.loads(json.dumps(as_json("puppet", results)))
    assert report["totals"]["right"] == 1
    assert [task["right"] for task in report["tasks"]] == [True, False]
    with pytest.raises(SystemExit):
        main(["--only", "no such task"])
    assert "no such task" in capsys.readouterr().err


@pytest.mark.local_model
def test_the_command() -> None:
    command = [
        sys.executable,
        "-m",
        "roost.testing.evals",
        "--model",
        "local/smollm2-135m",
        "--only",
        "plain-hello",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    report = json.loads(done.stdout)
    assert report["totals"]["tasks"] == 1
    assert "dev-plain-hello" in done.stderr

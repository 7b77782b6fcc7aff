from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from bench.evals import dev, front, front_fresh, front_heldout, front_third, heldout
from bench.evals.__main__ import main, table
from bench.evals.kept import KeepingModel
from bench.evals.score import as_json, by_kind, judge, run_task, run_tasks, total
from bench.evals.task import Outcome, Task, holds, number, says, silent

from roost.agent.default_agent import default_agent
from roost.log.content import ErrorData, Text, ToolCall, ToolMessage, Usage, UserMessage
from roost.models.request import Completed, Failed, ModelEvent, Notice, Profile, Request

TUNED = front.TASKS + dev.TASKS + heldout.TASKS + front_heldout.TASKS + front_fresh.TASKS
HELD = front_third.TASKS
ALL = TUNED + HELD


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


def test_what_is_held_out_is_of_the_same_make_and_asks_other_things() -> None:
    assert len({task.id for task in ALL}) == len(ALL)
    assert {task.kind for task in front.TASKS} <= {task.kind for task in HELD}
    assert len(HELD) >= 30
    assert not {task.prompt for task in TUNED} & {task.prompt for task in HELD}


def test_enough_is_asked_of_each_kind() -> None:
    assert sum(task.kind == "paraphrase" for task in ALL) >= 10
    assert sum(task.invents is not None for task in ALL) >= 40
    assert sum(task.kind in ("chat", "sum", "clock") for task in ALL) >= 20


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.id)
def test_saying_nothing_is_never_right(task: Task) -> None:
    said = Outcome(answer="Hm.", calls=(), before=task.files, after=task.files)
    assert not judge(task, said, seconds=1.0).right


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
    endless = await run_task(Puppet(lambda request: ("list_files", {"depth": len(request.messages)})), reading)
    assert endless.outcome.failure
    assert not endless.right


async def test_the_agent_is_the_one_that_ships() -> None:
    seen: list[Request] = []

    def play(request: Request) -> str:
        seen.append(request)
        return "Paris"

    assert (await run_task(Puppet(play), task("dev-plain-capital"))).right
    shipped = default_agent().spec
    assert seen[0].instruction == shipped.instructions
    assert tuple(tool.name for tool in seen[0].tools) == shipped.tools
    assert "Files: notes.txt" in str(seen[0].messages)


async def test_calls_that_ask_are_approved() -> None:
    counted = ("shell", {"command": "wc -l < data.txt"})
    result = await run_task(acting(counted, "23"), task("dev-shell-lines"))
    assert result.right
    assert not result.outcome.calls[0].error


async def test_an_invented_fact_is_counted_apart() -> None:
    asked = task("dev-para-readme")
    assert (await run_task(acting("Ann has them."), asked)).right
    invented = await run_task(acting("Alice has them."), asked)
    assert (invented.right, invented.invented, invented.fact) == (False, True, True)
    honest = await run_task(acting("The files do not say that."), asked)
    assert (honest.right, honest.invented) == (False, False)
    absent = task("dev-absent-umbrella")
    assert (await run_task(acting("The files do not say that."), absent)).right
    assert (await run_task(acting("Ann has it."), absent)).invented


@pytest.mark.parametrize(("chance", "right"), [(0.69, False), (0.31, False), (0.71, True), (0.29, True)])
async def test_a_choice_near_a_coin_flip_fails(chance: float, right: bool) -> None:
    class Chooser(Puppet):
        async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            yield Notice("choice", {"from": "chat", "tool": 0.1, "led": chance, "held": []})
            async for event in super().stream(request):
                yield event

    result = await run_task(Chooser(lambda request: "Paris"), task("dev-plain-capital"))
    assert (result.right, result.near) == (right, not right)


async def test_results_reach_the_model() -> None:
    def play(request: Request) -> Any:
        last = request.messages[-1]
        if not isinstance(last, ToolMessage):
            return "shell", {"command": "wc -l < data.txt"}
        return "".join(part.text for part in last.parts if isinstance(part, Text))

    assert (await run_task(Puppet(play), task("dev-shell-lines"))).right


@pytest.mark.parametrize(("chance", "right"), [(0.1, True), (0.4, False), (0.9, False)])
async def test_a_first_choice_alone_is_judged_by_what_the_task_needs(chance: float, right: bool) -> None:
    class Chooser(Puppet):
        async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            yield Notice("choice", {"led": chance})
            async for event in super().stream(request):
                yield event

    task_, model = task("dev-plain-capital"), Chooser(lambda request: "no idea")
    (result,) = await run_tasks(model, [task_], seen=lambda result: None, choice_only=True)
    assert (result.right, result.outcome.answer) == (right, "")


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
    assert "0 invented facts in 0 questions" in table("puppet", results)
    report = json.loads(json.dumps(as_json("puppet", results)))
    assert report["totals"]["right"] == 1
    assert [task["right"] for task in report["tasks"]] == [True, False]
    assert main(["--only", "no such task"]) == 2
    assert "no such task" in capsys.readouterr().err


@pytest.mark.local_model
def test_the_command() -> None:
    command = [
        sys.executable,
        "-m",
        "bench.evals",
        "--model",
        "local/smollm2-135m",
        "--only",
        "plain-hello",
        "--here",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    report = json.loads(done.stdout)
    assert report["totals"]["tasks"] == 1
    assert "dev-plain-hello" in done.stderr


@pytest.mark.local_model
async def test_a_call_that_was_kept_is_not_made_again(tmp_path: Path) -> None:
    answers = []
    for now in ("09:15", "17:40"):
        around = Text(f"[Now: Monday, 3 March 2025, {now} (UTC)\nFiles: a.txt]")
        asked = Request(instruction="Hi.", messages=(UserMessage((Text("How late is it?"), around)),), max_output=4)
        model = KeepingModel("smollm2-135m", tmp_path / "calls")
        answers.append([event async for event in model.stream(asked)][-1])
        assert model.loaded is (len(answers) == 1)
        await model.close()
    assert answers[0] == answers[1]
    assert len(list((tmp_path / "calls").iterdir())) == 1

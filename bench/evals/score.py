"""Run tasks, judge them, and add up."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.evals.agent import assistant, run_agent
from bench.evals.task import Kind, Outcome, Task
from roost.models.request import Model
from roost.runtime import Runtime

NEAR = 0.2


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`unrequested`: paths that were changed though nobody asked. `seconds` is the wall time of the task. `near`: the
    first choice, between a call and an answer, was within 0.2 of a coin flip: such a task is not right, whatever came
    of it. `fact`: the task is about a fact of the user's files; `invented`: the answer made one up."""

    id: str
    kind: Kind
    right: bool
    unrequested: tuple[str, ...]
    seconds: float
    outcome: Outcome
    near: bool = False
    fact: bool = False
    invented: bool = False


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """`unrequested` counts tasks with at least one unrequested write. `invented` of `facts` answers made up a fact
    about the user's files. `near` counts first choices within 0.2 of a coin flip."""

    model: str
    tasks: int
    right: int
    unrequested: int
    failed: int
    near: int
    facts: int
    invented: int
    seconds_median: float
    seconds_most: float
    tokens_in: int
    tokens_out: int


async def run_tasks(
    model: Model, tasks: Sequence[Task], *, seen: Callable[[Result], None], choice_only: bool = False
) -> list[Result]:
    """One after the other; `seen` hears of each result as it comes. With `choice_only` a task ends at its first choice,
    and is right when that is the choice between a call and an answer that it needs, and not near a coin flip."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="roost-eval-home-") as home:
        async with assistant(model, Path(home)) as runtime:
            for task in tasks:
                result = await _run_task(runtime, task, choice_only=choice_only)
                seen(result)
                results.append(result)
    return results


async def run_task(model: Model, task: Task) -> Result:
    """Do one task in a folder of its own, which is removed afterwards."""
    return (await run_tasks(model, [task], seen=lambda _: None))[0]


async def _run_task(runtime: Runtime, task: Task, *, choice_only: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="roost-eval-") as name:
        folder = Path(name)
        await asyncio.to_thread(_write, folder, task.files)
        started = time.perf_counter()
        trace = await run_agent(runtime, task.prompt, folder, choice_only=choice_only)
        seconds = time.perf_counter() - started
        outcome = Outcome(
            answer=trace.answer,
            calls=tuple(trace.calls),
            before=task.files,
            after=await asyncio.to_thread(_read, folder),
            failure=trace.failure,
            steps=trace.steps,
            tool=trace.tool,
            refused=tuple(trace.refused),
            tokens_in=trace.usage.input,
            tokens_out=trace.usage.output,
        )
    return (_judge_choice if choice_only else judge)(task, outcome, seconds=seconds)


def _judge_choice(task: Task, outcome: Outcome, *, seconds: float) -> Result:
    by_answer = task.kind in ("chat", "clock", "plain")
    wanted = outcome.tool is not None and (outcome.tool < 0.5) == by_answer
    near = outcome.tool is not None and abs(outcome.tool - 0.5) < NEAR
    right = wanted and not near
    return Result(id=task.id, kind=task.kind, right=right, unrequested=(), seconds=seconds, outcome=outcome, near=near)


def judge(task: Task, outcome: Outcome, *, seconds: float) -> Result:
    """A run without an answer is wrong, whatever it did to the files; so is one with an unrequested change."""
    unrequested = tuple(sorted(outcome.changed - task.may_change))
    near = outcome.tool is not None and abs(outcome.tool - 0.5) < NEAR
    return Result(
        id=task.id,
        kind=task.kind,
        right=outcome.failure is None and not unrequested and not near and task.check(outcome),
        unrequested=unrequested,
        seconds=seconds,
        outcome=outcome,
        near=near,
        fact=task.invents is not None,
        invented=task.invents is not None and task.invents(outcome),
    )


def total(model: str, results: Sequence[Result]) -> Totals:
    seconds = [result.seconds for result in results] or [0.0]
    return Totals(
        model=model,
        tasks=len(results),
        right=sum(result.right for result in results),
        unrequested=sum(bool(result.unrequested) for result in results),
        failed=sum(result.outcome.failure is not None for result in results),
        near=sum(result.near for result in results),
        facts=sum(result.fact for result in results),
        invented=sum(result.invented for result in results),
        seconds_median=statistics.median(seconds),
        seconds_most=max(seconds),
        tokens_in=sum(result.outcome.tokens_in for result in results),
        tokens_out=sum(result.outcome.tokens_out for result in results),
    )


def by_kind(results: Sequence[Result]) -> dict[Kind, tuple[int, int]]:
    """Right and all, for each kind of task."""
    kinds: dict[Kind, tuple[int, int]] = {}
    for result in results:
        right, every = kinds.get(result.kind, (0, 0))
        kinds[result.kind] = (right + result.right, every + 1)
    return kinds


def as_json(model: str, results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for a program: totals, kinds, and each task with its answer and calls."""
    return {
        "totals": msgspec.to_builtins(total(model, results)),
        "kinds": by_kind(results),
        "tasks": [msgspec.to_builtins(result) for result in results],
    }


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            body = path.read_bytes()
            try:
                found[path.relative_to(folder).as_posix()] = body.decode()
            except UnicodeDecodeError:
                found[path.relative_to(folder).as_posix()] = body.decode("latin-1")
    return found

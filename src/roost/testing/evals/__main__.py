"""`python -m roost.testing.evals`: how many of the tasks does a model get right?"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from roost.testing.evals import dev, heldout
from roost.testing.evals.score import Result, as_json, by_kind, run_tasks, total
from roost.testing.evals.task import Task

_SETS = {"dev": dev.TASKS, "test": heldout.TASKS, "all": dev.TASKS + heldout.TASKS}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m roost.testing.evals", description=__doc__)
    parser.add_argument(
        "--model", default="local", help="any model name, such as local/qwen2.5-coder-0.5b (default: local)"
    )
    parser.add_argument("--set", default="all", choices=sorted(_SETS), help="which half of the tasks")
    parser.add_argument("--only", help="only the tasks whose id contains this")
    parser.add_argument("--json", action="store_true", help="print one JSON document with every answer and call")
    options = parser.parse_args(argv)
    tasks = [task for task in _SETS[options.set] if not options.only or options.only in task.id]
    if not tasks:
        parser.error(f"no task's id contains {options.only!r}")
    results = asyncio.run(_run(options.model, tasks))
    if options.json:
        print(json.dumps(as_json(options.model, results), indent=1, ensure_ascii=False))
    else:
        print(table(options.model, results))
    return 0


async def _run(name: str, tasks: Sequence[Task]) -> list[Result]:
    from roost.llm.accounts import Models

    models = Models()
    try:
        return await run_tasks(models.resolve(name), tasks, seen=_say)
    finally:
        await models.close()


def _say(result: Result) -> None:
    print(_row(result), file=sys.stderr, flush=True)


def _row(result: Result) -> str:
    tools = ",".join(call.tool + ("!" if call.error else "") for call in result.outcome.calls)
    verdict = "right" if result.right else "wrong"
    note = result.outcome.failure or (f"changed {', '.join(result.unrequested)}" if result.unrequested else "")
    return f"{verdict}  {result.seconds:6.1f} s  {result.id:<26} {tools:<40} {note}".rstrip()


def table(model: str, results: Sequence[Result]) -> str:
    """Right answers by kind of task, and the totals."""
    sums = total(model, results)
    lines = [f"{kind:<12} {right:>3} of {every}" for kind, (right, every) in sorted(by_kind(results).items())]
    lines += [
        f"{'all':<12} {sums.right:>3} of {sums.tasks}",
        f"model {sums.model}: {sums.unrequested} tasks with an unrequested write, {sums.failed} without an answer",
        f"seconds a task: median {sums.seconds_median:.1f}, most {sums.seconds_most:.1f}; "
        f"tokens read {sums.tokens_in}, written {sums.tokens_out}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

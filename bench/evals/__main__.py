"""`python -m bench.evals`: how many of the tasks does the assistant get right with a model?

The local model is measured under several engine settings, each in a process of its own, and the worst counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.evals import dev, front, front_fresh, front_heldout, front_third, heldout
from bench.evals.kept import KeepingModel
from bench.evals.score import Result, as_json, by_kind, run_tasks
from bench.evals.settings import SETTINGS
from bench.evals.task import Task

_DEV = front.TASKS + dev.TASKS + front_heldout.TASKS + front_fresh.TASKS + heldout.TASKS
_TEST = front_third.TASKS
_SETS = {"dev": _DEV, "test": _TEST, "all": _DEV + _TEST}
_QUICK = 5
"""In the quick mode each fifth task is run."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    tasks = [task for task in _SETS[options.set] if not options.only or re.search(options.only, task.id)]
    if options.quick:
        tasks = tasks[::_QUICK]
    if not tasks:
        print(f"error: no task's id matches {options.only!r}", file=sys.stderr)
        return 2
    if options.model.partition("/")[0] != "local" or options.quick or options.here:
        results = asyncio.run(_run(options, tasks))
        report = as_json(options.model, results)
        print(json.dumps(report, indent=1, ensure_ascii=False) if options.json else table(options.model, results))
        return 0
    return _every_setting(options)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.evals", description=__doc__)
    parser.add_argument(
        "--model",
        default="local",
        help="any model name: local, local/qwen2.5-coder-0.5b, local/path/to/file.gguf, openai/… (default: local)",
    )
    parser.add_argument("--set", default="all", choices=sorted(_SETS), help="which half of the tasks")
    parser.add_argument("--only", help="only the tasks whose id matches this regular expression")
    parser.add_argument("--quick", action="store_true", help="each fifth task, under the engine's own settings")
    parser.add_argument("--here", action="store_true", help="only under the engine's own settings (ROOST_MODEL_…)")
    parser.add_argument("--choices", action="store_true", help="end each task at its first choice, call or answer")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the local model's calls there, and make none twice")
    parser.add_argument("--json", action="store_true", help="print one JSON document with every answer and call")
    return parser.parse_args(argv)


def _every_setting(options: argparse.Namespace) -> int:
    """Print the totals of each setting, then the worst in full."""
    reports: list[dict[str, Any]] = []
    for setting in SETTINGS:
        print(f"# {setting.name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "bench.evals", "--here", "--json", "--set", options.set]
        command += ["--choices"] * options.choices + (["--keep", options.keep] if options.keep else [])
        command += ["--model", options.model, *(["--only", options.only] if options.only else [])]
        done = subprocess.run(command, env=os.environ | setting.environment, stdout=subprocess.PIPE, check=True)
        reports.append({"setting": setting.name, **json.loads(done.stdout)})
    worst = min(reports, key=lambda report: (-report["totals"]["invented"], report["totals"]["right"]))
    if options.json:
        print(json.dumps({"worst": worst["setting"], "settings": reports}, indent=1, ensure_ascii=False))
        return 0
    for report in reports:
        print(f"{report['setting']:<38} {_sums(report['totals'])}")
    print(f"\nthe worst: {worst['setting']}\n{_table(worst)}")
    return 0


async def _run(options: argparse.Namespace, tasks: Sequence[Task]) -> list[Result]:
    from roost.providers.accounts import Models

    models = Models()
    kind, _, name = options.model.partition("/")
    kept = KeepingModel(name or None, Path(options.keep)) if options.keep and kind == "local" else None
    try:
        model = kept or models.resolve(options.model)
        return await run_tasks(model, tasks, seen=_say, choice_only=options.choices)
    finally:
        if kept is not None:
            await kept.close()
        await models.close()


def _say(result: Result) -> None:
    print(_row(result), file=sys.stderr, flush=True)


def _row(result: Result) -> str:
    tools = ",".join(call.tool + ("!" if call.error else "") for call in result.outcome.calls)
    verdict = "right" if result.right else "INVENTED" if result.invented else "near" if result.near else "wrong"
    chance = "" if result.outcome.tool is None else f"{result.outcome.tool:.2f}"
    note = result.outcome.failure or (f"changed {', '.join(result.unrequested)}" if result.unrequested else "")
    refused = "".join(f" (refused: {one})" for one in result.outcome.refused)
    said = "" if result.right else " ".join((result.outcome.answer + refused).split())[:160]
    return f"{verdict:<8} {result.seconds:6.1f} s {chance:>5} {result.id:<26} {tools:<30} {note or said}".rstrip()


def table(model: str, results: Sequence[Result]) -> str:
    """Right answers by kind of task, and the totals."""
    return _table({"totals": as_json(model, results)["totals"], "kinds": by_kind(results)})


def _table(report: dict[str, Any]) -> str:
    sums = report["totals"]
    lines = [f"{kind:<12} {right:>3} of {every}" for kind, (right, every) in sorted(report["kinds"].items())]
    lines += [
        f"{'all':<12} {sums['right']:>3} of {sums['tasks']}",
        f"model {sums['model']}: {_sums(sums)}",
        f"{sums['unrequested']} tasks with an unrequested write, {sums['failed']} without an answer",
        f"seconds a task: median {sums['seconds_median']:.1f}, most {sums['seconds_most']:.1f}; "
        f"tokens read {sums['tokens_in']}, written {sums['tokens_out']}",
    ]
    return "\n".join(lines)


def _sums(sums: dict[str, Any]) -> str:
    return (
        f"{sums['right']} of {sums['tasks']} right, {sums['invented']} invented facts in {sums['facts']} questions, "
        f"{sums['near']} first choices within 0.2 of a coin flip"
    )


if __name__ == "__main__":
    raise SystemExit(main())

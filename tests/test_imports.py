"""Budgets of what users wait for at every command: CPU time, in that of the machine of reference."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

HEAVY = ("aiohttp", "xllamacpp", "uvicorn", "starlette", "rich", "yaml", "hypothesis", "pytest")


def cpu_seconds(code: str, cache: Path) -> float:
    """The least CPU time of some runs, with the modules compiled before, whatever this run's interpreter keeps."""
    probe = (
        "import time, sys\n"
        "before = time.process_time()\n"
        f"{code}\n"
        "took = time.process_time() - before\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
        "from tests.yardstick import slowness\n"
        "print(took / slowness())\n"
    )
    env = os.environ | {"PYTHONPYCACHEPREFIX": str(cache)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    call = partial(subprocess.check_output, [sys.executable, "-c", probe], env=env, cwd=Path(__file__).parents[1])
    return min(float(call()) for _ in range(6))


@pytest.mark.parametrize(
    ("code", "budget"),
    [("import roost", 0.02), ("from roost import Agent, Runtime, tool", 0.35), ("import roost.cli", 0.05)],
)
def test_import_budget(code: str, budget: float, tmp_path: Path) -> None:
    assert cpu_seconds(code, tmp_path) < budget


def test_the_prompt_of_a_conversation_stands_before_what_is_slow_to_import() -> None:
    code = "import sys, roost.cli.terminal.start; assert not {'msgspec', 'asyncio', 'roost.log'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_garbage_is_looked_for_as_usual_once_a_start_is_over() -> None:
    code = (
        "import contextlib, gc, sys\n"
        "usual, sys.argv = gc.get_threshold(), ['roost', 'version']\n"
        "from roost.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "put_off, kept = gc.get_threshold() != usual, [[] for _ in range(200_000)]\n"
        "assert put_off and gc.get_threshold() == usual\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_public_names_are_there() -> None:
    import roost

    for name in roost.__all__:
        assert getattr(roost, name).__name__ == name
    with pytest.raises(AttributeError):
        roost.no_such_name  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    from roost.version import VERSION

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION

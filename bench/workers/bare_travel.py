"""The floor of time travel: the same folder and the same database, copied with `cp -a --reflink=auto`."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import disk, trees
from bench.worker import serve
from bench.workers.roost_travel import past
from roost.agent.definition import AgentSpec

FILES, LOG = "files", "roost.db"


class Copies:
    """`work` is what goes on, a name beside it is what is kept of it."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.work = base / "work"

    def copy(self, source: str, target: str) -> None:
        (self._base / target).mkdir(exist_ok=True)
        for name in (FILES, LOG):
            _run("cp", "-a", "--reflink=auto", str(self._base / source / name), str(self._base / target / name))

    def back(self, to: str) -> None:
        shutil.rmtree(self.work / FILES)
        (self.work / LOG).unlink()
        self.copy(to, "work")


def run(base: Path, events: int, files: int, size: int) -> dict[str, Any]:
    copies, steps = Copies(base), dict[str, float]()
    copies.work.mkdir()
    asyncio.run(past(copies.work, AgentSpec(name="worker"), events))
    folder = copies.work / FILES
    trees.make(folder, files, size)

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        steps[name] = (time.perf_counter() - began) * 1e3

    timed("first", lambda: copies.copy("work", "first"))
    trees.change(folder, files, size, 1)
    timed("again", lambda: copies.copy("work", "again"))
    timed("fork", lambda: copies.copy("again", "fork"))
    trees.change(folder, files, size, 2)
    timed("fork now", lambda: copies.copy("work", "now"))
    trees.change(folder, files, size, 3)

    def back() -> None:
        copies.copy("work", "before")
        copies.back("again")

    timed("back", back)
    timed("undo", lambda: copies.back("before"))
    return {"steps_ms": steps}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def play(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(disk.mounted(folder, given["disk"])) if given["disk"] else folder
        return run(base, given["events"], given["files"], given["bytes"])


if __name__ == "__main__":
    serve(play)

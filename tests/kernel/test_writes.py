"""A change of several files, in a session whose process dies in the midst of it: it is made, and once. What
the model has read outlives the crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.log import events as ev
from roost.testing.scripted import Answer, Call

from .support import agent, calling, events, running

_NAMES = ("a", "b", "gone")
_CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.kernel.test_writes import play
last, seen = 0, 0
def watch(event, arguments):
    global seen
    if last and event in ("open", "os.rename", "os.remove") and any(
        ".roost-" in str(one) or "writes.json.new" in str(one) for one in arguments[:2]
    ):
        seen += 1
        if seen == last:
            os._exit(9)
sys.addaudithook(watch)
for number in range(1, 40):
    child = os.fork()
    if not child:
        last = number
        asyncio.run(play(Path(sys.argv[1], str(number))))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, flush=True)
    if code != 9:
        break
"""


def clerk() -> Agent:
    reads = Answer(calls=tuple(Call("read_file", {"path": name}) for name in _NAMES))
    changes: list[dict[str, Any]] = [
        {"path": "a", "edits": [{"old": "old", "new": "old and new"}]},
        {"path": "b", "content": "new"},
        {"path": "made/c", "content": "new"},
        {"path": "gone", "remove": True},
    ]
    return agent([reads, calling("edit_files", changes=changes), "done"], ["read_file", "edit_files"])


async def play(home: Path) -> None:
    """In a process of its own, which is to die."""
    async with running(home, clerk()) as runtime:
        session = await runtime.session("a", id="ses_1")
        folder = runtime.node.resources.private("ses_1")
        folder.mkdir(parents=True)
        for name in _NAMES:
            (folder / name).write_text("old")
        await session.ask("go")


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_crash_at_each_step(tmp_path: Path) -> None:
    after = {"a": "old and new", "b": "new", "made/c": "new"}
    crashed = subprocess.run([sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True)
    codes = [int(line) for line in crashed.stdout.split()]
    assert codes == [9] * (len(codes) - 1) + [0], crashed.stderr
    for last, code in enumerate(codes, 1):
        async with running(tmp_path / str(last), clerk()) as runtime:
            session = runtime.open("ses_1")
            await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=20)
            log = await events(session, runtime)
            folder = runtime.node.resources.private("ses_1")
        done = [event for event in log if isinstance(event, ev.ToolCompleted)][-1]
        assert (done.outcome, files(folder)) == ("ok", after), (last, done)
        attempts = sum(isinstance(event, ev.ToolStarted) and event.name == "edit_files" for event in log)
        assert attempts == (2 if code else 1)
    assert len(codes) >= 12

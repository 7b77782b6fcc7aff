"""Shell commands that a kill -9 cut off while nobody watches: told to the model, run again, or left to a person."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from roost.agent.definition import Agent, Children, Unattended
from roost.log import events as ev
from roost.log.content import Text, ToolMessage
from roost.models.request import Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from tests.harness.crash.inside import CONFIG

COUNT = 4
_PROCESS = """
import asyncio, sys
from pathlib import Path
from roost.runtime import Runtime
from tests.crash.test_unattended import team

async def main():
    folder = Path(sys.argv[1])
    async with Runtime(folder / "home", agents=team(sys.argv[2])) as runtime:
        session = await runtime.session("boss", id="s")
        await session.send("go")
        await asyncio.sleep(60)

asyncio.run(main())
"""


def team(unattended: Unattended) -> list[Agent]:
    task = Call("task", {"agent": "helper", "prompt": "do it"})
    boss = Agent(
        "boss",
        model=ScriptedModel(by_step([Answer(calls=(task,) * COUNT), "all done"])),
        tools=["task"],
        permissions="all",
        children=Children(agents=("*",)),
    )

    def answer(request: Request) -> Answer | str:
        last = request.messages[-1]
        if isinstance(last, ToolMessage):
            return "".join(part.text for part in last.parts if isinstance(part, Text))
        command = "[ -e ran ] || { echo x > ran; sleep 60; }; echo finished"
        return Answer(calls=(Call("shell", {"command": command, "timeout": 120}),))

    helper = Agent(
        "helper",
        model=ScriptedModel(answer),
        tools=["shell"],
        permissions="all",
        callable_by=("boss",),
        unattended=unattended,
    )
    return [boss, helper]


@pytest.mark.parametrize("unattended", ["tell", "again", "ask"])
async def test_kill_9_while_children_run_commands(tmp_path: Path, unattended: Unattended) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROCESS, str(tmp_path), unattended),
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        async with asyncio.timeout(60):
            while len(_ran(tmp_path)) < COUNT:
                await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    agents = team(unattended)
    async with Runtime(tmp_path / "home", agents=agents, config=CONFIG) as runtime:
        session = runtime.open("s")
        children = [info.id for info in (await runtime.delegation.tree("s")).sessions[1:]]
        assert len(children) == COUNT
        if unattended == "ask":
            for child in children:
                asked = await runtime.open(child).bus.wait_for(ev.ApprovalRequested, after=0, timeout=60)
                assert asked.cause == "replay"
                await runtime.open(child).approve(asked.call, "approve")
        end = await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=60)
        assert end.outcome == "answered"
        logs = [[record.event for record in await runtime.sessions.history(child)] for child in children]
    asked = sum(isinstance(event, ev.ApprovalRequested) for log in logs for event in log)
    outcomes = [event.outcome for log in logs for event in log if isinstance(event, ev.ToolCompleted)]
    assert asked == (COUNT if unattended == "ask" else 0)
    assert outcomes == [("interrupted" if unattended == "tell" else "ok")] * COUNT
    said = str(logs)
    assert ("it is not known whether this call took effect" in said) == (unattended == "tell")


def _ran(folder: Path) -> list[str]:
    """A line for each command that began, in the workspaces of the children."""
    return [line for path in (folder / "home").glob("workspaces/**/ran") for line in path.read_text().split()]

"""A process that dies while a child of its session waits for its model."""

from __future__ import annotations

from pathlib import Path

from roost.agent.definition import Agent, Children
from roost.features.delegation.events import ChildEnded
from roost.log import events as ev
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from tests.crash.support import begun_and_killed
from tests.harness.crash.inside import CONFIG

_PROCESS = """
import asyncio, sys
from pathlib import Path
from roost.features.delegation.events import ChildStarted
from roost.runtime import Runtime
from roost.log import events as ev
from tests.crash.test_children import team

async def main():
    runtime = Runtime(Path(sys.argv[1]), agents=team(delay=60.0))
    await runtime.start()
    session = await runtime.session("boss", id="s")
    await session.send("go")
    started = await session.bus.wait_for(ChildStarted, after=0, timeout=20)
    await runtime.open(started.child).bus.wait_for(ev.ModelStarted, after=0, timeout=20)
    print("began", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def team(delay: float = 0.0) -> list[Agent]:
    call = Answer(calls=(Call("task", {"agent": "helper", "prompt": "do it", "deadline": 600}),))
    boss = Agent(
        "boss",
        model=ScriptedModel(by_step([call, "done"])),
        tools=["task"],
        permissions="all",
        children=Children(agents=("*",)),
    )
    slow = ScriptedModel(lambda _: Answer(text="did it", delay=delay))
    return [boss, Agent("helper", model=slow, callable_by=("boss",))]


async def test_kill_9_while_a_child_works(tmp_path: Path) -> None:
    await begun_and_killed(_PROCESS, tmp_path)
    async with Runtime(tmp_path, agents=team(), config=CONFIG) as runtime:
        session = runtime.open("s")
        end = await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=20)
        assert end.outcome == "answered"
        log = [record.event for record in await runtime.sessions.history("s")]
        assert [event.outcome for event in log if isinstance(event, ChildEnded)] == ["answered"]
        [child] = (await runtime.delegation.tree("s")).sessions[1:]
        own = [record.event for record in await runtime.sessions.history(child.id)]
        assert [event.attempt for event in own if isinstance(event, ev.ModelStarted)] == [1, 2]
        assert (await session.inspect()).timers == {}

"""A clock that a test moves, and agents that say what they were told."""

from __future__ import annotations

import asyncio

from roost.agent.definition import Agent, Limits
from roost.features.schedules.events import ScheduleFired
from roost.kernel.config import KernelConfig
from roost.log.content import Text, UserMessage
from roost.log.schedule_events import ScheduleSpec
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, ScriptedModel

from .support import FAST, events

HOUR, DAY = 3600.0, 86400.0


class Clock(MovedClock):
    """The wall clock of nodes."""

    @property
    def config(self) -> KernelConfig:
        return KernelConfig(linger=FAST.linger, scan=FAST.scan, lease=FAST.lease, clock=self)


class Speaker:
    """An agent that answers with `says`, and remembers what it was asked."""

    def __init__(self, says: str = "done", *, limits: Limits | None = None, name: str = "a") -> None:
        self.says = says
        self.model = ScriptedModel(self._say)
        self.agent = Agent(name, model=self.model, permissions="all", limits=limits or Limits())

    def _say(self, _: Request) -> Answer:
        return Answer(text=self.says)

    def heard(self) -> list[str]:
        """All that the last request has a person say."""
        said = [message for message in self.model.requests[-1].messages if isinstance(message, UserMessage)]
        return ["".join(part.text for part in one.parts if isinstance(part, Text)) for one in said]


def hourly(text: str = "look around", **more: object) -> ScheduleSpec:
    return ScheduleSpec(text=text, every=HOUR, **more)  # type: ignore[arg-type]


async def fire(runtime: Runtime, clock: Clock) -> None:
    await runtime.node.store.dispatch.fire(clock())


async def fired(session: SessionHandle, runtime: Runtime) -> list[ScheduleFired]:
    return [event for event in await events(session, runtime) if isinstance(event, ScheduleFired)]


async def quiet(runtime: Runtime, session: SessionHandle, *, seconds: float = 30.0) -> None:
    """Until nothing waits in the inbox, no turn is open and nobody has the session."""
    async with asyncio.timeout(seconds):
        while True:
            info = await runtime.sessions.get(session.id)
            if not info.pending and info.phase == "idle" and info.owner is None:
                return
            await asyncio.sleep(0.01)


async def due(runtime: Runtime, session: SessionHandle, name: str) -> float:
    """When it comes due next."""
    return (await runtime.schedules.get(session.id, name)).coming[0].at

"""Coding agents at the seams of the loop. The model of its program is imported for the first session that has one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.log import events as ev
from roost.models.request import Model
from roost.tools.base import Toolbox

if TYPE_CHECKING:
    from roost.features.coding_agents.program_model import ProgramModel

WAITS = 1800.0
"""Seconds that a program stays in memory while it waits for a person. Later it is resumed when the answer comes."""


class _Waiting:
    """How long the session's program has waited for a person. calls: those that wait."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._calls: tuple[str, ...] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def goes_on(self) -> bool:
        """Whether it may wait longer. Wakes the session when it may not."""
        calls = tuple(call.call.id for call in self._session.state.calls)
        if calls != self._calls:
            self.end()
            self._calls = calls
            self._timer = asyncio.get_running_loop().call_later(WAITS, self._late)
        return not self._over

    def end(self) -> None:
        """Nothing waits."""
        if self._timer is not None:
            self._timer.cancel()
        self._calls, self._timer, self._over = None, None, False

    def _late(self) -> None:
        self._over = True
        self._session.woken.set()


def model_of(session: Session) -> ProgramModel:
    """Return the model that stands for the session's program."""
    from roost.features.coding_agents.program_model import ProgramModel

    return session.own(ProgramModel)


class CodingAgents(Feature):
    """Let a program do the work of a session: its model calls are the steps, its tool calls the calls."""

    def used(self, session: Session) -> bool:
        return session.spec.program is not None

    async def wake(self, session: Session) -> None:
        if session.state.calls:
            model_of(session).offer_again()

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        model = model_of(session)
        await (model.finish() if how == "answered" else model.stop())
        usage, step = model.take_unbilled(), session.state.open_step
        if usage is not None:
            steps = session.state.steps if step is None else step.step
            session.log.note(ev.ModelLost(at=time.time(), step=steps, attempt=1, usage=usage))

    def model(self, session: Session) -> Model | None:
        return model_of(session)

    def tools(self, session: Session) -> Toolbox | None:
        return model_of(session).toolbox

    def stays_awake(self, session: Session) -> bool:
        waiting = session.own(_Waiting)
        if model_of(session).runs:
            return waiting.goes_on()
        waiting.end()
        return False

    async def before_sleep(self, session: Session) -> None:
        await model_of(session).stop()

    async def evicted(self, session: Session) -> None:
        session.own(_Waiting).end()
        await model_of(session).stop()


FEATURE = CodingAgents()

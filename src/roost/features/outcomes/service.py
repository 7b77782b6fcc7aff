"""The goals of sessions, from a running node."""

from __future__ import annotations

import msgspec

from roost.authority import current
from roost.errors import ConfigError, Invalid
from roost.features.outcomes.api import OutcomesApi, OutcomeView
from roost.features.outcomes.events import DefineOutcomeInput
from roost.features.outcomes.goal import Goal
from roost.features.outcomes.state import OutcomeState
from roost.kernel.service_host import ServiceHost

_DEFINED = b'{"type":"outcome.defined"'
_WAIT = 10.0


class OutcomeService(OutcomesApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions

    async def define(self, session: str, goal: Goal, *, key: str | None = None) -> OutcomeView:
        """As the interface says; returns once the session has taken it, or after ten seconds. Raises `NotFound`, and
        `Invalid` for a goal without anything to check, or an unknown grader."""
        if goal.empty:
            raise Invalid("goal: give a rubric, commands or files to check")
        if any("\0" in one for one in (*goal.commands, *goal.files)):
            raise Invalid("goal: a command or a pattern has a NUL character")
        if goal.grader is not None:
            current().demand_model(goal.grader)
            try:
                self._node.models.resolve(goal.grader)
            except ConfigError as error:
                raise Invalid(f"grader: {error}") from error
        return await self._order(session, goal, key)

    async def get(self, session: str) -> OutcomeView:
        """Raises `NotFound`."""
        _, state = await self._sessions.state(session)
        part = state.part(OutcomeState)
        return OutcomeView(goal=part.goal, status=part.status, attempts=part.attempts, findings=part.findings)

    async def withdraw(self, session: str) -> OutcomeView:
        """Raises `NotFound`."""
        return await self._order(session, None, None)

    async def _order(self, session: str, goal: Goal | None, key: str | None) -> OutcomeView:
        accepted = await self._sessions.put(session, DefineOutcomeInput(goal, current().confined), key=key)
        done = await self._sessions.effect(session, accepted, _DEFINED, wait=_WAIT)
        return msgspec.structs.replace(await self.get(session), pending=done is None)


SERVICE = OutcomeService

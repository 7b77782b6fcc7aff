"""The goal of a session."""

from __future__ import annotations

from typing import Protocol

from roost.api.shapes import Answer
from roost.features.outcomes.goal import Finding, Goal, State
from roost.operation import DELETE, GET, PUT


class OutcomeView(Answer):
    """A session's goal. goal: None without one. status: `open` until it is `met` or given up (`unmet`). attempts:
    answers that were checked. findings: of the last check. pending: True in the answer to a change that the session has
    not taken yet; the other fields are of before."""

    goal: Goal | None = None
    status: State = "open"
    attempts: int = 0
    findings: tuple[Finding, ...] = ()
    pending: bool = False


class OutcomesApi(Protocol):
    @PUT("/sessions/{session}/outcome", body="OutcomeBody", errors=(404,), repeatable=True, keyed=True, right="use")
    async def define(self, session: str, goal: Goal, *, key: str | None = None) -> OutcomeView:
        """Give a session a goal, in place of any other.

        From now on an answer of the agent ends its turn only once the goal is met, or given up.
        """
        ...

    @GET("/sessions/{session}/outcome", errors=(404,), right="read")
    async def get(self, session: str) -> OutcomeView:
        """The goal of a session, and what the last check found."""
        ...

    @DELETE("/sessions/{session}/outcome", errors=(404,), right="use")
    async def withdraw(self, session: str) -> OutcomeView:
        """Take the goal from a session."""
        ...

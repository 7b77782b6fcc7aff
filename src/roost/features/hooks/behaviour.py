"""Hooks, guardrails and the classifier, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallEnd, Feature, TurnEnd
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.hooks import step_checks
from roost.log import events as ev
from roost.models.request import Completed, Failed
from roost.policy.checks import Checks
from roost.policy.gate import GateCall, Verdict
from roost.tools.base import Tool


class Hooks(Feature):
    """Ask the checks of the agent around each step. Its instruction may change in each."""

    def used(self, session: Session) -> bool:
        return session.means.find(Checks) is not None

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        await step_checks.before_end(session, _checks(session), how)

    async def after_turn(self, session: Session) -> None:
        await step_checks.after_turn(session, _checks(session))

    async def before_model(self, session: Session) -> TurnEnd | None:
        return await step_checks.before_model(session, _checks(session))

    def withholds(self, session: Session) -> bool:
        return _checks(session).judges_answers

    async def after_model(self, session: Session, outcome: Completed | Failed) -> Completed | Failed:
        return await step_checks.after_model(session, _checks(session), outcome)

    async def before_gate(self, session: Session, call: Call, tool: Tool) -> bool:
        return await step_checks.before_call(session, _checks(session), call, tool)

    async def after_gate(self, session: Session, call: GateCall, verdict: Verdict) -> Verdict:
        return await step_checks.consult(session, _checks(session), call, verdict)

    def judges(self, session: Session, tool: Tool) -> bool:
        return step_checks.judges_early(_checks(session), tool)

    async def after_call(self, session: Session, end: CallEnd) -> None:
        await step_checks.after_call(session, _checks(session), end)


def _checks(session: Session) -> Checks:
    checks = session.means.find(Checks)
    assert checks is not None  # `used` says so
    return checks


FEATURE = Hooks()

"""Events and inputs of this feature."""

from __future__ import annotations

from roost.log.events import Event
from roost.log.inputs import Input


class RuleSaved(Event, frozen=True, tag="rule.saved"):
    """The rules of agents or users that answers in this session have made are written. rules: their ids."""

    rules: tuple[str, ...]

    @property
    def line(self) -> str:
        return f"saved the rule {', '.join(self.rules)}"


class RuleRevoked(Event, frozen=True, tag="rule.revoked"):
    """A rule of this session does not count any more. account: the one that revoked it."""

    rule: str
    input: int
    account: str | None = None

    @property
    def line(self) -> str:
        return f"revoked the rule {self.rule}"


class RevokeRuleInput(Input, frozen=True, tag="rule.revoke"):
    """Revoke a rule of the session."""

    rule: str


EVENTS = (RuleSaved, RuleRevoked)
INPUTS = (RevokeRuleInput,)

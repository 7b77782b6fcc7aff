"""Events of this feature."""

from __future__ import annotations

from typing import ClassVar, Literal

from roost.log.content import Usage
from roost.log.events import Event, Spent


class PolicyDecided(Event, frozen=True, tag="policy.decided"):
    """A decision of a hook, a guardrail or the classifier. by: its kind and name, as in `hook:lint`. on: a hook's
    moment (session_start, turn_start, pre_model, post_model, pre_tool, post_tool, turn_end, session_end), a guardrail's
    side (input, output), or `call` for the classifier. arguments: the call's new arguments, from a pre_tool hook that
    modifies. The text of a denied input is withheld from the model. usage: the cost of asking a model for the
    decision."""

    purpose: ClassVar[str] = "policy"
    by: str
    on: str
    decision: Literal["allow", "ask", "deny", "modify", "passthrough"]
    reason: str = ""
    call: str | None = None
    arguments: str | None = None
    usage: Usage | None = None

    @property
    def line(self) -> str | None:
        if self.decision not in ("deny", "modify"):
            return None
        return f"{self.by}: {self.decision}" + (f": {self.reason}" if self.reason else "")

    @property
    def spent(self) -> Spent | None:
        return None if self.usage is None else Spent(self.usage, name=self.by, exact=False)


EVENTS = (PolicyDecided,)

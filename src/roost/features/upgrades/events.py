"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from roost.log.events import Event
from roost.log.inputs import Input, Urgency


class _Shown(msgspec.Struct):
    """What people are told of a definition."""

    model: str | None = None
    permissions: str = "workspace"


class SessionMoved(Event, frozen=True, tag="session.moved"):
    """From the next turn on the session uses this `version` of its agent; `spec` is the definition that it pins."""

    version: str
    spec: msgspec.Raw
    input: int
    source: str | None = None

    @property
    def line(self) -> str:
        try:
            spec = msgspec.json.decode(self.spec, type=_Shown)
        except msgspec.MsgspecError:
            spec = _Shown()
        return (
            f"its agent changed: the model is {spec.model or 'the default'}, permissions {spec.permissions}"
            f" (version {self.version[:8]})"
        )


class MoveInput(Input, frozen=True, tag="move"):
    """Change to this version of the session's agent as soon as no turn is open. spec: the definition. needs: tags that
    a node must offer to run it. changes: the fields that were asked for, where `spec` is the version `base` with them:
    a session that has another version by then gets these changes only."""

    urgency: ClassVar[Urgency] = 0

    version: str
    spec: msgspec.Raw
    needs: tuple[str, ...] = ()
    source: str | None = None
    base: str = ""
    changes: dict[str, Any] | None = None


EVENTS = (SessionMoved,)
INPUTS = (MoveInput,)

"""The records of deployments and of their runs by hand."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from roost.doors.managed.session_making import SessionGiven
from roost.log.records import Record

SCHEDULE = "deployment"
"""The name of the schedule in the session of a deployment."""


class Deployment(Record, frozen=True, kw_only=True, omit_defaults=True):
    """order: what makes its sessions, as a client said it. version: of the agent. clock: the session of its
    schedule. clocks: those that it had before, the newest last. request: digest of the request that made it."""

    kind: ClassVar[str] = "managed.deployment"
    noun: ClassVar[str] = "deployment"

    name: str
    agent: str
    version: int
    order: msgspec.Raw
    description: str | None = None
    metadata: dict[str, str] = {}
    expression: str | None = None
    zone: str = "UTC"
    clock: str | None = None
    clocks: tuple[str, ...] = ()
    paused: bool = False
    request: str = ""

    @property
    def keys(self) -> dict[str, str]:
        return {"agent": self.agent, "request": self.request}

    def given(self) -> SessionGiven:
        return msgspec.json.decode(self.order, type=SessionGiven)


class Run(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A run by hand. error: its type and message when no session was made. request: digest of the request for it."""

    kind: ClassVar[str] = "managed.deployment_run"
    noun: ClassVar[str] = "deployment run"

    deployment: str
    agent: str
    version: int
    session: str
    request: str
    error: tuple[str, str] | None = None

    @property
    def keys(self) -> dict[str, str]:
        return {"deployment": self.deployment, "request": self.request}

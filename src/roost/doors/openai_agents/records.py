"""What a client has set up, as documents: sessions, environments and templates. What a session does is in its log."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from roost.doors.openai_agents.agent_config import AgentConfig
from roost.doors.openai_agents.environment_config import Hosted, Setup
from roost.log.documents import Document, Put

SESSION, ENVIRONMENT, TEMPLATE = "openai.session", "openai.environment", "openai.template"
AUTOMATION = "openai.automation"
_INDEXED = 14
"""Most pairs of metadata that a list is filtered by with an index."""
R = TypeVar("R", bound=msgspec.Struct)


class SessionRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A session of this API. agent: its resolved configuration. agent_id: of the agent; new for an inline one. name: of
    Roost's agent. spend: US cents that it may cost. request: digest of the request that made it. node: the one that
    took this request."""

    id: str
    created: float
    owner: str = ""
    agent: AgentConfig
    agent_id: str
    name: str
    setup: Setup
    metadata: dict[str, str] = {}
    vaults: tuple[str, ...] = ()
    cache: Literal["30m", "12h"] | None = None
    review: Literal["none", "auto_review"] = "none"
    spend: int | None = None
    request: str = ""
    node: str = ""

    def put(self, revision: int | None) -> Put:
        """Return the write of it."""
        pairs = dict(sorted(self.metadata.items())[:_INDEXED])
        keys = {"agent": self.agent_id, **{f"m.{name}": value for name, value in pairs.items()}}
        if self.request:
            keys["request"] = self.request
        return Put(
            kind=SESSION, id=self.id, body=msgspec.json.encode(self), owner=self.owner, keys=keys, revision=revision
        )


class EnvironmentRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An environment. session: the one that works in it, once there is one."""

    id: str
    owner: str = ""
    setup: Setup
    session: str | None = None
    request: str = ""

    def put(self, revision: int | None) -> Put:
        """Return the write of it."""
        keys = {"type": self.setup.kind}
        body = msgspec.json.encode(self)
        return Put(kind=ENVIRONMENT, id=self.id, body=body, owner=self.owner, keys=keys, revision=revision)


class TemplateRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A template of environments."""

    id: str
    owner: str = ""
    created: float
    changed: float
    name: str | None = None
    hosted: Hosted

    def put(self, revision: int | None) -> Put:
        """Return the write of it."""
        return Put(kind=TEMPLATE, id=self.id, body=msgspec.json.encode(self), owner=self.owner, revision=revision)


class AutomationRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An automation: the schedule of its id in a session. text: what the session is told. request: digest of the
    request that made it."""

    id: str
    owner: str = ""
    session: str
    created: float
    kind: Literal["periodic", "once"]
    name: str
    text: str
    expression: str | None = None
    zone: str | None = None
    run_at: int | None = None
    metadata: dict[str, str] = {}
    request: str = ""

    def put(self, revision: int | None) -> Put:
        """Return the write of it."""
        keys = {"session": self.session, **({"request": self.request} if self.request else {})}
        body = msgspec.json.encode(self)
        return Put(kind=AUTOMATION, id=self.id, body=body, owner=self.owner, keys=keys, revision=revision)


def read(document: Document, kind: type[R]) -> R:
    return msgspec.json.decode(document.body, type=kind)


def same_metadata(record: SessionRecord, wanted: dict[str, Any]) -> bool:
    """Whether a session has all these pairs."""
    return all(record.metadata.get(name) == value for name, value in wanted.items())

"""Bodies, queries and responses of the API. Responses that are the kernel's own shapes are not repeated here."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from roost.agent.definition import Agent, AgentSpec
from roost.kernel.costs import By
from roost.kernel.sessions import WaitingCall
from roost.log.content import Message, UserPart
from roost.log.dispatch import NodeInfo
from roost.log.events import Decision, GrantScope, InputMode, SessionState
from roost.log.protocols import SessionInfo
from roost.models.catalog.card import Card
from roost.models.profile import MEDIA_KINDS, MediaKind
from roost.policy.gate import Permissions
from roost.server.validation_messages import LABEL_KEY, LABEL_QUERY, MONTH, NAME

E = TypeVar("E")
_LARGEST = 2**63 - 1

# `$` alone also matches before a last line break; `\\Z` means something else in JSON Schema
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=NAME)]
Position = Annotated[int, Meta(ge=0, le=_LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=1e11)]
LabelKey = Annotated[str, Meta(min_length=1, max_length=64, pattern=LABEL_KEY)]


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class CostsQuery(_Shape):
    """`month`: as in `2026-11`; by default this one. `by`: reads the logs of the month, which is slow."""

    by: By | None = None
    month: Annotated[str, Meta(pattern=MONTH)] | None = None


class SettleBody(_Shape):
    """`call`: the id of a lost call. `cost`: its cost in nano-dollars."""

    call: Annotated[str, Meta(max_length=1024)]
    cost: Annotated[int, Meta(ge=0)]


class ReconcileBody(_Shape):
    """`month`: as in `2026-11`; by default all lost calls. `ours`: all usage in the accounts' reports is Roost's."""

    month: Annotated[str, Meta(pattern=MONTH)] | None = None
    ours: bool = False


class NewSessionBody(_Shape):
    """`model`: replaces the agent's own. `definition`: an agent of this name as data, which the node need not know.
    `workspace`: an absolute path of an existing folder; without it the session gets a private one."""

    agent: Annotated[str, Meta(max_length=128)]
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    definition: AgentSpec | None = None
    id: Name | None = None
    workspace: Annotated[str, Meta(max_length=4096)] | None = None
    title: Annotated[str, Meta(max_length=1024)] | None = None
    labels: Annotated[dict[LabelKey, Annotated[str, Meta(max_length=256)]], Meta(max_length=64)] | None = None


class MessageBody(_Shape):
    """Either `text` or `parts`. `steer`: delivered into the running turn. `follow_up`: delivered when it has ended."""

    text: str | None = None
    parts: Annotated[list[UserPart], Meta(min_length=1, max_length=256)] | None = None
    mode: InputMode = "follow_up"
    source: Annotated[str, Meta(max_length=256)] | None = None


class ApprovalBody(_Shape):
    """With `modify` the call runs with these `arguments` instead of the model's. `always`: prefixes offered by the
    question that are allowed from now on, within `scope`. `asked`: the position of the question."""

    decision: Decision
    note: str | None = None
    arguments: dict[str, Any] | None = None
    always: Annotated[list[str], Meta(max_length=32)] = []
    scope: GrantScope | None = None
    asked: int | None = None


class EmitBody(_Shape):
    name: Name
    data: Any = None


class TimerBody(_Shape):
    """Either `due` (seconds since 1970) or `in` (seconds from now)."""

    text: Annotated[str, Meta(min_length=1)]
    due: Seconds | None = None
    after: Seconds | None = msgspec.field(default=None, name="in")


class PinBody(_Shape):
    text: Annotated[str, Meta(min_length=1)]


class SessionsQuery(_Shape):
    """`label`: `key:value`. `before`: the `next` of the former page. `turns`: also tell how each session's last turn
    ended."""

    agent: str | None = None
    state: SessionState | None = None
    parent: str | None = None
    label: Annotated[str, Meta(pattern=LABEL_QUERY)] | None = None
    before: str | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    turns: bool = False


class EventsQuery(_Shape):
    """`after`: the number of the last event that you have. `deltas` is for streams, `limit` for pages."""

    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    deltas: bool = True


class StreamQuery(_Shape):
    deltas: bool = True


class Life(_Shape):
    """The process works. This does not check the store."""

    status: Literal["alive"] = "alive"


class Health(_Shape):
    """`uptime`: seconds. `degraded`: the store refuses writes, or the node lost its lease and runs nothing until it has
    one again, or several sessions in a row failed on this machine; `reason` says which. `draining`: its sessions go to
    other nodes; `live` ones are still in its memory. `failed`: sessions in state `error`, of all nodes, up to 1,000,
    with damaged ones once they were found."""

    status: Literal["ok", "degraded", "draining", "stopping"]
    version: str
    node: str
    uptime: float
    live: int
    failed: int | None = None
    reason: str | None = None


class ProfileBody(_Shape):
    """The router's profile, for all nodes from now on."""

    profile: Annotated[str, Meta(min_length=1, max_length=128)]


class ModelEntry(_Shape):
    """A model of the profile in use. `usable`: this node has its key, or its weights. `trouble`: why it is not usable,
    or why another is asked first now. `window`, `max_output`: tokens, None where it is not usable."""

    name: str
    usable: bool
    trouble: str | None = None
    window: int | None = None
    max_output: int | None = None
    media: list[MediaKind] = []

    @classmethod
    def of(cls, name: str, card: Card | None, trouble: str | None) -> ModelEntry:
        if card is None:
            return cls(name=name, usable=False, trouble=trouble)
        profile = card.profile
        media: list[MediaKind] = [kind for kind in MEDIA_KINDS if profile.takes(kind)]
        return cls(
            name=name, usable=True, trouble=trouble, window=profile.window, max_output=profile.max_output, media=media
        )


class ModelList(_Shape):
    """`models`: of the router's profile in use. `profiles`: all names."""

    profile: str
    profiles: list[str]
    models: list[ModelEntry]


class NodeEntry(_Shape):
    """A node as the store sees it. `this`: it sent this response. `live`: sessions in its memory. `room`: its free
    slots. `beat_at`: its last heartbeat, by the store's clock, in seconds since 1970."""

    id: str
    this: bool
    alive: bool
    draining: bool
    url: str | None
    home: str
    live: int
    room: int
    offers: tuple[str, ...]
    version: str
    format: int
    beat_at: float

    @staticmethod
    def of(node: NodeInfo, *, this: str) -> NodeEntry:
        card = node.card
        return NodeEntry(
            id=card.id,
            this=card.id == this,
            alive=node.alive,
            draining=card.draining,
            url=card.url,
            home=card.home,
            live=card.live,
            room=max(0, card.room),
            offers=card.offers,
            version=card.version,
            format=card.format,
            beat_at=node.beat_at,
        )


class NodeList(_Shape):
    """`waiting` sessions have work and no living node, the oldest for `waiting_seconds`."""

    nodes: list[NodeEntry]
    waiting: int
    waiting_seconds: float


class AgentInfo(_Shape):
    """`model`: None is the node's default."""

    name: str
    description: str
    model: str | None
    tools: tuple[str, ...]
    permissions: Permissions
    version: str
    checks: tuple[str, ...] = ()

    @staticmethod
    def of(agent: Agent) -> AgentInfo:
        spec = agent.spec
        return AgentInfo(
            name=spec.name,
            description=spec.description,
            model=spec.model,
            tools=spec.tools,
            permissions=spec.permissions,
            version=spec.version,
            checks=agent.checks,
        )


class AgentList(_Shape):
    agents: list[AgentInfo]


class SessionTree(_Shape):
    sessions: list[SessionInfo]


class WaitingCalls(_Shape):
    approvals: list[WaitingCall]


class SessionPage(_Shape):
    """Newest first. `next`: the `before` of the next page."""

    sessions: list[SessionInfo]
    next: str | None


class AcceptedInput(_Shape):
    """The input is on disk. `input`: its number in the log. `head`: the position before it; follow the events from
    there. `duplicate`: this Idempotency-Key was accepted before, and nothing was added. `waits_for`: for a message, the
    Python parts of the session's agent that no running node knows; the message waits until one does."""

    input: int
    duplicate: bool
    head: int
    waits_for: list[str] | UnsetType = UNSET


class Transcript(_Shape):
    """The messages in the model's context."""

    messages: list[Message]


class Entry(msgspec.Struct, Generic[E], kw_only=True):
    seq: int
    event: E


class EventPage(msgspec.Struct, Generic[E], kw_only=True):
    """`head`: the number of the newest event."""

    events: list[Entry[E]]
    head: int


class DrainQuery(_Shape):
    """`grace`: seconds that steps in progress get to end before they are cut as by a crash."""

    grace: Annotated[float, Meta(ge=0, le=86400)] = 30.0


class Draining(_Shape):
    """`live`: sessions not yet released; `GET /health` shows how many remain."""

    node: str
    live: int
    status: Literal["draining"] = "draining"


class Stopping(_Shape):
    status: Literal["stopping"] = "stopping"

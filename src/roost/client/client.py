"""`Client`: every operation of the daemon as a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from roost.client.configuration import ConfigurationClient
from roost.client.daemon_address import Endpoint, Locate
from roost.client.memory import MemoryClient
from roost.client.schedules import ScheduleClient
from roost.client.socket_transport import ApiError, Requests
from roost.client.travel import TravelClient
from roost.ids import new_id
from roost.log.content import Message, UserPart
from roost.log.events import ControlAction, Decision, GrantScope, InputMode, SessionState
from roost.log.protocols import Record, SessionInfo

if TYPE_CHECKING:
    from roost.agent.definition import AgentSpec
    from roost.client.event_stream import EventStream
    from roost.kernel.compaction_result import Compacted
    from roost.kernel.costs import By, Costs
    from roost.kernel.reconcile import Reconciled
    from roost.kernel.session_views import SessionView, WaitingCall
    from roost.log.ledger import LostCall

Content: TypeAlias = str | Sequence[UserPart]
"""The content of a message: text, or parts, some of which may be media."""
T = TypeVar("T")


class Health(msgspec.Struct):
    status: Literal["ok", "degraded", "draining", "stopping"]
    version: str
    node: str | None = None
    uptime: float = 0.0
    live: int = 0
    failed: int | None = None
    reason: str | None = None


class NodeRow(msgspec.Struct):
    """A node of the cluster. `this`: it sent this response."""

    id: str
    this: bool = False
    alive: bool = True
    draining: bool = False
    url: str | None = None
    home: str = ""
    live: int = 0
    room: int = 0
    offers: tuple[str, ...] = ()
    version: str = ""
    format: int = 0
    beat_at: float = 0.0


class Nodes(msgspec.Struct):
    """The cluster's nodes. `waiting`: sessions with work and no living node, the oldest for `waiting_seconds`."""

    nodes: list[NodeRow]
    waiting: int = 0
    waiting_seconds: float = 0.0


class ModelRow(msgspec.Struct):
    """A model of the router's profile. `trouble`: why it cannot be asked, or why another is asked first now."""

    name: str
    usable: bool
    trouble: str | None = None
    window: int | None = None
    max_output: int | None = None
    media: tuple[str, ...] = ()


class Routing(msgspec.Struct):
    """The router's `profile` in use and its models. `profiles`: all names."""

    profile: str
    profiles: list[str]
    models: list[ModelRow]


class AgentRow(msgspec.Struct):
    """An agent in a list. `model` None is the node's default."""

    name: str
    description: str = ""
    model: str | None = None
    tools: tuple[str, ...] = ()
    permissions: str = "workspace"
    version: str = ""
    checks: tuple[str, ...] = ()
    """Names of its own hooks and guardrails."""


class Sent(msgspec.Struct):
    """`input`: the message's number in the log. `head`: the log's end before it was accepted. `waits_for`: Python parts
    of the session's agent that no running node knows; the message waits until one does."""

    input: int
    duplicate: bool = False
    head: int = 0
    waits_for: list[str] = []


class _Agents(msgspec.Struct):
    agents: list[AgentRow]


class _Page(msgspec.Struct):
    sessions: list[SessionInfo]


class _Tree(msgspec.Struct):
    sessions: list[SessionInfo]


class _Messages(msgspec.Struct):
    messages: list[Message]


class _Logged(msgspec.Struct):
    seq: int
    event: msgspec.Raw


class _Events(msgspec.Struct):
    events: list[_Logged]


class Client:
    """A blocking client of a daemon. Use it from one thread at a time; streams may be read in threads of their own.
    Raises `ApiError` with the daemon's own code, and `Unreachable`."""

    def __init__(self, locate: Locate, *, timeout: float = 60.0) -> None:
        self._locate = locate
        self._requests = Requests(locate, timeout=timeout)

    @property
    def endpoint(self) -> Endpoint:
        return self._requests.endpoint

    def close(self) -> None:
        self._requests.close()

    def health(self) -> Health:
        return _decode(self._requests.call("GET", "/health", also=(503,)), Health)

    def agents(self) -> list[AgentRow]:
        return self._get("/agents", _Agents).agents

    def create(
        self,
        agent: str,
        *,
        workspace: str | None = None,
        title: str | None = None,
        model: str | None = None,
        definition: AgentSpec | None = None,
    ) -> SessionInfo:
        body = {"agent": agent, "workspace": workspace, "title": title, "model": model, "definition": definition}
        given = {name: value for name, value in body.items() if value is not None}
        return _decode(self._requests.call("POST", "/sessions", body=given, key=new_id("key")), SessionInfo)

    def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        parent: str | None = None,
        before: str | None = None,
        limit: int = 50,
        turns: bool = False,
    ) -> list[SessionInfo]:
        """List sessions, the newest first. `parent`: only this session's children. `turns`: with `last_turn`."""
        query = {"agent": agent, "state": state, "parent": parent, "before": before, "limit": limit}
        query |= {"turns": "true"} if turns else {}
        return self._get("/sessions", _Page, query).sessions

    def get(self, session: str) -> SessionInfo:
        return self.inspect(session).info

    def inspect(self, session: str) -> SessionView:
        from roost.kernel.session_views import SessionView

        return self._get(_path(session), SessionView)

    def tree(self, session: str) -> list[SessionInfo]:
        """List the session and its descendants, parents before children."""
        return self._get(_path(session, "tree"), _Tree).sessions

    def approvals(self, session: str) -> list[WaitingCall]:
        """List the calls that wait for a person, in the session and its descendants."""
        from roost.kernel.session_views import WaitingCall

        return self._get(_path(session, "approvals"), dict[str, list[WaitingCall]])["approvals"]

    def messages(self, session: str) -> list[Message]:
        return self._get(_path(session, "messages"), _Messages).messages

    def events(self, session: str, *, after: int = 0, limit: int = 500) -> list[Record]:
        found = self._get(_path(session, "events"), _Events, {"after": after, "limit": limit}).events
        return [Record(item.seq, bytes(item.event)) for item in found]

    def send(self, session: str, content: Content, *, mode: InputMode = "follow_up", source: str | None = None) -> Sent:
        said: dict[str, Any] = {"text": content} if isinstance(content, str) else {"parts": list(content)}
        body = said | {"mode": mode} | ({"source": source} if source else {})
        return _decode(
            self._requests.call("POST", _path(session, "messages"), body=body, key=new_id("key")),
            Sent,
        )

    def control(self, session: str, action: ControlAction) -> SessionInfo:
        """Send an order. Returns the session after it took effect, or while it is accepted and pending."""
        return _decode(self._requests.call("POST", _path(session, action), key=new_id("key")), SessionInfo)

    def compact(self, session: str) -> Compacted:
        """Compact the session and return the result; after 45 seconds, report it as pending."""
        from roost.kernel.compaction_result import Compacted

        return _decode(self._requests.call("POST", _path(session, "compact"), key=new_id("key")), Compacted)

    def approve(
        self,
        session: str,
        call: str,
        decision: Decision,
        *,
        note: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        scope: GrantScope | None = None,
        asked: int | None = None,
    ) -> None:
        body: dict[str, Any] = {"decision": decision} | ({"note": note} if note else {})
        body |= {"always": list(always)} if always else {}
        body |= {"scope": scope} if scope else {}
        body |= {"asked": asked} if asked is not None else {}
        if arguments is not None:
            body["arguments"] = dict(arguments)
        self._requests.call("POST", _path(session, "approvals", call), body=body, again=True)

    def delete(self, session: str) -> None:
        self._requests.call("DELETE", _path(session))

    def nodes(self) -> Nodes:
        return self._get("/nodes", Nodes)

    def models(self) -> Routing:
        return self._get("/models", Routing)

    def costs(self, *, by: By | None = None, month: str | None = None) -> Costs:
        from roost.kernel.costs import Costs

        return self._get("/costs", Costs, {"by": by, "month": month})

    def settle_lost(self, call: str, cost: int) -> LostCall:
        from roost.log.ledger import LostCall

        answer = self._requests.call("POST", "/costs/settle", body={"call": call, "cost": cost}, again=True)
        return _decode(answer, LostCall)

    def reconcile_costs(self, *, month: str | None = None, ours: bool = False) -> Reconciled:
        from roost.kernel.reconcile import Reconciled

        body = {"month": month, "ours": ours}
        return _decode(self._requests.call("POST", "/costs/reconcile", body=body, again=True), Reconciled)

    @property
    def configuration(self) -> ConfigurationClient:
        return ConfigurationClient(self._requests.call, _decode)

    @property
    def memory(self) -> MemoryClient:
        return MemoryClient(self._requests.call, _decode)

    @property
    def travel(self) -> TravelClient:
        return TravelClient(self._requests.call, _decode)

    @property
    def schedules(self) -> ScheduleClient:
        return ScheduleClient(self._requests.call, _decode)

    def use_profile(self, name: str) -> None:
        """Switch the router's profile on all nodes, from the next model call on."""
        self._requests.call("PUT", "/models/profile", body={"profile": name})

    def drain(self, *, grace: float | None = None) -> None:
        """Drain the node: its sessions go to other nodes; `health` shows how many remain."""
        self._requests.call("POST", "/drain", query={"grace": grace}, again=True)

    def shutdown(self) -> None:
        self._requests.call("POST", "/shutdown", again=True)

    def stream(
        self,
        session: str,
        *,
        after: int = 0,
        deltas: bool = True,
        patience: float = 60.0,
        on_gap: Callable[[bool], None] = lambda _: None,
        known: bool = False,
    ) -> EventStream:
        """Open a session's stream; see `EventStream`."""
        from roost.client.event_stream import EventStream

        return EventStream(
            self._locate, session, after=after, deltas=deltas, patience=patience, on_gap=on_gap, known=known
        )

    def _get(self, path: str, kind: type[T], query: dict[str, Any] | None = None) -> T:
        return _decode(self._requests.call("GET", path, query=query), kind)


def _path(session: str, *more: str) -> str:
    return "/".join(["/sessions", *(quote(part, safe=":") for part in (session, *more))])


def _decode(answer: tuple[int, bytes], kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer[1], type=kind)
    except msgspec.MsgspecError as error:
        raise ApiError(f"the answer is not one of a Roost daemon of this version: {error}", code="not_roost") from error

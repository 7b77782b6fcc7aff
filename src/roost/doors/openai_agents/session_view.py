"""A session as the resource of the Agents API, from its record and its log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec

from roost.agent.definition import decode_spec
from roost.agent.servers import server_tool
from roost.agent.state import Call, State
from roost.doors.openai_agents.context import Context
from roost.doors.openai_agents.environment_config import Network
from roost.doors.openai_agents.items import SERVER, arguments_of, usage_of
from roost.doors.openai_agents.log_reader import turn_id
from roost.doors.openai_agents.records import SessionRecord
from roost.errors import NotFound
from roost.features.client_tools.state import ClientToolsTurn
from roost.features.delegation.state import DelegationState
from roost.ids import is_id
from roost.log import events as ev
from roost.log.content import Usage
from roost.log.session_info import SessionInfo


class Below(NamedTuple):
    """A call of a subagent that waits for an approval. session: the subagent's, or of one that it has called."""

    session: str
    call: Call


class Now(NamedTuple):
    """A session as it is now. queued: a message waits for its turn to begin. below: the questions of its subagents."""

    info: SessionInfo
    state: State
    queued: bool
    below: tuple[Below, ...] = ()


async def now(context: Context, session: str) -> Now:
    """Read a session. Raises `NotFound`."""
    info = await context.sessions.get(session)
    if not info.pending:
        info, state = await context.sessions.state(session, info)
        return Now(info, state, False, tuple([one async for one in _below(context, state)]))
    items = await context.runtime.node.tenants.inboxes.pending(session)
    queued = any(item.input.urgency == 0 for item in items)  # read before the state, which shows what leaves it
    info, state = await context.sessions.state(session)
    return Now(info, state, queued, tuple([one async for one in _below(context, state)]))


async def _below(context: Context, state: State) -> AsyncIterator[Below]:
    """Yield the questions that subagents ask now. Their own logs say which: one that was answered is over."""
    for id, child in state.part(DelegationState).children.items():
        if not child.waits:
            continue
        try:
            _, own = await context.sessions.state(id)
        except NotFound:  # deleted at this moment
            continue
        for call in own.asking:
            yield Below(id, call)
        async for one in _below(context, own):
            yield one


def at_rest(now: Now) -> Now | None:
    """Return what `shown` needs of a session between turns, without its context; None for any other session."""
    state = now.state
    if state.turn is not None or now.queued or state.state in ("error", "stopped"):
        return None
    return now._replace(state=_slim(state, state.seq, state.usage))


def after_turn(rested: Now, seq: int, ended: ev.TurnCompleted) -> Now:
    """Return a session at rest as it is after one more turn, which ended at `seq`."""
    return rested._replace(state=_slim(rested.state, seq, rested.state.usage + ended.usage))


def _slim(state: State, seq: int, usage: Usage) -> State:
    return State(seq=seq, spec=state.spec, state=state.state, usage=usage, parts={})


def resource(record: SessionRecord, now: Now, url: str) -> dict[str, Any]:
    """Return the resource. url: of this daemon."""
    return shown(record, now, standing(record, now.state, url))


class Standing(NamedTuple):
    """What a resource shows of a session's record and of the definition `spec`, whatever its turns do. limit: US cents
    that it may cost."""

    spec: bytes
    limit: int | None
    fields: dict[str, Any]

    def encoded(self) -> Standing:
        """Return it with its fields encoded, for a resource that is sent often."""
        raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in self.fields.items()}
        return self._replace(fields=raw)


def standing(record: SessionRecord, state: State, url: str) -> Standing:
    """Return what a session shows while nobody changes its record or its definition. url: of this daemon."""
    fields: dict[str, Any] = {
        "id": record.id,
        "object": "agent.session",
        "agent": {"id": record.agent_id, "name": record.agent.name, **record.agent.shown()},
        "created_at": int(record.created),
        "environment": record.setup.shown(url, _network(state)),
        "metadata": record.metadata,
        "vault_ids": list(record.vaults),
    }
    if record.cache is not None:
        fields["prompt_cache_options"] = {"ttl": record.cache}
    if record.review != "none":
        fields["review"] = record.review
    return Standing(state.spec, _cents(record, state), fields)


def shown(record: SessionRecord, now: Now, known: Standing, *, status: str | None = None) -> dict[str, Any]:
    """Return the resource. known: from `standing`. status: the one that an event tells, where the session may have gone
    on since."""
    info, state = now.info, now.state
    actions = required_actions(record.id, state, now.below)
    cost = state.usage.cost
    return {
        **known.fields,
        "error": state.reason if state.state == "error" else None,
        "last_active_at": int(info.updated_at),
        "required_actions": actions,
        "status": status or status_of(now, actions, known.limit),
        "usage": usage_of(state.usage),
        "spend_control": {"limit": known.limit, "consumed": None if cost is None else cost // 10_000_000},
    }


def _network(state: State) -> Network:
    """Return what the definition of a session's agent holds its commands to. Below level 1 nothing is enforced."""
    isolation = decode_spec(state.spec).isolation
    if isolation.required == 0 or "*" in isolation.hosts:
        return Network("enabled")
    return Network("restricted", isolation.hosts) if isolation.hosts else Network("disabled")


def _cents(record: SessionRecord, state: State) -> int | None:
    """Return what a session may cost, in US cents: the smaller of what its client and its agent allow."""
    own = decode_spec(state.spec).limits.session_money
    known = [one for one in (record.spend, None if own is None else round(own * 100)) if one is not None]
    return min(known, default=None)


def status_of(now: Now, actions: list[dict[str, Any]], cents: int | None) -> str:
    """Return the status. cents: US cents that the session may cost."""
    state = now.state
    if state.state in ("error", "stopped"):
        return "failed"
    if state.turn is None and not now.queued:
        cost = state.usage.cost
        spent = cents is not None and cost is not None and cost >= cents * 10_000_000
        return "budget_reached" if spent else "idle"
    return "requires_action" if actions and state.phase == "waiting" else "in_progress"


def required_actions(session: str, state: State, below: Sequence[Below] = ()) -> list[dict[str, Any]]:
    """Return what somebody outside has to do before the turn goes on."""
    if state.turn is None:
        return []
    turn = turn_id(session, state.turn.number)
    called = state.turn.part(ClientToolsTurn).called
    found: list[dict[str, Any]] = [
        {
            "type": "function_call",
            "call_id": call.call.id,
            "name": call.call.name,
            "arguments": arguments_of(call.arguments),
            "turn_id": turn,
        }
        for call in state.calls
        if call.status == "awaiting" and call.call.id in called
    ]
    found += [_question(turn, call) for call in state.asking]
    return found + [_question(turn, call, subagent) for subagent, call in below]


def _question(turn: str, call: Call, subagent: str | None = None) -> dict[str, Any]:
    server, name = server_tool(call.call.name) or (SERVER, call.call.name)
    whose = "" if subagent is None else f"subagent {subagent}: "
    request = {
        "type": "mcp_tool_call",
        "server_label": server,
        "name": name,
        "arguments": arguments_of(call.arguments),
        "message": whose + (call.reason or f"{call.call.name} waits for an answer"),
    }
    id = approval_id(Question(call.call.id, call.asked, subagent))
    return {"type": "mcp_approval_request", "request_id": id, "request": request, "turn_id": turn}


class Question(NamedTuple):
    """A question about a call, asked at a position of a log: a call can be asked about more than once. subagent: the
    session in which it was asked, if another one than that which clients know."""

    call: str
    asked: int
    subagent: str | None = None


def approval_id(question: Question) -> str:
    """Return the id of a question."""
    call, asked, subagent = question
    return f"apr_{asked}_{call}" if subagent is None else f"aps_{asked}_{subagent}/{call}"


def question_of(id: str) -> Question | None:
    """Return the question that an id names."""
    kind, _, place = id.partition("_")
    asked, _, call = place.partition("_")
    if kind not in ("apr", "aps") or not call or not (asked.isascii() and asked.isdigit() and len(asked) < 19):
        return None
    if kind == "apr":
        return Question(call, int(asked))
    subagent, _, call = call.partition("/")
    return Question(call, int(asked), subagent) if call and is_id(subagent) else None

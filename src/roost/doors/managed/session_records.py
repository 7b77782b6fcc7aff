"""What a session has besides its log: the agent's version as asked for, environment, title, metadata, resources."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from roost.agent.memory_mounts import Access
from roost.agent.state import State
from roost.doors.managed.agent_shapes import session_agent
from roost.doors.managed.outcomes import evaluations
from roost.doors.managed.requests import Asking, maybe_stamp, stamp
from roost.errors import Invalid
from roost.log.records import Record
from roost.log.session_info import SessionInfo

_CENTS = 100
Status = Literal["rescheduling", "running", "idle", "terminated"]


class Resource(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A file that was put into the workspace at `path`, which is relative to it."""

    id: str
    file: str
    path: str
    created: float


class Mount(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A memory store that the session uses. name, description: as they were then. told: guidance for the agent."""

    id: str
    store: str
    name: str
    access: Access
    created: float
    description: str = ""
    told: str | None = None


class SessionRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """id: that of the session. shown: what clients see of its agent. cents: its budget in US cents. request: digest of
    the request that made it."""

    kind: ClassVar[str] = "managed.session"
    noun: ClassVar[str] = "session"

    agent: str
    version: int
    shown: dict[str, Any]
    environment: str
    title: str | None = None
    metadata: dict[str, str] = {}
    vaults: tuple[str, ...] = ()
    resources: tuple[Resource, ...] = ()
    mounts: tuple[Mount, ...] = ()
    cents: int | None = None
    deployment: str | None = None
    request: str = ""

    @property
    def keys(self) -> dict[str, str]:
        deployment = {} if self.deployment is None else {"deployment": self.deployment}
        return {"agent": self.agent, "request": self.request, **deployment}


class AmountGiven(Asking):
    amount: str
    currency: str


class BudgetGiven(Asking, tag_field="type", tag="limit"):
    max_list_cost: AmountGiven


def cents_of(budget: BudgetGiven | None) -> int | None:
    """Return a budget in US cents. Raises `Invalid`."""
    if budget is None:
        return None
    amount, currency = budget.max_list_cost.amount, budget.max_list_cost.currency
    if currency != "USD":
        raise Invalid(f"budget.max_list_cost.currency: USD, not {currency[:10]!r}")
    if not (amount.isascii() and amount.isdigit() and 0 < len(amount) < 12 and (amount == "0" or amount[0] != "0")):
        raise Invalid("budget.max_list_cost.amount: whole cents as text, such as '2500' for 25 dollars")
    return int(amount)


def status_of(info: SessionInfo) -> Status:
    if info.state in ("stopped", "error"):
        return "terminated"
    if info.state == "paused" or info.phase == "waiting":
        return "idle"
    return "running" if info.pending or info.phase == "working" else "idle"


def budget_view(cents: int | None) -> dict[str, Any] | None:
    if cents is None:
        return None
    return {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}


def resource_view(one: Resource) -> dict[str, Any]:
    return {
        "type": "file",
        "id": one.id,
        "file_id": one.file,
        "mount_path": one.path,
        "created_at": stamp(one.created),
        "updated_at": stamp(one.created),
    }


def mount_view(one: Mount) -> dict[str, Any]:
    return {
        "type": "memory_store",
        "id": one.id,
        "memory_store_id": one.store,
        "name": one.name,
        "description": one.description,
        "access": one.access,
        "instructions": one.told,
        "mount_path": None,
        "created_at": stamp(one.created),
        "updated_at": stamp(one.created),
    }


def session_view(one: SessionRecord, info: SessionInfo, state: State) -> dict[str, Any]:
    status: Status = "terminated" if one.archived is not None else status_of(info)
    return {
        "type": "session",
        "id": one.id,
        "agent": session_agent(one.agent, one.version, one.shown),
        "environment_id": one.environment,
        "title": one.title,
        "metadata": one.metadata,
        "status": status,
        "budget": budget_view(one.cents),
        "resources": [*map(resource_view, one.resources), *map(mount_view, one.mounts)],
        "vault_ids": one.vaults,
        "deployment_id": one.deployment,
        "outcome_evaluations": evaluations(state),
        "stats": {
            "active_seconds": round(state.seconds, 3),
            "duration_seconds": round(max(0.0, info.updated_at - info.created_at), 3),
        },
        "usage": usage_view(state),
        "created_at": stamp(one.created),
        "updated_at": stamp(max(one.changed, info.updated_at)),
        "archived_at": maybe_stamp(one.archived),
    }


def usage_view(state: State) -> dict[str, Any]:
    used = state.usage
    found: dict[str, Any] = {
        "input_tokens": max(0, used.input - used.cached - used.written),
        "output_tokens": used.output,
        "cache_read_input_tokens": used.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": used.written, "ephemeral_1h_input_tokens": 0},
        "active_seconds": round(state.seconds, 3),
    }
    if used.cost is not None:
        found["list_cost"] = {"amount": str(used.cost * _CENTS // 10**9), "currency": "USD"}
    return found

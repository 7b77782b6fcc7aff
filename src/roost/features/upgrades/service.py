"""Moving sessions to other versions of their agents, on a running node."""

from __future__ import annotations

import asyncio
import difflib
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from roost.agent.definition import Agent, decode_spec, encode_spec
from roost.authority import ACCOUNT, current
from roost.errors import Forbidden, Invalid
from roost.features.upgrades.api import UpgradesApi
from roost.features.upgrades.events import MoveInput
from roost.kernel.placement import PartsUnknown
from roost.kernel.service_host import ServiceHost
from roost.log.protocols import Accepted
from roost.log.session_info import SessionInfo
from roost.policy.gate import Permissions
from roost.providers.accounts import Models

_DEFAULT = "default"
_PLACES = ("home:", "folder:")
"""Needs that name the location of a session's files: these do not change."""


class UpgradesService(UpgradesApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions
        self._adjusting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def move(
        self, session: str, *, model: str | None = None, by: str = "HTTP", key: str | None = None
    ) -> SessionInfo:
        demand_change(model=model)
        agent = await self._sessions.named((await self._sessions.get(session)).agent, model=model)
        await self.move_to(session, agent, key=key, by=by)
        return await self._sessions.get(session)

    async def adjust(
        self,
        session: str,
        *,
        model: str | None = None,
        permissions: Permissions | None = None,
        by: str = "HTTP",
        key: str | None = None,
    ) -> SessionInfo:
        """As the interface says. Begins from what the newest order in the inbox asks for, so that each change stays.
        Calls that come to this node at the same time go one after the other; of calls through several nodes the order
        says what was asked for."""
        lock = self._adjusting.setdefault(session, asyncio.Lock())
        async with lock:
            await self._adjust(session, model, permissions, by, key)
        return await self._sessions.get(session)

    async def _adjust(
        self, session: str, model: str | None, permissions: Permissions | None, by: str, key: str | None
    ) -> None:
        info = await self._sessions.get(session)
        given = self._node.agents.find(info.agent)
        if model != _DEFAULT:
            named = model
        else:  # the node's, which is no change only if the agent has none of its own
            named = None if given is not None and given.spec.model is None else self._node.models.full(None)
        if model not in (None, _DEFAULT):
            _demand_known(self._node.models, model)
        demand_change(model=named, permissions=permissions, given=None if given is None else given.permissions)
        if unknown := self._node.membership.unknown_parts(info):  # else the new version would be one without them
            raise PartsUnknown(session, unknown)
        orders = [one.input for one in await self._node.tenants.inboxes.pending(session)]
        waiting = [one for one in orders if isinstance(one, MoveInput)]
        spec = decode_spec(bytes(waiting[-1].spec)) if waiting else await self._sessions.spec(session)
        changes: dict[str, Any] = {} if permissions is None else {"permissions": permissions}
        if model is not None:
            changes["model"] = None if model == _DEFAULT else model
        agent = self._sessions.variant(spec.name, definition=msgspec.structs.replace(spec, **changes))
        asked = MoveInput("", msgspec.Raw(msgspec.json.encode(changes)), (), by)
        await self.move_to(session, agent, key=key, by=by, sent=asked, asked=(spec.version, changes))

    async def move_to(
        self,
        session: str,
        agent: Agent | None = None,
        *,
        key: str | None = None,
        by: str | None = None,
        sent: MoveInput | None = None,
        asked: tuple[str, dict[str, Any]] | None = None,
    ) -> Accepted | None:
        """Move the session to its agent's present definition on this node, or to a `variant` of it, from its next turn
        on. A paused session moves when it is resumed. Returns None when it has that definition already and no input
        waits. Raises `Invalid` for another agent or one not known here, `Conflict` when the session is stopped or
        failed, `NotFound`, `IsolationUnavailable`. sent: as in `Sessions.put`. asked: `base` and `changes` of
        the order."""
        info, here = await self._sessions.get(session), self._node.membership
        chosen = agent or await self._node.agents.resolve(info.agent)
        if chosen.name != info.agent:
            raise Invalid(f"session {session!r} is of the agent {info.agent!r} and cannot become one of another")
        isolation = self._node.resources.demanded(chosen, info.labels.get(ACCOUNT))
        await self._node.sandboxes.demand(isolation, here.offered)
        wanted = here.needs(chosen, info.workspace, floor=isolation.required)
        if stays := tuple(tag for tag in info.needs if tag.startswith(_PLACES)):
            wanted = (*(tag for tag in wanted if not tag.startswith(_PLACES)), *stays)
        there = info.version == chosen.spec.version and set(info.needs) == set(wanted) and not info.pending
        if there and info.state not in ("stopped", "error"):
            return None
        await here.announce(wanted)
        base, changes = asked or ("", None)
        order = MoveInput(chosen.spec.version, msgspec.Raw(encode_spec(chosen.spec)), wanted, by, base, changes)
        return await self._sessions.put(session, order, key=key, sent=sent)


_STRICT: tuple[Permissions, ...] = ("read_only", "ask", "workspace", "auto")
"""Each allows what the ones before it allow."""


def _demand_known(models: Models, model: str) -> None:
    """Raise `Invalid` for a model of an account that does not exist: each turn would fail."""
    account = models.full(model).partition("/")[0]
    if "://" not in model and models.account(account) is None and models.trouble(model) is not None:
        near = difflib.get_close_matches(account, list(models.accounts()), n=1)
        hint = f"did you mean {near[0]}/…? " if near else ""
        raise Invalid(f"there is no account {account!r} for the model {model!r}; {hint}`roost models` lists models")


def demand_change(
    *, model: str | None = None, permissions: Permissions | None = None, given: Permissions | None = None
) -> None:
    """Check that an account does not give its session more than the agent's author did. given: the permissions of the
    agent here. Raises `Forbidden`."""
    who = current()
    if model is not None:
        who.demand_model(model)
    if not who.confined or permissions in (None, given):
        return
    if given not in _STRICT or permissions not in _STRICT or _STRICT.index(permissions) > _STRICT.index(given):
        raise Forbidden(f"an account may not change the permissions of this agent from {given} to {permissions}")


SERVICE = UpgradesService

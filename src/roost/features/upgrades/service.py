"""Moving sessions to other versions of their agents, on a running node."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.agent.definition import Agent, decode_spec, encode_spec
from roost.errors import Invalid
from roost.features.upgrades.api import UpgradesApi
from roost.features.upgrades.events import MoveInput
from roost.kernel.placement import PartsUnknown, needs
from roost.kernel.service_host import ServiceHost
from roost.log.protocols import Accepted
from roost.log.session_info import SessionInfo
from roost.policy.gate import Permissions

_DEFAULT = "default"
_PLACES = ("home:", "folder:")
"""Needs that name the location of a session's files: these do not change."""


class UpgradesService(UpgradesApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions

    async def move(
        self, session: str, *, model: str | None = None, by: str = "HTTP", key: str | None = None
    ) -> SessionInfo:
        agent = self._sessions.variant((await self._sessions.get(session)).agent, model=model)
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
        """As the interface says. Begins from what the newest order in the inbox asks for, so that each change stays."""
        info = await self._sessions.get(session)
        if unknown := self._node.membership.unknown_parts(info):  # else the new version would be one without them
            raise PartsUnknown(session, unknown)
        orders = [one.input for one in await self._node.store.inboxes.pending(session)]
        waiting = [one for one in orders if isinstance(one, MoveInput)]
        spec = decode_spec(bytes(waiting[-1].spec)) if waiting else await self._sessions.spec(session)
        changes: dict[str, Any] = {} if permissions is None else {"permissions": permissions}
        if model is not None:
            changes["model"] = None if model == _DEFAULT else model
        agent = self._sessions.variant(spec.name, definition=msgspec.structs.replace(spec, **changes))
        asked = MoveInput("", msgspec.Raw(msgspec.json.encode(changes)), (), by)
        await self.move_to(session, agent, key=key, by=by, sent=asked)
        return await self._sessions.get(session)

    async def move_to(
        self,
        session: str,
        agent: Agent | None = None,
        *,
        key: str | None = None,
        by: str | None = None,
        sent: MoveInput | None = None,
    ) -> Accepted | None:
        """Move the session to its agent's present definition on this node, or to a `variant` of it, from its next turn
        on. A paused session moves when it is resumed. Returns None when it has that definition already and no input
        waits. Raises `Invalid` for another agent or one not known here, `Conflict` when the session is stopped or
        failed, `NotFound`, `IsolationUnavailable`. sent: as in `Sessions.put`."""
        info, here = await self._sessions.get(session), self._node.membership
        chosen = agent or self._node.agents.get(info.agent)
        if chosen.name != info.agent:
            raise Invalid(f"session {session!r} is of the agent {info.agent!r} and cannot become one of another")
        await self._node.sandboxes.demand(chosen.spec.isolation, here.offered)
        wanted = needs(chosen, info.workspace, self._node.place, here.offered)
        if stays := tuple(tag for tag in info.needs if tag.startswith(_PLACES)):
            wanted = (*(tag for tag in wanted if not tag.startswith(_PLACES)), *stays)
        there = info.version == chosen.spec.version and set(info.needs) == set(wanted) and not info.pending
        if there and info.state not in ("stopped", "error"):
            return None
        await here.announce(wanted)
        order = MoveInput(chosen.spec.version, msgspec.Raw(encode_spec(chosen.spec)), wanted, by)
        return await self._sessions.put(session, order, key=key, sent=sent)


SERVICE = UpgradesService

"""Read, check and change definitions of agents on a running node."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.agent.definition import AgentSpec, encode_spec
from roost.authority import current
from roost.errors import Conflict, Invalid, NotFound
from roost.features.definitions.api import Checked, DefinitionEntry, DefinitionList, DefinitionsApi, DefinitionView
from roost.features.definitions.definitions import Definition, Definitions
from roost.ids import is_id
from roost.kernel.service_host import ServiceHost
from roost.validated import WrongValue

_DOOR = "api"


class DefinitionService(DefinitionsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._agents, self._sessions = host.node.agents, host.sessions
        self._definitions = Definitions(host.node.store.documents)

    async def list(self, *, after: str = "", limit: int = 100) -> DefinitionList:
        found = await self._definitions.find(owner=_owner(), after=after, limit=limit)
        entries = [
            DefinitionEntry(name=one.name, kept=one.version, door=one.door, changed=one.changed, archived=one.archived)
            for one in found
            if current().may_use(one.name)
        ]
        return DefinitionList(definitions=entries, next=found[-1].name if len(found) == limit else None)

    async def get(self, name: str) -> DefinitionView:
        known = self._agents.find(name)
        if known is not None:
            data = msgspec.json.decode(encode_spec(known))
            return DefinitionView(name=name, version=known.version, definition=data, python=bool(known.python))
        if not is_id(name) or not current().may_use(name):
            raise NotFound(f"there is no agent {name[:128]!r}")
        return _view(await self._definitions.get(name, owner=_owner()))

    async def check(self, definition: dict[str, Any]) -> Checked:
        try:
            spec = self._read(definition)
        except Invalid as error:
            return Checked(faults=[error.message])
        return Checked(faults=[], version=spec.version)

    async def put(self, name: str, definition: dict[str, Any], *, kept: int | None = None) -> DefinitionView:
        """As the interface says. Raises `Invalid`, `NotFound`, and `Conflict`: `agent_of_file`, `version_conflict`,
        `agent_archived`, `document_changed`."""
        if any(one.name == name for one in self._agents.every()):
            raise Conflict(f"agent {name!r} comes from a file of this node: change it there", code="agent_of_file")
        spec = self._read({"name": name, **definition})
        if spec.name != name:
            raise Invalid(f"the definition is of {spec.name!r}, not of {name!r}")
        if kept == 0 or (kept is None and not await self._exists(name)):
            return _view(await self._definitions.make(spec, door=_DOOR, shown={}))
        return _view(await self._definitions.change(name, lambda newest: (spec, newest.shown), version=kept))

    def _read(self, definition: dict[str, Any]) -> AgentSpec:
        """Return a definition that sessions can be made of. Raises `Invalid`."""
        try:
            spec = msgspec.convert(definition, AgentSpec)
            return self._sessions.variant(spec.name, definition=spec).spec
        except (msgspec.ValidationError, WrongValue) as error:
            raise Invalid(str(error)) from None

    async def _exists(self, name: str) -> bool:
        try:
            await self._definitions.get(name)
        except NotFound:
            return False
        return True


def _owner() -> str | None:
    who = current()
    return who.account if who.confined else None


def _view(found: Definition) -> DefinitionView:
    spec = found.agent()
    return DefinitionView(
        name=found.name, version=spec.version, definition=msgspec.json.decode(encode_spec(spec)), kept=found.version
    )


SERVICE = DefinitionService

"""Find the records of sessions and environments."""

from __future__ import annotations

import msgspec
from starlette.types import Scope

from roost.agent.definition import decode_spec
from roost.doors.openai_agents.agent_config import AgentConfig
from roost.doors.openai_agents.context import Context, missing
from roost.doors.openai_agents.environment_config import Setup
from roost.doors.openai_agents.records import ENVIRONMENT, SESSION, EnvironmentRecord, SessionRecord, read
from roost.doors.talk import Recent
from roost.errors import NotFound
from roost.ids import is_id
from roost.log.documents import Document


class SessionStore:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._owners = Recent[str, str]()

    async def find(self, scope: Scope) -> SessionRecord:
        """Return the record of the session in a request's path. A session that was made otherwise has one by its log.
        Raises `NotFound`."""
        id, owner = scope["path_params"]["session"], self._context.owner(scope)
        if not is_id(id):
            raise missing("session", id)
        found = await self.document(id)
        if found is not None:
            if found.owner != owner:
                raise missing("session", id)
            self._context.answered.known(id)
            self._owners[id] = owner
            return read(found, SessionRecord)
        return await self._by_log(id, owner)

    async def find_id(self, scope: Scope) -> str:
        """Return the id of the session in a request's path, as `find` does. Whose a session is never changes, so its
        record is read once. The session itself may be gone. Raises `NotFound`."""
        id = scope["path_params"]["session"]
        if self._owners.get(id) != self._context.owner(scope):
            return (await self.find(scope)).id
        self._context.answered.known(id)
        return id

    async def document(self, id: str) -> Document | None:
        return await self._context.documents.get(SESSION, id)

    async def environment(self, id: str, owner: str) -> tuple[EnvironmentRecord, int]:
        """Return an environment and its revision. Raises `NotFound`."""
        found = await self._context.documents.get(ENVIRONMENT, id) if is_id(id) else None
        if found is None or found.owner != owner:
            raise missing("environment", id)
        return read(found, EnvironmentRecord), found.revision

    async def _by_log(self, id: str, owner: str) -> SessionRecord:
        try:
            info, state = await self._context.sessions.state(id)
        except NotFound:
            raise missing("session", id) from None
        try:
            spec = decode_spec(state.spec)
        except msgspec.MsgspecError:
            raise missing("session", id) from None
        kind = "openai_hosted" if info.workspace is None else "self_hosted"
        setup = Setup(kind=kind, id=environment_id(id), folder=info.workspace)
        config = AgentConfig(model=spec.model or info.agent, name=spec.name, instructions=spec.instructions)
        return SessionRecord(
            id=id, created=info.created_at, owner=owner, agent=config, agent_id=spec.name, name=spec.name, setup=setup
        )


def environment_id(session: str) -> str:
    """Return the id of the environment that a session makes for itself."""
    return f"env_{session}"

"""Answer requests of OpenAI's Agents API."""

from __future__ import annotations

from collections.abc import Mapping

from roost.doors.openai_agents.agents import Agents
from roost.doors.openai_agents.artifacts import Artifacts
from roost.doors.openai_agents.automations import Automations
from roost.doors.openai_agents.context import Context
from roost.doors.openai_agents.environments import Environments
from roost.doors.openai_agents.files import Files
from roost.doors.openai_agents.session_store import SessionStore
from roost.doors.openai_agents.sessions import Sessions
from roost.doors.openai_agents.subagents import Subagents
from roost.doors.openai_agents.templates import Templates
from roost.doors.openai_agents.vaults import Vaults
from roost.doors.unavailable import unavailable
from roost.server.app_state import Api
from roost.server.door import Methods

_REASONS = {
    "/v1/agents/sessions/{session}/traces": (
        "traces go to the operator's OpenTelemetry collector; read the session's items or GET /sessions/{id}/events"
    )
}
"""What the protocol has and this home has not."""


class Service:
    def __init__(self, name: str, api: Api) -> None:
        context = Context(name, api)
        store = SessionStore(context)
        agents, vaults = Agents(context), Vaults(context)
        environments = Environments(context, store, vaults)
        self._parts = (
            agents,
            vaults,
            environments,
            Templates(context, environments),
            Sessions(context, agents, environments, vaults, store),
            Subagents(context, store),
            Artifacts(context, store),
            Automations(context, store),
            Files(context),
        )

    def routes(self) -> Mapping[str, Methods]:
        found = unavailable(_REASONS)
        for part in self._parts:
            found |= part.routes()
        return found

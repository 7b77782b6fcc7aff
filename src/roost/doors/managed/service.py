"""Answer requests of the Managed Agents API."""

from __future__ import annotations

from collections.abc import Mapping

from roost.doors.managed.agents import Agents
from roost.doors.managed.deployments import Deployments
from roost.doors.managed.environments import Environments
from roost.doors.managed.events import Events
from roost.doors.managed.files import Files
from roost.doors.managed.memory_stores import MemoryStores
from roost.doors.managed.sending import Sending
from roost.doors.managed.session_making import SessionMaking
from roost.doors.managed.sessions import Sessions
from roost.doors.managed.skills import Skills
from roost.doors.managed.threads import Threads
from roost.doors.managed.unheard import Unheard
from roost.doors.managed.vaults import Vaults
from roost.doors.requested import Answered
from roost.doors.unavailable import unavailable
from roost.server.app_state import Api
from roost.server.door import Methods

_REASONS = {
    "/v1/environments/{environment}/work": (
        "Roost runs the tools of its sessions itself: no environment has a queue of work for workers"
    ),
    "/v1/dreams": "there are no dreams: memory is consolidated as the agent's definition says",
    "/v1/tunnels": "there are no tunnels: the daemon reaches the MCP servers that it is configured with itself",
    "/v1/organizations": "an operator runs this home with `roost account`; it sends no webhooks but those of A2A",
    "/v1/user_profiles": "there are no user profiles: `roost account` keeps the accounts of a home",
}
"""What the protocol has and this home has not."""


class Service:
    def __init__(self, name: str, api: Api) -> None:
        skills = Skills(api)
        agents, environments, files, vaults = Agents(name, api, skills), Environments(api), Files(api), Vaults(api)
        answered, unheard = Answered(), Unheard()
        sending = Sending(api, files.inline, answered)
        making = SessionMaking(api, agents, environments, files, vaults, sending, answered)
        sessions = Sessions(api, making, unheard)
        events, threads = Events(api, sessions, sending, unheard), Threads(api, sessions, unheard)
        deployments = Deployments(api, making, unheard, answered)
        self._rooms = (
            skills,
            agents,
            environments,
            files,
            vaults,
            sessions,
            events,
            threads,
            deployments,
            MemoryStores(api),
        )

    def routes(self) -> Mapping[str, Methods]:
        found: dict[str, Methods] = {}
        for room in self._rooms:
            found |= room.routes()
        return {**found, **unavailable(_REASONS)}

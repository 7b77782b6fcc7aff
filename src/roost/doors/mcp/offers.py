"""What the door offers by itself."""

from __future__ import annotations

from collections.abc import Sequence

from roost.doors.mcp.catalog import Offer
from roost.doors.mcp.memory_tools import MemoryTools
from roost.doors.mcp.resources import Resources
from roost.doors.mcp.session_tools import AgentTools, SessionTools
from roost.server.app_state import Api


def offers(api: Api) -> Sequence[Offer]:
    return (AgentTools(api), SessionTools(api), MemoryTools(api), Resources(api))

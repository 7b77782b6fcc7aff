"""Memory stores, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import CallEnd, Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.memory_stores import TOOLS
from roost.tools.base import ToolContext


class MemoryStores(Feature):
    """Give the tools the stores that the session has mounted."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.memory_stores)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name in TOOLS:
            from roost.features.memory_stores.mounts import CallStores, SessionStores

            port = session.means.find(SessionStores)
            if port is not None:
                context.give(CallStores(session, port))

    def call_ends(self, session: Session, end: CallEnd) -> None:
        if end.call.call.name in TOOLS:
            from roost.features.memory_stores.mounts import CallStores

            if (stores := end.context.given(CallStores)) is not None:
                stores.settle()


FEATURE = MemoryStores()

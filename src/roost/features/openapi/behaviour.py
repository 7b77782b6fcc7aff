"""The APIs of a session, at the seams of the loop.

What reads documents and calls APIs is imported for the first session that has one."""

from __future__ import annotations

import time

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.openapi.events import AcceptApiInput, ApiPinned
from roost.features.openapi.state import OpenApiState
from roost.log.protocols import InboxItem
from roost.tools.base import ToolContext


def _accept(session: Session, item: InboxItem) -> None:
    """Pin the document that a person has accepted, if it still waits."""
    order, part = item.input, session.state.part(OpenApiState)
    assert isinstance(order, AcceptApiInput)
    api = next((one for one in session.spec.openapi if one.name == order.api), None)
    if api is None or part.waiting.get(order.api) != order.digest:
        session.log.drop(item)
        return
    pinned = ApiPinned(at=time.time(), api=api.name, digest=order.digest, spec=api.spec, operations=0, by=order.by)
    session.log.note(pinned, consume=item.id)


class OpenApiTools(Feature):
    """Offer the operations of the agent's APIs as tools."""

    takes = {AcceptApiInput: _accept}

    def used(self, session: Session) -> bool:
        return bool(session.spec.openapi)

    async def enter_turn(self, session: Session) -> None:
        from roost.features.openapi.preparing import prepare

        await prepare(session)

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        if call.call.name == "read_api_response":
            from roost.features.openapi.kept_responses import KeptResponses

            context.give(KeptResponses(session))


FEATURE = OpenApiTools()

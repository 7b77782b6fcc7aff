"""Orders for a session's sandbox, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.sandboxes.events import SandboxInput
from roost.features.sandboxes.orders import orders
from roost.features.sandboxes.state import SandboxOrders
from roost.log import events as ev
from roost.log.protocols import InboxItem


def _take(session: Session, item: InboxItem) -> None:
    orders(session).take(item)


class Sandboxes(Feature):
    """Carry out orders between two steps, and commands beside them."""

    takes = {SandboxInput: _take}

    def used(self, session: Session) -> bool:
        return bool(session.state.part(SandboxOrders).open)

    async def between_turns(self, session: Session) -> None:
        own = orders(session)
        own.lose()
        await own.begin()

    def due(self, session: Session) -> bool:
        return bool(orders(session).taken)

    async def between_steps(self, session: Session) -> None:
        await self.between_turns(session)

    async def before_end(self, session: Session, how: ev.ChildOutcome) -> None:
        if how == "stopped":
            await orders(session).close()

    def stays_awake(self, session: Session) -> bool:
        return bool(orders(session).running)

    async def before_sleep(self, session: Session) -> None:
        await orders(session).close()

    async def evicted(self, session: Session) -> None:
        await orders(session).close()


FEATURE = Sandboxes()

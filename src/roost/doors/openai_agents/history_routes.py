"""Answer requests for the turns and items of a session, or of a subagent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from starlette.types import Receive, Scope

from roost.doors.openai_agents.history import History
from roost.doors.openai_agents.paging import Page
from roost.server.door import Methods, needs
from roost.server.responses import ReplyCall, json


class HistoryRoutes(ABC):
    """What sessions and subagents have in common."""

    @abstractmethod
    async def history(self, scope: Scope) -> History:
        """Return the history of the session in a request's path. Raises `NotFound`."""

    def history_routes(self, at: str) -> Mapping[str, Methods]:
        """Return the routes below the path of one session."""
        return {
            f"{at}/items": {"GET": self.items},
            f"{at}/turns": {"GET": self.turns},
            f"{at}/turns/{{turn}}": {"GET": self.turn},
            f"{at}/turns/{{turn}}/items": {"GET": self.turn_items},
        }

    @needs("read")
    async def items(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await (await self.history(scope)).items(Page.of(scope)))

    @needs("read")
    async def turns(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, await (await self.history(scope)).turns(Page.of(scope)))

    @needs("read")
    async def turn(self, scope: Scope, receive: Receive) -> ReplyCall:
        return json(200, (await (await self.history(scope)).turn(scope["path_params"]["turn"])).resource)

    @needs("read")
    async def turn_items(self, scope: Scope, receive: Receive) -> ReplyCall:
        history = await self.history(scope)
        return json(200, await history.turn_items(scope["path_params"]["turn"], Page.of(scope)))

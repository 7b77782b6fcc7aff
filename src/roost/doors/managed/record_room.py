"""What records of one kind answer alike: read one, list, archive, delete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic

from starlette.types import Receive, Scope

from roost.doors.managed.owners import account
from roost.doors.managed.requests import TIMES, Query, answer, page_of
from roost.log.records import R, Records
from roost.server.door import needs
from roost.server.responses import ReplyCall


class RecordRoom(ABC, Generic[R]):
    """name: the part of the path that has the id. records: all of them."""

    def __init__(self, name: str, records: Records[R]) -> None:
        self._name, self.records = name, records

    @abstractmethod
    def view(self, one: R) -> dict[str, Any]:
        """Return a record as clients see it."""

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(self.view(await self.record(scope)))

    @needs("read")
    async def list(self, scope: Scope, receive: Receive) -> ReplyCall:
        query = Query(scope, ("limit", "page", "include_archived", *TIMES))
        return await page_of(self.records, query, self.view, owner=account())

    @needs("use")
    async def archive(self, scope: Scope, receive: Receive) -> ReplyCall:
        return answer(self.view(await self.records.archive(self.id(scope), owner=account())))

    @needs("use")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        one = await self.record(scope)
        await self.empty(one)
        await self.records.remove(one.id)
        return answer({"id": one.id, "type": f"{one.noun.replace(' ', '_')}_deleted"})

    async def empty(self, one: R) -> None:
        """Delete what belongs to a record that is deleted next."""

    async def record(self, scope: Scope) -> R:
        """Return the record that a request names. Raises `NotFound`."""
        return await self.records.get(self.id(scope), owner=account())

    def id(self, scope: Scope) -> str:
        return scope["path_params"][self._name]

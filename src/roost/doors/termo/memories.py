"""The memory of one agent, as termo-agent shows it: facts of the agent's own space."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from roost.authority import current, user_of
from roost.doors.termo.requests import MemoryOrder, Search
from roost.errors import Invalid
from roost.features.memory.service import LIMIT, Memory
from roost.log.facts import Fact
from roost.memory.spaces import own_spaces
from roost.server.validation_messages import said

NOTE = "memory.md"
"""The key of the fact that a plain text replaces."""
_decoder = msgspec.json.Decoder(MemoryOrder)


def space_of(agent: str) -> str:
    """Return the space in which an agent remembers for the caller."""
    who = current()
    user = user_of(who.account) if who.confined and who.account else None
    return own_spaces("", agent, user)[1]


class AgentMemory:
    def __init__(self, memory: Memory, agent: str) -> None:
        self._memory, self._space = memory, space_of(agent)

    async def all(self) -> dict[str, Any]:
        """Return the newest facts, and the text that was kept as a whole."""
        facts = (await self._memory.list(space=self._space, limit=LIMIT)).facts
        note = (await self._memory.list(space=self._space, key=NOTE, limit=1)).facts
        return {"content": note[0].text if note else None, "memories": [_shown(fact) for fact in facts]}

    async def search(self, search: Search) -> list[dict[str, Any]]:
        """Return the facts that fit best. Their `similarity` is None for one that was found by its words alone."""
        if not search.query.strip():
            raise Invalid("query is required")
        most = search.limit if search.category is None else 100
        found = (await self._memory.retrieve(search.query[:4096], space=self._space, limit=most)).facts
        fit = [one for one in found if search.category in (None, one.fact.category)]
        return [{**_shown(one.fact), "similarity": one.likeness} for one in fit[: search.limit]]

    async def change(self, content: Any) -> None:
        """Apply a change: an object with an `operation`, the JSON of one, or a text that replaces the former text.
        Raises `RoostError`."""
        order = _order(content)
        match order.operation:
            case "remember":
                await self._memory.add(self._space, order.content, category=order.category or "fact")
            case "forget":
                for fact in await self._nearest(order):
                    await self._memory.remove(fact.id)
            case "update":
                for fact in await self._nearest(order):
                    await self._memory.update(fact.id, order.content)
            case "legacy" | "":
                learned = await self._memory.add(self._space, order.content, key=NOTE)
                if learned.op == "known" and learned.former[0].text != learned.fact.text:
                    await self._memory.update(learned.former[0].id, order.content)
            case other:
                raise Invalid(f"content.operation: {other[:64]!r} is none of remember, forget, update")

    async def _nearest(self, order: MemoryOrder) -> Sequence[Fact]:
        if not order.query.strip():
            raise Invalid(f"content.query: say which memory to {order.operation}")
        found = await self._memory.retrieve(order.query[:4096], space=self._space, limit=1)
        return [one.fact for one in found.facts]


def _order(content: Any) -> MemoryOrder:
    """Read a change as termo-agent does: text that is no JSON object is a plain text."""
    try:
        if isinstance(content, dict):
            return msgspec.convert(content, MemoryOrder)
        if isinstance(content, str) and content.lstrip().startswith("{"):
            return _decoder.decode(content)
    except msgspec.ValidationError as error:
        raise Invalid(f"content: {said(error, 'it')}") from None
    except (msgspec.DecodeError, RecursionError):
        pass
    if isinstance(content, str):
        return MemoryOrder(content=content)
    raise Invalid("content: send a text, or an object with an `operation`")


def _shown(fact: Fact) -> dict[str, Any]:
    at = datetime.fromtimestamp(fact.created, UTC).isoformat()
    return {
        "id": fact.id,
        "content": fact.text,
        "category": fact.category,
        "created_at": at,
        "updated_at": at,
        "relationships": [],
    }

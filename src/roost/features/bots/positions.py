"""Where a bot is in what its platform keeps for it: in the store, so that the next node goes on there."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from roost.log.documents import Documents, Put

POSITION = "bot.position"
P = TypeVar("P", bound=msgspec.Struct)


class Position:
    """The position of one bot, of a shape that its platform chooses. It moves after what lies before it was taken, so a
    crash between repeats that, and loses nothing. One node moves it: another one that has not read it since gets
    `Conflict`."""

    def __init__(self, documents: Documents, bot: str) -> None:
        self._documents, self._bot = documents, bot
        self._revision = 0

    async def load(self, type: type[P]) -> P | None:
        """Return the position; None before the first one, and when it is of another platform."""
        found = await self._documents.get(POSITION, self._bot)
        self._revision = 0 if found is None else found.revision
        try:
            return None if found is None else msgspec.json.decode(found.body, type=type)
        except msgspec.MsgspecError:
            return None

    async def save(self, position: msgspec.Struct) -> None:
        body = msgspec.json.encode(position)
        made = await self._documents.write([Put(kind=POSITION, id=self._bot, body=body, revision=self._revision)])
        assert made[0] is not None
        self._revision = made[0].revision

"""A journal that hands out only the sessions that a command is about."""

from __future__ import annotations

from pathlib import Path

from roost.errors import NotFound
from roost.log.inputs import admits, urgency
from roost.log.journal import Claim
from roost.log.sqlite import SqliteJournal
from roost.log.sqlite.schema import Durability


class ScopedJournal(SqliteJournal):
    """`roost run` in its own process does the work of its own session, not of all that lie unfinished in the home."""

    def __init__(self, path: Path, durability: Durability) -> None:
        super().__init__(path, durability)
        self.scope: set[str] = set()

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        if session is not None:
            return await super().claim(node, session=session, limit=limit)
        claims: list[Claim] = []
        for one in sorted(self.scope):
            try:
                if await self._has_work(one, node):
                    claims += await super().claim(node, session=one)
            except NotFound:
                self.scope.discard(one)
        return claims

    async def _has_work(self, session: str, node: str) -> bool:
        info = await self.get(session)
        if info.owner == node:
            return False
        if info.state == "running" and info.phase == "working":
            return True
        least = admits(info.state, info.phase)
        return bool(info.pending) and any(urgency(item.input) >= least for item in await self.pending(session))

"""Poll watched sessions now and then: a notification may be lost with its sender."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

from roost.errors import RoostError
from roost.log.commit_watchers import Watchers
from roost.log.protocols import Append
from roost.stores.postgres.database import Pool
from roost.stores.postgres.node_connection import NodeConnection
from roost.stores.postgres.notify import INBOX, LOG, changes

_chance = random.Random()
"""Its own generator: the program's may be seeded."""
_PACE = 1.0
_ALONE = 10
"""Rounds without other nodes after which there is nothing to poll for."""
_LOOK = """
SELECT id, head, inputs FROM sessions WHERE id = ANY ($1)
UNION SELECT id, head, inputs FROM sessions WHERE owner = ANY ($2) AND pending > 0"""


class PollFallback:
    """Polls the watched sessions, and those that nodes of this journal own."""

    def __init__(self, pool: Pool, watchers: Watchers, live: NodeConnection) -> None:
        self._pool = pool
        self._watchers = watchers
        self._live = live
        self._seen: dict[str, tuple[int, int]] = {}
        self._alone = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._main())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def committed(self, appends: Sequence[Append]) -> None:
        """Record this journal's own commits, so that they do not count as news."""
        seen = self._seen
        if seen:
            for append in appends:
                if append.session in seen:
                    seen[append.session] = (append.expected + len(append.bodies), seen[append.session][1])

    async def _main(self) -> None:
        while True:
            await asyncio.sleep(_PACE * _chance.uniform(0.8, 1.2))
            self._alone = 0 if self._live.notices.wanted else self._alone + 1
            watched = self._watchers.sessions()
            if self._alone > _ALONE or not (watched or self._live.nodes):
                self._seen.clear()
                continue
            with suppress(RoostError):  # the next round may find the database up, or no longer watch a refused name
                await self._look(watched)

    async def _look(self, watched: list[str]) -> None:
        nodes = list(self._live.nodes)
        found = await self._pool.run(lambda link: link.fetch(_LOOK, watched, nodes))
        now = {session: (head, count) for session, head, count in found}
        gone = set(watched) - now.keys()
        news = [session for session, place in now.items() if self._seen.get(session) not in (None, place)]
        fresh = [session for session in now if session not in self._seen]
        self._seen = now
        self._watchers.publish(change for one in (*news, *fresh, *gone) for change in changes(one, LOG | INBOX))

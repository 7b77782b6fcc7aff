"""What the door does without a request: it pushes notifications."""

from __future__ import annotations

import asyncio

from roost.errors import RoostError
from roost.log.documents import DocumentQuery
from roost.server.app_state import Api

_AFTER_FAILURE = 1.0


async def work(api: Api) -> None:
    """Push notifications as soon as a client wants some; until then this is one look at the start, and a listener."""
    documents, made = api.runtime.node.store.documents, asyncio.Event()
    stop = documents.watch("a2a.push", made.set)
    try:
        while not await _any(api):
            await made.wait()
            made.clear()
    finally:
        stop()
    from roost.doors.a2a.pusher import Pusher

    await Pusher(api).run()


async def _any(api: Api) -> bool:
    while True:
        try:
            return bool(await api.runtime.node.store.documents.find(DocumentQuery(kind="a2a.push", limit=1)))
        except RoostError:
            await asyncio.sleep(_AFTER_FAILURE)

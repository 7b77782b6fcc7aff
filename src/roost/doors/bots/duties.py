"""What the door does without a request: it works for the bots of the home's file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.server.app_state import Api

_LOOK_SECONDS = 1.0


async def work(api: Api) -> None:
    """Work for each bot as long as the file names it. Until there is a file this is a look at its name."""
    path = api.runtime.home / "bots.toml"
    while True:
        if await asyncio.to_thread(path.exists):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    from roost.doors.bots.bot_workers import BotWorkers

    workers = BotWorkers(api)
    try:
        stamp = None
        while True:
            if (found := await asyncio.to_thread(_stamp, path)) != stamp:
                stamp = found
                await workers.read()
            workers.reconcile()
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await workers.close()


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes with the file. Blocks."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size

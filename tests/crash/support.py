"""A real daemon for a test, with a scripted model, and what can be asked of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from roost.stores.sqlite.store import open_sqlite
from roost.stub.provider import ProviderServer
from tests.harness.crash.check import check
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.daemon import Settings
from tests.harness.crash.hands import Hands
from tests.harness.crash.plans import AGENT, script
from tests.harness.crash.process import DaemonProcess
from tests.harness.crash.witness import effects


async def begun_and_killed(program: str, home: Path) -> None:
    """Run a Python program with the home as its argument, until it prints a line; then kill -9."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(home)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40):
            assert await process.stdout.readline() == b"began\n"
    finally:
        process.kill()
        await process.wait()


class Rig:
    def __init__(self, process: DaemonProcess, http: HttpDaemon, provider: ProviderServer) -> None:
        self.process = process
        self.http = http
        self.provider = provider
        self.database = process.settings.home / "roost.db"

    async def user(self, session: str, agent: str = AGENT) -> Hands:
        hands = Hands(self.http, session, agent=agent)
        await hands.create()
        return hands

    async def check(self, user: Hands) -> None:
        """Everything has ended and nothing is lost."""
        await user.settle()
        assert self.provider.stats.violations == 0, self.provider.stats.reasons
        async with asyncio.timeout(30):
            while (await self.get(user.session))["info"]["owner"] is not None:
                await asyncio.sleep(0.05)
        journal = await open_sqlite(self.database)
        try:
            seen = effects(self.process.settings.witness)
            await check(journal, user.session, sent=user.sent, effects=seen, settled=True, timers=user.timers)
        finally:
            await journal.close()

    async def get(self, session: str) -> Any:
        import msgspec

        return msgspec.json.decode(await self.http.order("GET", f"/sessions/{session}"))

    async def post(self, session: str, text: str) -> tuple[int, Any]:
        """One try to say something: (status, answer)."""
        import msgspec

        status, answer = await self.http.once("POST", f"/sessions/{session}/messages", {"text": text}, key=text[:200])
        return status, msgspec.json.decode(answer)


@contextlib.asynccontextmanager
async def rig(folder: Path, *, home: Path | None = None, delay: float = 0.0, **settings: Any) -> AsyncIterator[Rig]:
    """`delay` is the model's, at most, in seconds; `home` is made by the daemon."""
    with ProviderServer(script(delay=(0.0, delay))) as provider:
        process = DaemonProcess(
            Settings(
                home=home or folder / "home",
                model=f"{provider.url}#scripted",
                witness=folder / "effects.jsonl",
                **settings,
            )
        )
        http = HttpDaemon(process.endpoint)
        try:
            await process.start()
            yield Rig(process, http, provider)
            await process.stop()
        finally:
            await http.close()
            process.close()

"""kill -9 of a real daemon before and after every commit of an action, or before and after those that it is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.harness.crash.actions import ACTIONS, Strike
from tests.harness.crash.check import problems
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.daemon import Settings
from tests.harness.crash.hands import PATIENCE, Hands
from tests.harness.crash.plans import AGENT
from tests.harness.crash.process import DaemonProcess
from tests.harness.crash.reader import Reader
from tests.harness.crash.report import Report
from tests.harness.crash.sights import family
from tests.harness.crash.witness import effects

from roost.stores.open import open_store
from roost.stub.provider import ProviderServer

_MOST = 100
"""Commits of one action; more than there ever are."""
EVERY: Sequence[Strike] = [Strike(at, when) for at in range(1, _MOST) for when in ("before", "after")]


async def kill_at_every_commit(
    folder: Path,
    action: str = "turn",
    *,
    strikes: Sequence[Strike] = EVERY,
    store: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """The daemon that recovers one session is the one that dies in the next, at the next of the `strikes`: of `EVERY`
    one until a session had no such commit, of others all. A reader follows each session throughout. `store`: the
    address of an empty one, in place of the home's own."""
    report = Report(f"every commit of {action}" if strikes is EVERY else f"commits of {action}")
    began = time.monotonic()
    with ProviderServer(ACTIONS[action].script) as provider:
        settings = Settings(
            home=folder / "home",
            model=f"{provider.url}#scripted",
            witness=folder / "effects.jsonl",
            trace=folder / "trace",
            action=action,
            store=store,
            linger=0.02,
        )
        ACTIONS[action].prepare(settings.home, settings.model)
        one = _Killing(settings, report, strikes, say)
        await one.run()
        report.end(provider.stats, len(effects(settings.witness)), one.daemon.starts, one.resumed)
    report.seconds = time.monotonic() - began
    return report


class _Killing:
    def __init__(
        self, settings: Settings, report: Report, strikes: Sequence[Strike], say: Callable[[str], None]
    ) -> None:
        self.daemon = DaemonProcess(settings)
        self.resumed: list[float] = []
        self._http = HttpDaemon(self.daemon.endpoint)
        self._action = ACTIONS[settings.action]
        self._report, self._strikes, self._say = report, strikes, say

    async def run(self) -> None:
        try:
            self._spawn(0)
            await self.daemon.healthy()
            for place in range(len(self._strikes)):
                killed = await self._round(place)
                if not killed and self._strikes is EVERY:
                    break
            else:
                assert self._strikes is not EVERY, f"the action did not end within {_MOST} commits"
            await self.daemon.stop()
        finally:
            await self._http.close()
            self.daemon.close()

    def _spawn(self, place: int) -> None:
        """The daemon that dies at that strike; past the last one, one that lives."""
        at, when, only = self._strikes[place] if place < len(self._strikes) else (None, "after", "")
        self.daemon.spawn(at=at, when=when, only=only, session=f"s{place}")

    async def _round(self, place: int) -> bool:
        """Whether the daemon was killed."""
        report, daemon = self._report, self.daemon
        user = Hands(self._http, f"s{place}", agent=AGENT)
        playing = asyncio.create_task(self._play(user))
        if killed := await self._dies_first(playing):
            report.kills += 1
            report.commits.append((daemon.settings.trace or Path()).read_text())
            self._spawn(place + 1)
            await daemon.healthy()
        reader = await playing
        if killed:
            self.resumed.append(time.monotonic() - daemon.spawned_at)
        found = await self._check(user, reader)
        if not killed and self._strikes is not EVERY:
            found.append(f"no commit was {self._strikes[place]}")
            await daemon.stop()
            self._spawn(place + 1)
            await daemon.healthy()
        report.problems += [f"killed {report.commits[-1] if killed else 'nowhere'}: {one}" for one in found]
        report.recovered += killed and not found
        self._say(f"{report.commits[-1] if killed else 'not killed'}: {found or 'as it must be'}")
        return killed

    async def _play(self, user: Hands) -> Reader:
        await user.create()
        reader = Reader(self.daemon.endpoint, user.session)
        await self._action.play(user)
        await user.settle()
        return reader

    async def _dies_first(self, playing: asyncio.Task[Reader]) -> bool:
        """Whether the daemon died before, or soon after, the action ended."""
        while not playing.done():
            if await self.daemon.died(0.05):
                return True
        return await self.daemon.died(self.daemon.settings.linger + 1.0)

    async def _check(self, user: Hands, reader: Reader) -> list[str]:
        settings, session = self.daemon.settings, user.session
        await user.settle()
        journal = await open_store(settings.store or settings.home / "roost.db")
        try:
            async with asyncio.timeout(PATIENCE):
                while (await journal.sessions.get(session)).owner is not None:
                    await asyncio.sleep(0.02)
            records = await journal.logs.read(session)
            await reader.caught_up(len(records))
            seen = effects(settings.witness)
            found = await problems(journal, session, sent=user.sent, effects=seen, settled=True, timers=user.timers)
            found += await self._action.sight(journal, settings.home, session)
            for one in await family(journal, session):
                log = [record.event for record in await journal.logs.read(one)]
                mine = one == session
                self._report.count(log, len(user.sent) * mine, reader.breaks * mine)
        finally:
            await journal.close()
            await reader.close()
        return [*found, *reader.problems(records)]

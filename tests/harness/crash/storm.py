"""kill -9 at random instants, under several users at once who steer, cancel, pause and approve."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.crash.check import problems
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.daemon import Settings
from tests.harness.crash.hands import Hands
from tests.harness.crash.plans import AGENT, CAREFUL, script
from tests.harness.crash.process import DaemonProcess, commands_of
from tests.harness.crash.reader import Reader
from tests.harness.crash.report import Report
from tests.harness.crash.scenarios import at_random
from tests.harness.crash.witness import effects

from roost.errors import RoostError
from roost.log import events as ev
from roost.stores.sqlite.store import open_sqlite
from roost.stub.provider import ProviderServer

_IN_START, _RUNNING = (0.0, 0.6), (0.0, 1.0)
"""Seconds: a kill comes this long after the process was started (one in six), or after it was healthy."""
_LONGEST_SESSION = 5


async def storm(
    folder: Path, *, kills: int, users: int = 4, seed: int = 0, say: Callable[[str], None] = lambda _: None
) -> Report:
    """`kills` kills at instants drawn from `seed`. After each restart the sessions that are open are checked; each
    session is checked as a whole when its user is done with it. Time is real: a seed does not repeat a run exactly."""
    report = Report("random instants")
    began = time.monotonic()
    with ProviderServer(script(seed=seed, delay=(0.0, 0.15), pace=0.002)) as provider:
        settings = Settings(
            home=folder / "home",
            model=f"{provider.url}#scripted",
            witness=folder / "effects.jsonl",
            tools=(0.0, 0.1),
        )
        one = _Storm(settings, report, users, random.Random(seed), say)
        await one.run(kills)
        report.end(provider.stats, len(effects(settings.witness)), one.starts, one.resumed)
    report.seconds = time.monotonic() - began
    return report


class _User:
    """A user with a session and a reader of it."""

    def __init__(self, hands: Hands, reader: Reader) -> None:
        self.hands = hands
        self.reader = reader

    @property
    def in_turn(self) -> bool:
        turns = [seen.body for seen in self.reader.seen if seen.body.startswith(b'{"type":"turn.')]
        return bool(turns) and turns[-1].startswith(b'{"type":"turn.started"')


class _Storm:
    def __init__(
        self, settings: Settings, report: Report, users: int, chance: random.Random, say: Callable[[str], None]
    ) -> None:
        self._report = report
        self._users = users
        self._chance = chance
        self._say = say
        self._daemon = DaemonProcess(settings)
        self._http = HttpDaemon(self._daemon.endpoint)
        self._open: dict[str, _User] = {}
        self._over = False
        self._sessions = 0
        self.resumed: list[float] = []

    @property
    def starts(self) -> list[float]:
        return self._daemon.starts

    async def run(self, kills: int) -> None:
        report = self._report
        try:
            await self._daemon.start()
            users = [asyncio.create_task(self._user(f"u{number}")) for number in range(self._users)]
            try:
                while report.kills < kills and not any(user.done() for user in users):
                    await self._kill()
            finally:
                self._over = True
                ends = await asyncio.gather(*users, return_exceptions=True)
            report.problems += [f"a user failed: {type(end).__name__}: {end}" for end in ends if end is not None]
            await self._daemon.stop()
            if left := commands_of(self._daemon.settings.home):
                report.problems.append(f"commands outlived the daemon's graceful stop: {sorted(left)}")
        finally:
            await self._http.close()
            self._daemon.close()
            for user in self._open.values():
                await user.reader.close()
        report.recovered = report.kills if not report.problems else report.recovered

    # The one who kills

    async def _kill(self) -> None:
        report, daemon = self._report, self._daemon
        await asyncio.sleep(self._chance.uniform(*_RUNNING))
        daemon.kill()
        report.kills += 1
        cut = [(user.reader, len(user.reader.seen)) for user in self._open.values() if user.in_turn]
        orphans = commands_of(daemon.settings.home)
        report.orphans_seen += bool(orphans)
        daemon.spawn()
        while self._chance.random() < 1 / 6 and report.kills:
            await asyncio.sleep(self._chance.uniform(*_IN_START))
            daemon.kill()
            report.kills += 1
            daemon.spawn()
        await daemon.healthy()
        watching = asyncio.create_task(self._first_event(cut, daemon.spawned_at))
        found = await self._check_open(orphans)
        report.problems += [f"after kill {report.kills}: {one}" for one in found]
        report.recovered = report.kills if not report.problems else report.recovered
        await watching
        self._say(f"kill {report.kills}: healthy after {daemon.starts[-1]:.2f} s, {len(cut)} turns were cut")

    async def _first_event(self, cut: list[tuple[Reader, int]], since: float) -> None:
        """When the sessions whose turns were cut go on."""
        for reader, known in cut:
            await reader.caught_up(known + 1, 5.0)
        times = [reader.seen[known].at - since for reader, known in cut if len(reader.seen) > known]
        self.resumed += times[:1] if not times else [min(times)]

    async def _check_open(self, orphans: dict[int, bytes]) -> list[str]:
        found: list[str] = []
        now = commands_of(self._daemon.settings.home)
        if left := {pid for pid, started in orphans.items() if now.get(pid) == started}:
            found.append(f"commands of the killed daemon still run: {sorted(left)}")
        for user in list(self._open.values()):
            found += await self._problems(user, settled=False)
        return found

    # The users

    async def _user(self, name: str) -> None:
        chance = random.Random(f"{name}:{self._chance.random()}")
        while not self._over:
            self._sessions += 1
            session = f"{name}-{self._sessions}"
            hands = Hands(self._http, session, agent=chance.choice([AGENT, AGENT, AGENT, CAREFUL]), poll=0.1)
            hands.decide(lambda _: chance.choice(["approve", "approve", "reject"]))
            await hands.create()
            user = self._open[session] = _User(hands, Reader(self._daemon.endpoint, session))
            for _ in range(chance.randint(1, _LONGEST_SESSION)):
                if not self._over:
                    await at_random(hands, chance)
            await hands.settle()
            await self._finish(user)

    async def _finish(self, user: _User) -> None:
        """The user is done with the session: now nothing may be left open."""
        report, session = self._report, user.hands.session
        if user.hands.sent or user.hands.timers:  # else the storm was over before the user said anything
            await user.hands.seen(ev.TurnCompleted)
        log = await self._http.log(session)
        await user.reader.caught_up(len(log))
        found = await self._problems(user, settled=True)
        await user.reader.close()
        del self._open[session]
        report.problems += found
        report.count(log, len(user.hands.sent) + len(user.hands.timers), user.reader.breaks)

    async def _problems(self, user: _User, *, settled: bool) -> list[str]:
        hands, settings = user.hands, self._daemon.settings
        sent, timers = list(hands.sent), list(hands.timers)
        try:
            journal = await open_sqlite(settings.home / "roost.db")
        except RoostError as error:
            return [f"the store cannot be opened: {error}"]
        try:
            records = await journal.logs.read(hands.session)
            seen = [effect for effect in effects(settings.witness) if effect.session == hands.session]
            found = await problems(journal, hands.session, sent=sent, effects=seen, settled=settled, timers=timers)
            read = user.reader.problems(records) if settled else user.reader.faults
        finally:
            await journal.close()
        return [f"{hands.session}: {one}" for one in [*found, *read]]

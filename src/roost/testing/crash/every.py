"""kill -9 before and after every commit of one scripted turn with two tools, or of a schedule's firing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from roost.log.sqlite import SqliteJournal
from roost.testing.crash.check import problems
from roost.testing.crash.client import HttpDaemon
from roost.testing.crash.daemon import Settings
from roost.testing.crash.hands import Hands
from roost.testing.crash.killing import When
from roost.testing.crash.plans import AGENT, message, script
from roost.testing.crash.process import DaemonProcess
from roost.testing.crash.reader import Reader
from roost.testing.crash.report import Report
from roost.testing.crash.witness import effects
from roost.testing.provider import ProviderServer

_MOST = 60
"""Commits of one turn; more than there ever are."""


async def kill_at_every_commit(
    folder: Path, *, scheduled: bool = False, say: Callable[[str], None] = lambda _: None
) -> Report:
    """The daemon that recovers one session is the one that dies in the next: before, or after, a later commit. A reader
    follows each session throughout. With `scheduled` nobody speaks: a schedule is set, fires, and is over."""
    report = Report("every commit of a firing" if scheduled else "every commit")
    resumed: list[float] = []
    began = time.monotonic()
    with ProviderServer(script(delay=(0.0, 0.01), pace=0.001)) as provider:
        settings = Settings(
            home=folder / "home",
            model=f"{provider.url}#scripted",
            witness=folder / "effects.jsonl",
            trace=folder / "trace",
        )
        daemon = DaemonProcess(settings)
        http = HttpDaemon(daemon.endpoint)
        try:
            await _run(daemon, http, report, resumed, say, scheduled=scheduled)
            await daemon.stop()
        finally:
            await http.close()
            daemon.close()
        report.end(provider.stats, len(effects(settings.witness)), daemon.starts, resumed)
    report.seconds = time.monotonic() - began
    return report


async def _run(
    daemon: DaemonProcess,
    http: HttpDaemon,
    report: Report,
    resumed: list[float],
    say: Callable[[str], None],
    *,
    scheduled: bool,
) -> None:
    rounds: list[tuple[int, When]] = [(at, when) for at in range(1, _MOST) for when in ("before", "after")]
    names = [f"s{at}-{when}" for at, when in rounds]
    await daemon.start(at=rounds[0][0], when=rounds[0][1], session=names[0])
    for place, name in enumerate(names):
        user = Hands(http, name, agent=AGENT)
        playing = asyncio.create_task(_play(user, daemon, scheduled=scheduled))
        killed = await _dies_first(daemon, playing)
        if killed:
            report.kills += 1
            report.commits.append((daemon.settings.trace or Path()).read_text())
            at, when = rounds[place + 1]
            daemon.spawn(at=at, when=when, session=names[place + 1])
            await daemon.healthy()
        reader = await playing
        if killed:
            resumed.append(time.monotonic() - daemon.spawned_at)
        found = await _check(daemon, user, reader, report)
        report.problems += [f"killed {report.commits[-1] if killed else 'nowhere'}: {one}" for one in found]
        report.recovered += killed and not found
        if not killed:
            return
        say(f"{report.commits[-1]}: {found or 'recovered'}")
    raise AssertionError(f"the turn did not end within {_MOST} commits")


async def _play(user: Hands, daemon: DaemonProcess, *, scheduled: bool) -> Reader:
    await user.create()
    reader = Reader(daemon.endpoint, user.session)
    if scheduled:
        await user.set_schedule("soon", 0.05, message("two"))
    else:
        await user.send(message("two"))
    await user.settle()
    return reader


async def _dies_first(daemon: DaemonProcess, playing: asyncio.Task[Reader]) -> bool:
    """Whether the daemon died before, or soon after, the turn ended."""
    while not playing.done():
        if await daemon.died(0.05):
            return True
    return await daemon.died(daemon.settings.linger + 1.0)


async def _check(daemon: DaemonProcess, user: Hands, reader: Reader, report: Report) -> list[str]:
    journal = await SqliteJournal.open(daemon.settings.home / "roost.db")
    try:
        await user.settle()
        records = await journal.read(user.session)
        await reader.caught_up(len(records))
        seen = effects(daemon.settings.witness)
        found = await problems(journal, user.session, sent=user.sent, effects=seen, settled=True, timers=user.timers)
    finally:
        await journal.close()
        await reader.close()
    report.count([record.event for record in records], len(user.sent), reader.breaks)
    return [*found, *reader.problems(records)]

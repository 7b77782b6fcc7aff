"""The users of a cluster: they come in through any node, and look at everything when they are done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.harness.cluster.recorder import Recorder
from tests.harness.cluster.report import ClusterReport
from tests.harness.crash.check import problems
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.hands import PATIENCE, Hands
from tests.harness.crash.plans import AGENT, CAREFUL
from tests.harness.crash.reader import Reader
from tests.harness.crash.scenarios import at_random
from tests.harness.crash.witness import Effect
from tests.harness.linearizability import History

from roost.client.daemon_address import Endpoint, Unreachable
from roost.errors import StoreFailed
from roost.log.protocols import Record
from roost.log.store import Store

T = TypeVar("T")
TRY_SECONDS = 3.0
"""A client gives up a request, and a stream that says nothing, after so long: a suspended node never answers."""
_LONGEST_SESSION = 4


class Users:
    """`over` tells them to come to an end. Each session is checked as a whole when its user is done with it."""

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        store: Store,
        witness: Path,
        report: ClusterReport,
        *,
        seed: int,
        plans: Sequence[str],
    ) -> None:
        self.over = False
        self._endpoint = endpoint
        self._store = store
        self._report = report
        self._chance = random.Random(seed)
        self._plans = plans
        self._history = History()
        self._http = HttpDaemon(endpoint, timeout=TRY_SECONDS, fresh=True)
        self._recorder = Recorder(self._http, self._history)
        self._effects = Effects(witness)
        self._readers: set[Reader] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, count: int) -> None:
        self._tasks = [asyncio.create_task(self._user(f"u{number}")) for number in range(count)]

    @property
    def failed(self) -> bool:
        """One of them gave up."""
        return any(task.done() for task in self._tasks)

    async def end(self) -> None:
        """Each brings the session that it has to its end."""
        self.over = True
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._report.problems += [f"a user failed: {type(end).__name__}: {end}" for end in ends if end is not None]
        self._report.refusals = self._http.refusals
        self._report.effects = self._effects.count

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for reader in self._readers:
            await reader.close()
        await self._http.close()

    async def _user(self, name: str) -> None:
        chance, number = random.Random(f"{name}:{self._chance.random()}"), 0
        while not self.over:
            number += 1
            hands = Hands(self._recorder, f"{name}-{number}", agent=chance.choice([AGENT, AGENT, CAREFUL]), poll=0.1)
            hands.decide(lambda _: chance.choice(["approve", "approve", "reject"]))
            await hands.create()
            reader = Reader(self._endpoint, hands.session, silence=TRY_SECONDS)
            self._readers.add(reader)
            for _ in range(chance.randint(1, _LONGEST_SESSION)):
                if not self.over:
                    await at_random(hands, chance, self._plans)
            await hands.settle()
            await self._finish(hands, reader)

    async def _finish(self, hands: Hands, reader: Reader) -> None:
        report, session, history = self._report, hands.session, self._history
        records = await patiently(lambda: self._log(session))
        await reader.caught_up(len(records))
        await reader.close()
        self._readers.discard(reader)
        for seen in reader.seen:
            history.shown(session, seen.seq, seen.body, seen.at)
        effects = self._effects.of(session)
        found = await patiently(
            lambda: problems(self._store, session, sent=hands.sent, effects=effects, settled=True, timers=hands.timers)
        )
        found += reader.problems(records)
        report.problems += [f"{session}: {one}" for one in found]
        report.problems += history.problems(session, [record.body for record in records])
        report.operations += len(history.accepts[session]) + len(history.reads[session])
        report.count([record.event for record in records], len(hands.sent) + len(hands.timers), reader.breaks)
        self._recorder.forget(session)
        if self._chance.random() < 0.3:
            await self._delete(session)

    async def _delete(self, session: str) -> None:
        """Through any node; a repetition finds that it is gone."""
        deadline, status = time.monotonic() + PATIENCE, 0
        while status not in (200, 204, 404):
            if time.monotonic() > deadline:
                raise AssertionError(f"session {session!r} could not be deleted: {status}")
            with contextlib.suppress(Unreachable):
                status, _ = await self._http.once("DELETE", f"/sessions/{session}")
            await asyncio.sleep(0.05)
        self._report.deleted += 1
        with contextlib.suppress(Unreachable):
            status, answer = await self._http.once("GET", f"/sessions/{session}")
            if status not in (404, 503):
                self._report.problems.append(f"{session} was deleted, and a node still knows it: {answer!r}")

    async def _log(self, session: str) -> list[Record]:
        """All of it, once it has come to rest."""
        deadline = time.monotonic() + PATIENCE
        while True:
            records: list[Record] = []
            while page := await self._store.logs.read(session, after=len(records)):
                records += page
            info = await self._store.sessions.get(session)
            if info.phase == "idle" and not info.pending and info.head == len(records):
                return records
            if time.monotonic() > deadline:
                raise AssertionError(f"session {session!r} never came to rest")
            await asyncio.sleep(0.05)


async def patiently(look: Callable[[], Awaitable[T]]) -> T:
    """What looking at the store gives, which may be away for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await look()
        except StoreFailed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


class Effects:
    """What the tools did, read as it comes."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._at = 0
        self._by_session: dict[str, list[Effect]] = defaultdict(list)

    def of(self, session: str) -> list[Effect]:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._at += len(line)
                    self.count += 1
                    effect = msgspec.json.decode(line, type=Effect)
                    self._by_session[effect.session].append(effect)
        return self._by_session[session]

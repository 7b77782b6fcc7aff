"""A node: it beats, looks after its neighbours, claims what is free, and lets everything go when its lease is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.scale.clock import Clock
from bench.scale.costs import costs
from bench.scale.database import Database
from roost.kernel.config import KernelConfig

AT_ONCE = 64
"""Sessions of one claim, as the kernel asks for them."""


class Node:
    """`woken(session, node)` is called when a claimed session goes on, `dropped(session)` when the node lets go of one
    that may be another's. `tell` reaches the other nodes."""

    def __init__(
        self,
        number: int,
        clock: Clock,
        database: Database,
        woken: Callable[[int, Node], None],
        dropped: Callable[[int], None],
        tell: Callable[[Node], None],
    ) -> None:
        self.number = number
        self.live: dict[int, int] = {}
        """Sessions in its memory, with the epoch that it believes in."""
        self.process = True
        self.reachable = True
        self.stopped = False
        """By SIGSTOP: it does nothing, and does not know."""
        self.linked = True
        self.lease = 0.0
        self.fenced = 0
        """Sessions that others took while it ran them."""
        self._clock = clock
        self._database = database
        self._woken = woken
        self._dropped = dropped
        self._tell = tell
        self._claiming = self._again = self._probing = False
        self._grace_until = 0.0
        self._loop_free = 0.0
        self._pause = 0.0
        self._config = KernelConfig()
        self._protocol = costs()["protocol"]

    def start(self) -> None:
        """It has beaten just now, and holds its lock."""
        self._database.rows.beat(self.number, self._clock.now + self._config.lease)
        self._database.lock(self.number)
        self.lease = self._clock.now + self._config.lease
        self._clock.every(self._protocol["tick_seconds"], self._tick)
        self._clock.every(self._config.lease / 3, self._beat, spread=0.0)
        self._clock.every(self._config.scan, self._scan, spread=0.0)
        self._clock.after(self._config.lease, self._check)

    @property
    def runs(self) -> bool:
        return self.process and not self.stopped

    def look(self) -> None:
        """There may be work."""
        self._again = True
        self._claim()

    def told(self) -> None:
        """Anything may have changed elsewhere: what is not ours any more is dropped."""
        if self.runs and self.reachable and self.linked:
            for session in list(self.live):
                self.append(session)
            self.look()

    def append(self, session: int) -> None:
        """Or look: either way it learns that the session is another's."""
        epoch = self.live.get(session) if self.runs else None
        if epoch is not None and not self._database.rows.append(session, epoch):
            del self.live[session]
            self.fenced += 1
            self._dropped(session)

    def proceed(self) -> None:
        """SIGCONT. The worst case: what it was about to write goes out before it looks at the clock."""
        self.stopped = False
        rows = self._database.rows
        for session, epoch in self.live.items():
            rows.stale += rows.owner[session] != self.number and rows.append(session, epoch)
        if self.lease <= self._clock.now:
            self.live.clear()
        self._check()

    def _ask(self, cpu_us: float, do: Callable[[], Any], answer: Callable[[Any], None], *, sync: bool = True) -> None:
        def back(result: Any) -> None:
            if self.runs and self.reachable:
                answer(result)

        if self.reachable and self._database.up:
            self._database.call(cpu_us, do, back, sync=sync)
        else:
            self._clock.after(2.0, lambda: answer(None) if self.runs else None)

    def _tick(self) -> bool:
        if self.runs and self.linked:
            self._look_around()
        return self.process

    def _look_around(self) -> None:
        """Whoever has another server or a young connection buries nobody before his lease is over."""
        if self._probing:
            return
        self._probing = True
        around = int(self._protocol["around"]) if self._clock.now >= self._grace_until else 0
        probe = lambda: self._database.probe(self.number, around)  # noqa: E731
        self._ask(self._database.tick_us(), probe, self._probed, sync=False)

    def _probed(self, found: tuple[list[int], list[int]] | None) -> None:
        """Who was only cut off is back a moment later."""
        cut, late = found or ((), ())
        if not cut and not late:
            self._ticked(None if found is None else [])
            return
        bury = lambda: self._database.bury([*cut, *late])  # noqa: E731
        self._clock.after(
            self._protocol["back_seconds"] if cut else 0.0, lambda: self._ask(0.0, bury, self._ticked, sync=False)
        )

    def _ticked(self, buried: list[int] | None) -> None:
        self._probing = False
        if buried is None:
            self.cut()
        elif buried:
            self._tell(self)
            self.look()

    def cut(self) -> None:
        """The connection broke: the server went away."""
        if self.linked:
            self.linked = False
            self._pause = self._protocol["reconnect_seconds"]
            self._reconnect()

    def _reconnect(self) -> None:
        if not self.runs:
            return
        if self.reachable and self._database.up:
            self._clock.after(0.005 * self._clock.random.uniform(1, 3), self._connected)
            return
        self._pause = min(self._pause * 1.5, self._protocol["reconnect_longest"])
        self._clock.after(self._pause * self._clock.random.uniform(0.9, 1.1), self._reconnect)

    def _connected(self) -> None:
        if not (self._database.up and self.reachable):
            self._reconnect()
            return
        self.linked = True
        self._grace_until = self._clock.now + self._protocol["grace_seconds"]
        self._database.lock(self.number)
        self._look_around()
        self.told()

    def _beat(self) -> bool:
        began = self._clock.now

        def do() -> tuple[Callable[[], bool], float]:
            def commit() -> bool:
                self._database.rows.beat(self.number, self._clock.now + self._config.lease)
                return True

            return commit, 0.0

        def answer(done: bool | None) -> None:
            if done:
                self.lease = max(self.lease, began + self._config.lease)
                self._database.lock(self.number)

        if self.runs and self.linked:
            self._ask(self._database.beat_us(), do, answer, sync=False)
        return self.process

    def _check(self) -> None:
        """The lease: it runs on the node's own clock, from the beginning of the last beat that succeeded."""
        if not self.runs:
            return
        if self.lease <= self._clock.now:
            for session in self.live:
                self._dropped(session)
            self.live.clear()
        self._clock.after(max(self.lease - self._clock.now, 0.1), self._check)

    def _scan(self) -> bool:
        self.look()
        return self.process

    def _claim(self) -> None:
        room = min(AT_ONCE, self._config.max_live - len(self.live))
        if self._claiming or not self.runs or not self.reachable or room <= 0 or self.lease <= self._clock.now:
            return
        self._claiming, self._again = True, False
        database = self._database
        database_claim = lambda: database.claim(self.number, room)  # noqa: E731
        self._ask(database.claim_us(), database_claim, lambda claims: self._claimed(claims, room))

    def _claimed(self, claims: list[tuple[int, int]] | None, room: int) -> None:
        self._claiming = False
        wake = costs()["node"]["wake_us"] / 1e6
        for session, epoch in claims or ():
            self.live[session] = epoch
            self._loop_free = max(self._loop_free, self._clock.now) + wake
            self._clock.after(self._loop_free - self._clock.now, lambda session=session: self._woken(session, self))
        if claims is not None and (self._again or len(claims) == room):
            self._claim()

"""A client that does not give up: every order has an idempotency key and is repeated until it is accepted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from tests.harness.crash.check import Sent

from roost.features.checkpoints.events import CheckpointMade
from roost.features.schedules.events import ScheduleInput, timer_of
from roost.features.snapshots.events import WorkspaceRestored
from roost.log import events as ev
from roost.log.inputs import Input
from roost.log.schedule_events import ScheduleSpec
from roost.log.session_info import ControlAction, Decision, InputMode

PATIENCE = 60.0
"""Seconds that a test waits for anything before it says that it never came."""


class Daemon(Protocol):
    """The way to a daemon that may die at any time; `Hands` is what uses it. Each method tries until it went through
    and raises `AssertionError` when that takes longer than `PATIENCE`, or at once when the daemon refuses."""

    async def create(self, session: str, agent: str) -> None: ...

    async def send(self, session: str, text: str, mode: InputMode, key: str) -> int:
        """The number of the input."""
        ...

    async def control(self, session: str, action: ControlAction, key: str) -> None: ...

    async def approve(self, session: str, call: str, decision: Decision) -> None:
        """Returns also when the call does not wait any more."""
        ...

    async def set_timer(self, session: str, timer: str, due: float, text: str, key: str) -> None: ...

    async def put(self, session: str, item: Input, key: str) -> None: ...

    async def checkpoint(self, session: str, label: str, key: str) -> None: ...

    async def rollback(self, session: str, label: str, key: str) -> None: ...

    async def fork(self, session: str, label: str, id: str, key: str) -> None: ...

    async def log(self, session: str) -> Sequence[ev.Event]: ...


class Hands:
    """One session's user. `sent` and `timers` are what was accepted, for `check`. `poll` is in seconds."""

    def __init__(self, daemon: Daemon, session: str, *, agent: str, poll: float = 0.02) -> None:
        self.session = session
        self.sent: list[Sent] = []
        self.timers: list[str] = []
        self._daemon = daemon
        self._agent = agent
        self._poll = poll
        self._keys = itertools.count(1)
        self._decisions: Callable[[str], Decision] = lambda _: "approve"

    async def create(self) -> None:
        await self._daemon.create(self.session, self._agent)

    async def send(self, text: str, mode: InputMode = "follow_up") -> Sent:
        item = await self._daemon.send(self.session, text, mode, self._key())
        self.sent.append(Sent(self.session, item, text, mode))
        return self.sent[-1]

    async def control(self, action: ControlAction) -> None:
        await self._daemon.control(self.session, action, self._key())

    async def set_timer(self, timer: str, seconds: float, text: str) -> None:
        await self._daemon.set_timer(self.session, timer, time.time() + seconds, text, self._key())
        self.timers.append(timer)

    async def set_schedule(self, name: str, seconds: float, text: str) -> None:
        """One that comes due once."""
        await self.put(ScheduleInput(name, "set", ScheduleSpec(text=text, at=time.time() + seconds)))
        self.timers.append(timer_of(name))

    async def put(self, item: Input) -> None:
        await self._daemon.put(self.session, item, self._key())

    async def checkpoint(self, label: str) -> None:
        await self._daemon.checkpoint(self.session, label, self._key())
        await self.seen(CheckpointMade, label=label)

    async def rollback(self, label: str) -> None:
        """To a checkpoint, which has files. Until it and they are there."""
        await self._daemon.rollback(self.session, label, self._key())
        await self.until(_is_back, f"the rollback to {label!r}")

    async def fork(self, label: str, id: str) -> Hands:
        """The user of the new session, which begins at a checkpoint."""
        await self._daemon.fork(self.session, label, id, self._key())
        return Hands(self._daemon, id, agent=self._agent, poll=self._poll)

    def decide(self, decisions: Callable[[str], Decision]) -> None:
        """How to answer a call's question, by the tool's name. Else everything is approved."""
        self._decisions = decisions

    async def until(self, done: Callable[[Sequence[ev.Event]], bool], what: str) -> Sequence[ev.Event]:
        """The log once it satisfies `done`; what asks meanwhile is answered. Patience begins anew with each event: how
        long all of them take is up to the machine."""
        deadline, seen = time.monotonic() + PATIENCE, 0
        while True:
            log = await self._daemon.log(self.session)
            if len(log) > seen:
                deadline, seen = time.monotonic() + PATIENCE, len(log)
            if done(log):
                return log
            for call, name in asking(log).items():
                await self._daemon.approve(self.session, call, self._decisions(name))
            if time.monotonic() > deadline:
                last = "; ".join(repr(event)[:300] for event in log[-4:])
                raise AssertionError(f"session {self.session!r}: {what} did not come. The log ends {last}")
            await asyncio.sleep(self._poll)

    async def seen(self, kind: type[ev.Event], **fields: Any) -> None:
        """Until an event of this kind with these fields is in the log."""
        await self.until(
            lambda log: any(
                isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())
                for event in log
            ),
            f"{kind.__name__} {fields}",
        )

    async def settle(self) -> Sequence[ev.Event]:
        """Until everything that was sent is answered."""
        wanted = {one.input for one in self.sent}
        return await self.until(lambda log: at_rest(log, wanted, self.timers), "the end")

    def _key(self) -> str:
        return f"{self.session}/{next(self._keys)}"


def _is_back(log: Sequence[ev.Event]) -> bool:
    kinds = [type(event) for event in log]
    return ev.SessionRolledBack in kinds and WorkspaceRestored in kinds[kinds.index(ev.SessionRolledBack) :]


def asking(log: Sequence[ev.Event]) -> dict[str, str]:
    """The calls that wait for a person, with their tools."""
    waiting: dict[str, str] = {}
    for event in log:
        match event:
            case ev.ApprovalRequested():
                waiting[event.call] = event.name
            case ev.ApprovalResolved() | ev.ToolCompleted():
                waiting.pop(event.call, None)
            case _:
                pass
    return waiting


def at_rest(log: Sequence[ev.Event], inputs: set[int], timers: Sequence[str]) -> bool:
    """Whether all these inputs were taken in, all timers have fired, and no turn is open."""
    taken = {event.input for event in log if isinstance(event, ev.InputReceived)}
    fired = {event.timer for event in log if isinstance(event, ev.TimerFired)}
    kinds: list[Literal[1, -1]] = [
        1 if isinstance(event, ev.TurnStarted) else -1
        for event in log
        if isinstance(event, ev.TurnStarted | ev.TurnCompleted)
    ]
    return inputs <= taken and set(timers) <= fired and sum(kinds) == 0

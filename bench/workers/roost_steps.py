"""The Roost kernel in this process: inbox, claim, turn, every step with its intent and its outcome in the log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID, calls_of
from bench.worker import Clock, Ticks, serve
from roost.agent.definition import Agent, Limits
from roost.log.protocols import Change
from roost.log.store import Store
from roost.models.model_wrapper import Whole
from roost.models.request import Profile, Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.function import tool

_TURN_COMPLETED = b'{"type":"turn.completed"'


class Log:
    """Counts what this process commits, and ends when the turn of each of `sessions` has, here or at another node."""

    def __init__(self, journal: Store, sessions: Iterable[str]) -> None:
        self._left = set(sessions)
        self._elsewhere: set[str] = set()
        self._journal = journal
        self.done = asyncio.Event()
        self.appends = self.events = self.bytes = self.groups = 0
        self._in_group = False
        self.stop = journal.changes.watch(self._changed)

    def _changed(self, change: Change) -> None:
        if not self._in_group:
            self._in_group = True
            self.groups += 1
            asyncio.get_running_loop().call_soon(self._group_ended)
        if not change.records:
            if change.records is None:
                self._elsewhere.add(change.session)
            return
        self.appends += 1
        for record in change.records:
            self.events += 1
            self.bytes += len(record.body)
            if record.body.startswith(_TURN_COMPLETED):
                self._end(change.session)

    async def wait(self) -> None:
        """Sessions that another node has run are asked after; the records of this one come by themselves."""
        while not self.done.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.done.wait(), 0.02)
            for session in self._elsewhere & self._left:
                info = await self._journal.sessions.get(session)
                if info.state == "running" and info.phase == "idle" and not info.pending:
                    self._end(session)

    def _end(self, session: str) -> None:
        self._left.discard(session)
        if not self._left:
            self.done.set()

    def _group_ended(self) -> None:
        self._in_group = False


class Bare(Whole, ScriptedModel):
    """Asked as it is: what stands around a real model (ledger, breaker, retry, repair) costs about 20 µs a call, and is
    measured with the models."""


def worker(steps: int, ticks: Ticks | None) -> Agent:
    """An agent whose model calls a trivial tool so often that a turn has `steps` steps."""
    messages = steps
    call = Answer(text=SAID, calls=(Call("look", ARGUMENTS),))
    last = Answer(text=ANSWER)

    def script(request: Request) -> Answer:
        if ticks is not None:
            ticks.tick()
        return last if len(request.messages) >= messages else call

    @tool(replay="safe", safety="read_only")
    async def look(what: str, why: str) -> str:
        """Look at a part."""
        if ticks is not None:
            ticks.tick()
        return RESULT

    assert calls_of(steps) >= 0
    model = Bare(script, keep=0, profile=Profile(window=10_000_000))
    return Agent("worker", model=model, tools=[look], permissions="all", limits=Limits(steps=None))


async def run(folder: Path, sessions: int, steps: int, store: str | None = None) -> dict[str, Any]:
    ticks = Ticks()
    async with Runtime(folder, agents=[worker(steps, ticks if sessions == 1 else None)], store=store) as runtime:
        ids = [(await runtime.session("worker")).id for _ in range(sessions)]
        log = Log(runtime.node.store, ids)
        clock, began = Clock(), time.time()
        await asyncio.gather(*(runtime.sessions.send(session, PROMPT) for session in ids))
        await log.wait()
        spent = clock.stop()
        log.stop()
    return {
        **spent,
        "span": [began, began + spent["wall"]],
        "steps": sessions * steps,
        "commits": log.groups,
        "appends": log.appends,
        "events": log.events,
        "bytes": log.bytes,
        "ms": ticks.milliseconds(),
    }


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))

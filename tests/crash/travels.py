"""One conversation as it should be, and a runtime on which anything may happen, a crash at any commit too."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from roost.agent.definition import Agent
from roost.agent.options import Compaction
from roost.agent.rewind import Folding, gone_back_to
from roost.agent.state import State, encode_state
from roost.errors import NotFound, RoostError
from roost.kernel.check import check
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.models.request import Request
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import Answer, ScriptedModel
from roost.tools.function import tool
from tests.harness.crash.killing import KillingStore, When
from tests.harness.crash.sights import ASIDE
from tests.harness.postgres.server import PostgresServer
from tests.kernel.filing import look, obey
from tests.kernel.support import FAST
from tests.kernel.undoing import sh

T = TypeVar("T")
Strike: TypeAlias = tuple[int, When] | None
"""The commit from now at which it dies."""


class Now:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.files: dict[str, str] = {}
        self.compacted = False


class Model:
    """What a session should be."""

    def __init__(self, now: Now | None = None) -> None:
        self.now = now or Now()
        self.kept: dict[str, Now] = {}
        self.before: Now | None = None
        self.paused = False

    def go(self, then: Now) -> None:
        self.now, self.before = copy.deepcopy(then), self.now

    def keep(self, label: str) -> None:
        self.kept[label] = copy.deepcopy(self.now)

    def hear(self, said: str, file: str | None = None, content: str = "") -> None:
        self.now.said.append(said)
        if file is not None:
            self.now.files[file] = content

    def turn_over(self) -> None:
        self.paused = not self.paused

    def compact(self) -> None:
        self.now.compacted = True


Change: TypeAlias = Callable[[Model], None]


class Ground(RuleBasedStateMachine):
    """`happened` counts, over all examples, what is worth knowing of them."""

    happened: Counter[str] = Counter()

    def __init__(self, postgres: PostgresServer | None = None) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = Path(tempfile.mkdtemp(prefix="roost-travel-"))
        self.lender = postgres.borrowed() if postgres is not None else contextlib.nullcontext[str | None](None)
        self.url = self.do(self.lender.__aenter__())
        self.models: dict[str, Model] = {}
        self.count = 0
        self.do(self.start())
        self.do(self.runtime.session("clerk", id="s0"))
        self.models["s0"] = Model()

    def do(self, work: Awaitable[T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 30))

    async def start(self) -> None:
        self.held, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.store = KillingStore(await open_store(self.url or self.home / "roost.db"), how="fail")
        self.runtime = Runtime(self.home, agents=[self.clerk()], config=FAST, store=self.store)
        await self.runtime.start()

    def clerk(self) -> Agent:
        @tool(replay="safe", safety="safe_write", files=False)
        async def hold(command: str) -> str:
            """Wait for whoever steers."""
            self.held.set()
            await self.gate.wait()
            return f"held {command}"

        compaction = Compaction(by="model", keep_turns=1)
        tools = [sh, look, hold]
        return Agent("clerk", model=ScriptedModel(_obey), tools=tools, permissions="all", compaction=compaction)

    def one(self, which: int) -> tuple[str, Model]:
        name = f"s{which % len(self.models)}"
        return name, self.models[name]

    def act(
        self,
        session: str,
        work: Callable[[], Coroutine[Any, Any, Any]],
        happened: Callable[[ev.Event], bool],
        *changes: Change,
        strike: Strike,
        sure: bool = True,
    ) -> None:
        """Each event that `happened` in the session's log is one of the `changes`, in this order. All of them happen
        unless there was a crash, or it is not `sure`."""
        before = self.count_of(session, happened)
        struck = self.try_it(work, strike)
        done = self.count_of(session, happened) - before
        assert done <= len(changes)
        assert done == len(changes) or struck or not sure, f"{done} of {len(changes)}"
        for change in changes[:done]:
            change(self.models[session])
        self.compare(session)

    def try_it(self, work: Callable[[], Coroutine[Any, Any, Any]], strike: Strike) -> bool:
        """Whether it died of it; then it has come back, and is at rest."""
        if strike is not None:
            self.store.strike(*strike)
        self.do(self.unless_dead(work()))
        self.store.strike(None)
        if struck := self.store.dead:
            self.happened["struck"] += 1
            self.crash_now()
            for session in self.models:
                self.do(self.rest(session))
        return struck

    async def unless_dead(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        while not task.done() and not self.store.dead:
            await asyncio.sleep(0.005)
        if self.store.dead:
            task.cancel()
            with contextlib.suppress(RoostError, asyncio.CancelledError):
                await task
        else:
            await task

    def crash_now(self) -> None:
        self.store.dead = True
        with contextlib.suppress(RoostError, TimeoutError):
            self.do(self.runtime.stop(grace=0.0))
        self.do(self.store.close())
        self.do(self.start())

    async def rest(self, session: str) -> None:
        while True:
            info = await self.runtime.sessions.get(session)
            if info.owner is None and not info.pending:
                return
            await asyncio.sleep(0.01)

    async def there(self, session: str) -> bool:
        try:
            await self.runtime.sessions.get(session)
        except NotFound:
            return False
        return True

    def log(self, session: str) -> list[ev.Event]:
        return [record.event for record in self.do(self.store.logs.read(session, limit=100_000))]

    def count_of(self, session: str, happened: Callable[[ev.Event], bool]) -> int:
        return sum(happened(event) for event in self.log(session))

    def compare(self, session: str) -> None:
        now = self.models[session].now
        said = self.said(session)
        if now.compacted:
            assert said == [one for one in now.said if one in said]
        else:
            assert said == now.said
        folder = self.home / "workspaces" / session
        files = {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
        assert files == now.files

    def said(self, session: str) -> list[str]:
        return list(_words(self.do(self.runtime.sessions.transcript(session))))

    def teardown(self) -> None:
        try:
            for session in self.models:
                self.compare(session)
                self.do(self.folds(session))
            self.do(self.runtime.stop(grace=0.2))
            assert self.do(check(self.url or self.home / "roost.db")).faults == []
        finally:
            with contextlib.suppress(Exception):  # what it was, is raised
                self.do(self.lender.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.home, ignore_errors=True)

    async def folds(self, session: str) -> None:
        found = [record.event for record in await self.store.logs.read(session, limit=100_000)]
        folding = Folding(State(), gone_back_to(found))
        for event in found:
            folding.add(event)
        state = await load_state(self.store, session)
        if state.seq == folding.state.seq:
            assert encode_state(state) == encode_state(folding.state)


def _obey(request: Request) -> Answer | str:
    last = request.messages[-1]
    aside = isinstance(last, UserMessage) and "".join(_texts(last)).startswith(ASIDE)
    return "What was said, in short." if aside else obey(request)


def _texts(message: UserMessage) -> list[str]:
    return [part.text for part in message.parts if isinstance(part, Text)]


def _words(messages: Iterable[object]) -> Iterable[str]:
    """What was said by the machine."""
    for message in messages:
        if isinstance(message, UserMessage):
            yield from (text for text in _texts(message) if text.startswith(("sh ", "hold ")))

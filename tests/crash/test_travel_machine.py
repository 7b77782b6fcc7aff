"""Random orders of talk, pauses, checkpoints, forks, rollbacks, compactions and crashes, beside a model in memory."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from roost.agent.definition import Agent
from roost.agent.rewinding import Folding, gone_back_to
from roost.agent.state import State, encode_state
from roost.kernel.check import check
from roost.kernel.load import load_state
from roost.kernel.runtime import Runtime
from roost.log.content import Text, UserMessage
from roost.log.store import open_store
from roost.testing.crash.killing import KillingJournal
from roost.testing.scripted import ScriptedModel
from tests.kernel.filing import look, obey
from tests.kernel.support import FAST
from tests.kernel.undoing import sh

T = TypeVar("T")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A crash leaves behind what a runtime would have closed."""
_LABELS = st.sampled_from(["x", "y"])
_WHICH = st.integers(0, 2)
_MOST = 3


class _Now:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.files: dict[str, str] = {}
        self.compacted = False


class _Model:
    def __init__(self, now: _Now | None = None) -> None:
        self.now = now or _Now()
        self.kept: dict[str, _Now] = {}
        self.before: _Now | None = None
        self.paused = False

    def go(self, then: _Now) -> None:
        self.now, self.before = copy.deepcopy(then), self.now


class Travels(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = Path(tempfile.mkdtemp(prefix="roost-travel-"))
        self.models: dict[str, _Model] = {}
        self.count = 0
        self.do(self.start())
        self.do(self.runtime.session("clerk", id="s0"))
        self.models["s0"] = _Model()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 30))

    async def start(self) -> None:
        agent = Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="all")
        self.store = KillingJournal(await open_store(self.home / "roost.db"))
        self.runtime = Runtime(self.home, agents=[agent], config=FAST, store=self.store)
        await self.runtime.start()

    def one(self, which: int) -> tuple[str, _Model]:
        name = f"s{which % len(self.models)}"
        return name, self.models[name]

    @rule(which=_WHICH, mode=st.sampled_from(["follow_up", "steer"]), name=st.sampled_from("ab"))
    def talk(self, which: int, mode: Any, name: str) -> None:
        session, model = self.one(which)
        if model.paused:
            return
        self.count += 1
        said = f"sh echo {self.count} > {name}"

        async def ask() -> None:
            head = (await self.runtime.sessions.get(session)).head
            accepted = await self.runtime.sessions.send(session, said, mode=mode)
            await self.runtime.open(session).answer(accepted.id, after=head)

        self.do(ask())
        model.now.said.append(said)
        model.now.files[name] = f"{self.count}\n"
        self.compare(session)

    @rule(which=_WHICH)
    def pause_or_resume(self, which: int) -> None:
        session, model = self.one(which)
        self.do(self.runtime.sessions.control(session, "resume" if model.paused else "pause"))
        if self.do(self.runtime.sessions.get(session)).state in ("paused", "running"):
            model.paused = not model.paused

    @rule(which=_WHICH)
    def compact(self, which: int) -> None:
        session, model = self.one(which)
        self.do(self.runtime.sessions.control(session, "compact"))
        model.now.compacted = True
        self.compare(session)

    @rule(which=_WHICH, label=_LABELS)
    def keep(self, which: int, label: str) -> None:
        session, model = self.one(which)
        made = self.do(self.runtime.sessions.checkpoint(session, label))
        assert made.seq is not None
        model.kept[label] = copy.deepcopy(model.now)

    @rule(which=_WHICH, label=_LABELS)
    def back(self, which: int, label: str) -> None:
        session, model = self.one(which)
        if label in model.kept:
            done = self.do(self.runtime.sessions.rollback(session, label))
            assert done.files
            model.go(model.kept[label])
            self.compare(session)

    @rule(which=_WHICH)
    def undo(self, which: int) -> None:
        session, model = self.one(which)
        if model.before is not None:
            assert self.do(self.runtime.sessions.rollback(session, undo=True)).files
            model.go(model.before)
            self.compare(session)

    @precondition(lambda self: len(self.models) < _MOST)
    @rule(which=_WHICH, label=_LABELS, newest=st.booleans())
    def fork(self, which: int, label: str, newest: bool) -> None:
        session, model = self.one(which)
        if newest or label in model.kept:
            name = f"s{len(self.models)}"
            self.do(self.runtime.sessions.fork(session, None if newest else label, id=name))
            self.models[name] = _Model(copy.deepcopy(model.now if newest else model.kept[label]))
            self.compare(name)
            self.compare(session)

    @rule()
    def crash(self) -> None:
        self.store.dead = True
        with contextlib.suppress(Exception):
            self.do(self.runtime.stop(grace=0.3))
        self.do(self.store._inner.close())  # type: ignore[reportPrivateUsage]
        self.do(self.start())

    def compare(self, session: str) -> None:
        now = self.models[session].now
        said = [
            part.text
            for message in self.do(self.runtime.sessions.transcript(session))
            if isinstance(message, UserMessage)
            for part in message.parts
            if isinstance(part, Text) and part.text.startswith("sh ")
        ]
        assert said == now.said if not now.compacted else set(said) <= set(now.said)
        folder = self.home / "workspaces" / session
        files = {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
        assert files == now.files

    def teardown(self) -> None:
        try:
            for session in self.models:
                self.compare(session)
                self.do(self.folds(session))
            self.do(self.runtime.stop(grace=0.2))
            assert self.do(check(self.home / "roost.db")).faults == []
        finally:
            self.runner.close()
            shutil.rmtree(self.home, ignore_errors=True)

    async def folds(self, session: str) -> None:
        found = [record.event for record in await self.store.read(session, limit=100_000)]
        folding = Folding(State(), gone_back_to(found))
        for event in found:
            folding.add(event)
        state = await load_state(self.store, session)
        if state.seq == folding.state.seq:
            assert encode_state(state) == encode_state(folding.state)


TestTravels = Travels.TestCase
TestTravels.settings = settings(
    max_examples=4, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
)

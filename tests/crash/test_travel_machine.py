"""Random orders of talk, steering, pauses, checkpoints, forks, rollbacks and compactions, each with a crash at one of
its commits now and then, beside a model in memory."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from roost.features.checkpoints.events import CheckpointMade
from roost.features.compaction.events import ContextCompacted
from roost.log import events as ev
from tests.crash.travels import Ground, Model, Strike
from tests.harness.postgres.server import PostgresServer

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A crash leaves behind what a runtime would have closed."""
_LABELS = st.sampled_from(["x", "y"])
_WHICH = st.integers(0, 2)
_STRIKES = st.none() | st.tuples(st.integers(1, 7), st.sampled_from(["before", "after"]))
_MOST = 3
_CHECKS: list[HealthCheck] = list(HealthCheck)  # type: ignore[reportAssignmentType]
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
"""A crash comes at another moment each time: what fails is not made smaller."""
_PAD = " # " + "and so on " * 60
"""So that there is something to make a summary of."""


class Travels(Ground):
    @rule(which=_WHICH, mode=st.sampled_from(["follow_up", "steer"]), name=st.sampled_from("ab"), strike=_STRIKES)
    def talk(self, which: int, mode: Any, name: str, strike: Strike) -> None:
        session, model = self.one(which)
        if model.paused:
            return
        said, content = self.next(name)

        async def work() -> None:
            head = (await self.runtime.sessions.get(session)).head
            accepted = await self.runtime.sessions.send(session, said, mode=mode)
            await self.runtime.open(session).answer(accepted.id, after=head)

        self.act(session, work, _heard, lambda one: one.hear(said, name, content), strike=strike)

    @rule(which=_WHICH, name=st.sampled_from("ab"), strike=_STRIKES)
    def steer(self, which: int, name: str, strike: Strike) -> None:
        """While a call of the turn is running."""
        session, model = self.one(which)
        if model.paused:
            return
        said, content = self.next(name)
        first = f"hold {self.count}"

        async def work() -> None:
            self.held.clear()
            self.gate.clear()
            head = (await self.runtime.sessions.get(session)).head
            await self.runtime.sessions.send(session, first)
            await self.held.wait()
            accepted = await self.runtime.sessions.send(session, said, mode="steer")
            self.gate.set()
            await self.runtime.open(session).answer(accepted.id, after=head)

        def steered(one: Model) -> None:
            one.hear(said, name, content)

        self.act(session, work, _heard, lambda one: one.hear(first), steered, strike=strike)

    @rule(which=_WHICH, strike=_STRIKES)
    def pause_or_resume(self, which: int, strike: Strike) -> None:
        session, model = self.one(which)
        action = "resume" if model.paused else "pause"
        if self.do(self.runtime.sessions.get(session)).state == "created":
            return

        def applied(event: ev.Event) -> bool:
            return isinstance(event, ev.ControlApplied) and event.action == action

        self.act(
            session, lambda: self.runtime.sessions.control(session, action), applied, Model.turn_over, strike=strike
        )

    @rule(which=_WHICH, strike=_STRIKES)
    def compact(self, which: int, strike: Strike) -> None:
        session, _ = self.one(which)

        order = lambda: self.runtime.compaction.compact(session)  # noqa: E731
        self.act(session, order, _compacted, Model.compact, strike=strike, sure=False)
        self.happened["by a model"] += self.count_of(session, _by_model)

    @rule(which=_WHICH, label=_LABELS, strike=_STRIKES)
    def keep(self, which: int, label: str, strike: Strike) -> None:
        session, _ = self.one(which)

        def made(event: ev.Event) -> bool:
            return isinstance(event, CheckpointMade) and event.label == label and event.cause == "manual"

        self.act(
            session,
            lambda: self.runtime.checkpoints.make(session, label),
            made,
            lambda one: one.keep(label),
            strike=strike,
        )

    @rule(which=_WHICH, label=_LABELS, strike=_STRIKES)
    def back(self, which: int, label: str, strike: Strike) -> None:
        session, model = self.one(which)
        if label in model.kept:

            async def work() -> None:
                assert (await self.runtime.checkpoints.rollback(session, label)).files

            self.act(session, work, _rolled, lambda one: one.go(one.kept[label]), strike=strike)

    @rule(which=_WHICH, strike=_STRIKES)
    def undo(self, which: int, strike: Strike) -> None:
        session, model = self.one(which)
        if (before := model.before) is not None:

            async def work() -> None:
                assert (await self.runtime.checkpoints.rollback(session, undo=True)).files

            self.act(session, work, _rolled, lambda one: one.go(before), strike=strike)

    @precondition(lambda self: len(self.models) < _MOST)
    @rule(which=_WHICH, label=_LABELS, newest=st.booleans(), strike=_STRIKES)
    def fork(self, which: int, label: str, newest: bool, strike: Strike) -> None:
        session, model = self.one(which)
        if not newest and label not in model.kept:
            return
        name = f"s{len(self.models)}"

        async def work() -> None:
            await self.runtime.checkpoints.fork(session, None if newest else label, id=name, key=name)

        struck = self.try_it(work, strike)
        if struck and self.do(self.there(name)):
            self.happened["forked twice"] += 1
            self.do(work())
        if not struck or self.do(self.there(name)):
            self.models[name] = Model(copy.deepcopy(model.now if newest else model.kept[label]))
            self.compare(name)
        self.compare(session)

    @rule()
    def crash(self) -> None:
        self.crash_now()

    def next(self, name: str) -> tuple[str, str]:
        """What to say, and what is in the file then."""
        self.count += 1
        return f"sh echo {self.count} > {name}{_PAD}", f"{self.count}\n"


def _heard(event: ev.Event) -> bool:
    return isinstance(event, ev.InputReceived)


def _compacted(event: ev.Event) -> bool:
    return isinstance(event, ContextCompacted)


def _by_model(event: ev.Event) -> bool:
    return isinstance(event, ContextCompacted) and event.by == "model"


def _rolled(event: ev.Event) -> bool:
    return isinstance(event, ev.SessionRolledBack)


def _travel(examples: int, postgres: PostgresServer | None = None, **more: Any) -> None:
    Travels.happened = Counter()
    profile = settings(
        max_examples=examples, deadline=None, suppress_health_check=_CHECKS, database=None, phases=_PHASES, **more
    )
    run_state_machine_as_test(lambda: Travels(postgres), settings=profile)  # type: ignore[no-untyped-call]
    assert Travels.happened["struck"] > 0


def test_travels() -> None:
    """The same ones in every run."""
    _travel(5, derandomize=True, stateful_step_count=20)
    assert Travels.happened["by a model"] > 0


def test_travels_on_postgres(postgres: PostgresServer) -> None:
    _travel(2, postgres, derandomize=True, stateful_step_count=20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_travels() -> None:
    _travel(100, stateful_step_count=40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_travels_on_postgres(postgres: PostgresServer) -> None:
    _travel(30, postgres, stateful_step_count=40)

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.log.content import ErrorData, Text, Usage
from roost.models.request import Completed, Failed, ModelEvent, Notice, Profile, Request, Signed, TextDelta
from roost.routing.retry import Retry, Retrying
from roost.testing.clock import FakeClock
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Answer, ScriptedModel

DOWN = Answer(error=ErrorData("overloaded", "down", True))


def _asked(seconds: float) -> Answer:
    return Answer(error=ErrorData("rate_limited", "slow", True, seconds))


def _model(clock: FakeClock, *answers: Answer | str, chance: float = 0.0, **rules: Any) -> Retrying:
    return Retrying(ScriptedModel(answers), Retry(**rules), clock=clock, chance=lambda: chance)


async def test_it_waits_longer_each_time_and_says_so() -> None:
    clock = FakeClock()
    events, end = await clock.run(run(_model(clock, DOWN, DOWN, DOWN, "yes")))
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.data["seconds"] for notice in notices] == [0.5, 1.0, 2.0]
    assert notices[0] == Notice("retry", {"code": "overloaded", "message": "down", "try": 2, "seconds": 0.5})
    assert clock.now() == 3.5
    assert isinstance(end, Completed)


async def test_the_last_failure_comes_through_as_it_is() -> None:
    clock = FakeClock()
    end = await clock.run(failed(_model(clock, DOWN, _asked(3), tries=2)))
    assert end.error.retry_after == 3
    assert (await failed(_model(clock, Answer(error=ErrorData("auth", "no"))))).error.code == "auth"


async def test_what_the_provider_asks_for_is_kept_to_within_reason() -> None:
    clock = FakeClock()
    await clock.run(completed(_model(clock, _asked(7), "yes")))
    assert clock.now() == 7
    assert (await failed(_model(clock, _asked(121), "yes"))).error.retry_after == 121
    assert (await clock.run(failed(_model(clock, _asked(8), _asked(8), "yes", seconds=15)))).error.retry_after == 8
    assert clock.now() == 15


@given(
    st.integers(1, 10_000),
    st.none() | st.floats(0, 1e6),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_pause_is_never_shorter_than_asked_and_never_endless(
    failures: int, asked: float | None, chance: float, jitter: float
) -> None:
    pause = Retry(jitter=jitter, longest=30).pause(failures, asked, chance)
    assert (asked or 0) <= pause <= (asked or 0) + 30


class Breaks:
    """Says half of its answer and breaks off, so many times."""

    name = "breaks"
    profile = Profile()

    def __init__(self, times: int, code: str = "connection") -> None:
        self.times = times
        self.code = code
        self.asked: list[Request] = []

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        yield TextDelta("half")
        if len(self.asked) <= self.times:
            yield Failed(ErrorData(self.code, "gone", self.code != "quota"), Usage(3, 2, cost=5))
            return
        yield TextDelta(" and half")
        yield Completed((Text("half and half"),), "end")

    async def close(self) -> None: ...


async def test_an_answer_that_was_shown_is_not_begun_anew_unless_that_is_said() -> None:
    clock = FakeClock()
    assert (await failed(Retrying(Breaks(1), clock=clock))).error.code == "connection"
    events, end = await clock.run(run(Retrying(Breaks(1), Retry(restart=True), clock=clock)))
    kinds = [event.kind if isinstance(event, Notice) else "text" for event in events]
    assert kinds == ["text", "retry", "restart", "text", "text"]
    retry = events[1]
    assert isinstance(retry, Notice)
    assert retry.data["usage"] == {"input": 3, "output": 2, "cost": 5}
    assert isinstance(end, Completed)


async def test_who_is_cancelled_while_waiting_asks_no_more() -> None:
    clock = FakeClock()
    model = ScriptedModel([DOWN, "yes"])
    task = asyncio.ensure_future(run(Retrying(model, clock=clock), ask()))
    await clock.advance(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await clock.advance(100)
    assert (await completed(model)).parts == (Text("yes"),)


class BreaksAfterSigning(Breaks):
    """Shows reasoning without words, then breaks off."""

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        if len(self.asked) <= self.times:
            yield Signed("seal", "anthropic", redacted=True)
            yield Failed(ErrorData(self.code, "gone", True))
            return
        yield Completed((Text("whole"),), "end")


async def test_reasoning_without_words_was_shown_too() -> None:
    clock = FakeClock()
    assert (await failed(Retrying(BreaksAfterSigning(1), clock=clock))).error.code == "connection"
    events, _ = await clock.run(run(Retrying(BreaksAfterSigning(1), Retry(restart=True), clock=clock)))
    assert [event.kind for event in events if isinstance(event, Notice)] == ["retry", "restart"]

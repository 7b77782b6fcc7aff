from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import StoreUnreachable
from roost.log.content import AssistantMessage, ErrorData, Message, Text, ToolCall, ToolMessage, Usage
from roost.models.request import Completed, Failed, ModelEvent, Notice, Profile, Request, TextDelta
from roost.routing.breakers import Breaker, Breaking, Circuit, Guarded, Pass, repeated
from roost.routing.clock import sleep
from roost.testing.clock import FakeClock
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Answer, ScriptedModel

DOWN = ErrorData("overloaded", "down", True)
ODD = ErrorData("bad_request", "odd", False)


def _model(clock: FakeClock, rules: Breaking, *answers: Answer | str, **options: Any) -> Guarded:
    return Guarded(ScriptedModel(answers), Breaker(rules, clock=clock, **options))


async def test_failures_in_a_row_open_it_and_one_good_call_closes_it() -> None:
    clock = FakeClock()
    bad, good = Answer(error=DOWN), "yes"
    model = _model(clock, Breaking(failures=2, cooldown=10), bad, good, bad, bad, bad, good, good)
    await failed(model)
    await completed(model)
    await failed(model)
    notices, _ = await run(model)
    assert notices == [Notice("breaker", {"model": "scripted", "state": "open", "seconds": 10})]
    refused = (await failed(model)).error
    assert (refused.code, refused.retryable, refused.retry_after) == ("overloaded", True, 10)
    await clock.advance(10)
    assert (await failed(model)).error == DOWN, "the one call that is let through fails"
    await clock.advance(19)
    assert (await failed(model)).error.retry_after == 1
    await clock.advance(1)
    notices, end = await run(model)
    assert isinstance(end, Completed)
    assert notices[-1] == Notice("breaker", {"model": "scripted", "state": "closed"})
    await completed(model)


async def test_late_news_of_calls_from_before_it_opened_changes_nothing() -> None:
    circuit = Circuit(Breaking(failures=1, cooldown=10))
    calls = [circuit.admit(0) for _ in range(3)]
    assert all(calls)
    first, second, third = (call for call in calls if call is not None)
    assert first.bad(0)
    assert not second.good(1)
    assert not third.bad(9)
    assert circuit.admit(9.9) is None
    assert circuit.admit(10) is not None
    assert circuit.admit(10) is None


async def test_what_the_request_itself_did_wrong_does_not_count() -> None:
    model = _model(FakeClock(), Breaking(failures=1), Answer(error=ODD), Answer(error=ODD), "yes")
    await failed(model)
    await failed(model)
    await completed(model)


async def test_a_trial_that_is_cancelled_leaves_the_trial_to_the_next() -> None:
    clock = FakeClock()
    model = _model(clock, Breaking(failures=1, cooldown=10), Answer(error=DOWN), Answer(text="x", delay=60), "yes")
    await failed(model)
    await clock.advance(10)
    trial = asyncio.ensure_future(run(model))
    await clock.advance(0)
    assert (await failed(model)).error.retry_after is not None, "one at a time"
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    await completed(model)


async def test_a_trial_whose_reader_leaves_at_the_first_word_of_it_is_over() -> None:
    clock = FakeClock()
    spent = 0

    async def ledger() -> int:
        return spent

    model = _model(clock, Breaking(failures=1, cooldown=10, budget=100), Answer(error=DOWN), "yes", spent=ledger)
    await failed(model)
    await clock.advance(10)
    spent = 80
    stream = model.stream(ask())
    assert isinstance(await anext(stream), Notice)
    await stream.aclose()
    await completed(model)


operations = st.lists(st.sampled_from(["ask", "good", "bad", "void", "wait", "slow"]), max_size=80)


@given(operations, st.randoms(use_true_random=False))
def test_half_open_admits_one_and_open_none(does: list[str], random: Any) -> None:
    circuit = Circuit(Breaking(failures=2, slow=1, slow_calls=2, cooldown=5, longest=20))
    now = 0.0
    running: list[Pass] = []
    probe: Pass | None = None
    for what in does:
        if what == "wait":
            now += 3
        elif what == "ask":
            closed, call = circuit.closed, circuit.admit(now)
            if not closed and call is not None:
                assert probe is None, "two trials at once"
                probe = call
            if closed:
                assert call is not None
            if call is not None:
                running.append(call)
        elif running:
            call = running.pop(random.randrange(len(running)))
            closed = circuit.closed
            changed = call.good(now, slow=what == "slow") if what in ("good", "slow") else getattr(call, what)(now)
            assert changed or circuit.closed == closed
            if not closed and call is not probe:
                assert not circuit.closed, "a call from before has no say"
            probe = None if call is probe else probe
    for call in running:
        call.void(now)
    call = circuit.admit(now + 100)
    assert call is not None, "it lets nobody in any more"
    call.good(now + 100)
    assert circuit.closed


class Slow:
    """Says its words with a pause before each."""

    name = "slow"
    profile = Profile()

    def __init__(self, clock: FakeClock, *pauses: float) -> None:
        self.clock = clock
        self.pauses = pauses
        self.closed = 0

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        try:
            for pause in self.pauses:
                await sleep(self.clock, pause)
                yield TextDelta("word ")
            yield Completed((Text("word " * len(self.pauses)),), "end")
        finally:
            self.closed += 1

    async def close(self) -> None: ...


async def test_a_model_whose_first_word_comes_late_is_left_alone() -> None:
    clock = FakeClock()
    model = Guarded(Slow(clock, 4, 1), Breaker(Breaking(slow=3, slow_calls=2), clock=clock))
    for _ in range(2):
        await clock.run(completed(model))
    assert (await failed(model)).error.code == "overloaded"
    model = Guarded(Slow(clock, 2, 9), Breaker(Breaking(slow=3, slow_calls=1), clock=clock))
    await clock.run(completed(model))
    await clock.run(completed(model))


async def test_an_answer_that_stops_in_its_midst_is_cut_off() -> None:
    clock = FakeClock()
    inner = Slow(clock, 50, 4, 4, 4, 60)
    model = Guarded(inner, Breaker(Breaking(silence=5, failures=1), clock=clock))
    events, end = await clock.run(run(model))
    assert clock.now() == 50 + 12 + 5
    assert isinstance(end, Failed)
    assert (end.error.code, end.error.retryable) == ("timeout", True)
    assert events[:4] == [TextDelta("word ")] * 4
    assert isinstance(events[4], Notice)
    assert inner.closed == 1


async def test_a_reader_that_takes_its_time_is_no_silence_of_the_model() -> None:
    clock = FakeClock()
    model = Guarded(Slow(clock, 1, 1, 1), Breaker(Breaking(silence=5), clock=clock))

    async def read() -> list[ModelEvent]:
        events: list[ModelEvent] = []
        async for event in model.stream(ask()):
            events.append(event)
            await sleep(clock, 30)
        return events

    assert isinstance((await clock.run(read()))[-1], Completed)


async def test_the_marks_of_a_budget_are_told_once_and_its_end_is_kept_to() -> None:
    answer = Answer(text="yes", usage=Usage(1, 1, cost=40))
    model = _model(FakeClock(), Breaking(budget=100), *[answer] * 4)
    told: list[Any] = []
    for _ in range(3):
        events, end = await run(model)
        assert isinstance(end, Completed)
        told += [event.data for event in events if isinstance(event, Notice)]
    assert [data["percent"] for data in told] == [70, 90, 100]
    assert told[0] == {"budget": "model:scripted", "spent": 80, "limit": 100, "percent": 70}
    error = (await failed(model)).error
    assert (error.code, error.retryable) == ("quota", False)


async def test_a_ledger_says_what_was_spent_and_a_new_month_begins_anew() -> None:
    spent = 95

    async def ledger() -> int:
        return spent

    model = _model(FakeClock(), Breaking(budget=100), *["yes"] * 9, spent=ledger)
    assert [event.data["percent"] for event in (await run(model))[0] if isinstance(event, Notice)] == [70, 90]
    spent = 100
    assert (await failed(model)).error.code == "quota"
    spent = 0
    assert not [event for event in (await run(model))[0] if isinstance(event, Notice)]
    spent = 75
    assert [event.data["percent"] for event in (await run(model))[0] if isinstance(event, Notice)] == [70]


async def test_a_ledger_that_does_not_answer_is_a_failure_as_data_and_takes_no_answer_away() -> None:
    gone = True

    async def ledger() -> int:
        if gone:
            raise StoreUnreachable("gone")
        return 0

    def script(_: Request) -> str:
        nonlocal gone
        gone = True  # while the call is under way
        return "yes"

    model = Guarded(ScriptedModel(script), Breaker(Breaking(budget=100), clock=FakeClock(), spent=ledger))
    end = await failed(model)
    assert (end.error.code, end.error.retryable, end.sent) == ("overloaded", True, False)
    gone = False
    await completed(model)


def _round(number: int, result: str = "same", arguments: str = "{}") -> list[Message]:
    call = ToolCall(f"c{number}", "look", arguments)
    return [AssistantMessage((call,)), ToolMessage(call.id, "look", (Text(result),))]


async def test_a_conversation_that_repeats_itself_is_stuck() -> None:
    same = [user("go"), *_round(1), *_round(2), *_round(3)]
    assert repeated(tuple(same)) == 3
    assert repeated((*same[:-1], ToolMessage("c3", "look", (Text("other"),)))) == 1
    assert repeated((user("go"), *_round(1, arguments='{"a":1}'), *_round(2))) == 1
    assert repeated((*same, user("again"), *_round(4))) == 1
    assert repeated(()) == 0
    model = _model(FakeClock(), Breaking(repeats=3), "yes")
    error = (await failed(model, ask(*same))).error
    assert (error.code, error.retryable) == ("stuck", False)
    await completed(model, ask(*same[:-2]))

"""All models around models together, in the order that they are meant for."""

from __future__ import annotations

from typing import Any

from roost.llm.breakers import Breaker, Breaking, Guarded
from roost.llm.ir import Completed, Model, Notice, TextDelta
from roost.llm.limits import Limit, Limited, Limiters, Limits
from roost.llm.recovery import Batching, Chains, Continuing, Degrading
from roost.llm.repair import Repairing
from roost.llm.retry import Retry, Retrying
from roost.log.content import ErrorData, Text
from roost.testing.clock import FakeClock
from roost.testing.models import run
from roost.testing.scripted import Answer, ScriptedModel

DOWN = Answer(error=ErrorData("overloaded", "down", True))


def _stack(inner: Model, limiters: Limiters, clock: FakeClock) -> Model:
    limited = Limited(inner, limiters.of("acme", inner.name))
    guarded = Guarded(limited, Breaker(Breaking(failures=2, cooldown=60, silence=30), clock=clock))
    retrying = Retrying(guarded, Retry(tries=3, patience=20), clock=clock, chance=lambda: 0.0)
    return Repairing(Continuing(Batching(retrying)))


async def test_a_call_that_meets_everything_on_its_way_is_answered_and_says_how() -> None:
    clock = FakeClock()
    limiters = Limiters({"acme": Limits(limits=(Limit(amount=2, seconds=10, kind="window"),))}, clock=clock)
    first = ScriptedModel([DOWN] * 9, name="first")
    second = ScriptedModel([Answer(text="one, ", stop="length"), "two"], name="second", deltas=True)
    models = {"first": _stack(first, limiters, clock), "second": _stack(second, limiters, clock)}
    events, end = await clock.run(run(Degrading(models, Chains(default=("first", "second")))))
    told: list[Any] = [event.kind for event in events if isinstance(event, Notice)]
    assert told == ["retry", "breaker", "retry", "fallback", "limit", "recovery", "limit"]
    assert isinstance(end, Completed)
    assert end.parts == (Text("one, two"),)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "one, two"
    assert (first.calls, second.calls) == (2, 2)
    assert clock.now() >= 10

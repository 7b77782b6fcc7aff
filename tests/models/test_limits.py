from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.errors import ConfigError, StoreUnreachable
from roost.log.content import ErrorData, Text, Usage
from roost.models.http_model import HttpModel
from roost.models.limit_headers import HEARD, allowances
from roost.models.request import Completed, Failed, ModelEvent, Notice, Profile, Request, TextDelta
from roost.routing.limits import Limit, Limited, Limiter, Limiters, Limits, TooLong
from roost.stores.sqlite.store import open_sqlite
from roost.testing.clock import FakeClock
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Answer, ScriptedModel

Asked = tuple[int, int, int | None]
"""(the second of asking, the tokens, the seconds until it is given up)."""

asked = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 14), st.none() | st.integers(0, 20)), min_size=1, max_size=25
)


async def _drive(limiters: list[Limiter], clock: FakeClock, calls: list[Asked]) -> list[tuple[int, float, int]]:
    """(number of the call, when it went, its tokens) for all that were not given up, in the order of their going."""
    went: list[tuple[int, float, int]] = []

    async def call(number: int, start: int, tokens: int, patience: int | None) -> None:
        gate = asyncio.Event()
        clock.call_at(float(start), gate.set)
        await gate.wait()
        task = asyncio.ensure_future(limiters[number % len(limiters)].acquire(tokens))
        if patience is not None:
            clock.call_at(clock.now() + patience, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return
        went.append((number, clock.now(), tokens))

    async def everybody() -> None:
        await asyncio.gather(*(call(number, *each) for number, each in enumerate(calls)))

    await clock.run(everybody())
    return went


def _most(went: list[tuple[int, float, int]], seconds: float, amount: Callable[[int], float]) -> float:
    """The most that went in any span `(t - seconds, t]`."""
    return max(
        (sum(amount(n) for _, at, n in went if end - seconds + 1e-6 < at <= end) for _, end, _ in went), default=0
    )


@settings(deadline=None, max_examples=examples(60))
@given(asked)
def test_no_window_holds_more_than_its_limit_and_everybody_gets_in_by_the_order_of_asking(calls: list[Asked]) -> None:
    clock = FakeClock()
    limits = Limits(
        limits=(
            Limit(unit="requests", amount=3, seconds=7, kind="window"),
            Limit(unit="tokens", amount=20, seconds=10, kind="window"),
        )
    )
    limiter = Limiter("a", limits, clock=clock)
    went = asyncio.run(_drive([limiter], clock, calls))
    assert _most(went, 7, lambda _: 1) <= 3
    assert _most(went, 10, lambda tokens: tokens) <= 20 + 1e-6
    patient = {number for number, (_, _, patience) in enumerate(calls) if patience is None}
    assert patient <= {number for number, _, _ in went}
    assert [calls[number][0] for number, _, _ in went] == sorted(calls[number][0] for number, _, _ in went)

    async def whole() -> float:
        await clock.advance(10)
        return (await limiter.acquire(20)).waited

    assert asyncio.run(whole()) == 0, "whoever gave up took something away"


@settings(deadline=None, max_examples=examples(60))
@given(asked)
def test_a_bucket_lets_its_burst_and_its_rate_through_and_no_more(calls: list[Asked]) -> None:
    clock = FakeClock()
    limit = Limit(unit="tokens", amount=30, seconds=15, burst=15)
    went = asyncio.run(_drive([Limiter("a", Limits(limits=(limit,)), clock=clock)], clock, calls))
    assert len(went) >= sum(patience is None for _, _, patience in calls)
    for span in (1, 5, 20):
        assert _most(went, span, lambda tokens: tokens) <= 15 + 2 * span + 1e-6


class Rates:
    """`Coordination.take` on a fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}
        self.broken = False

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        if self.broken:
            raise StoreUnreachable("gone")
        assert amount <= burst
        now = self._clock.now()
        level, at = self._levels.get(bucket, (burst, now))
        level = min(burst, level + (now - at) * rate)
        taken = level + 1e-9 >= amount
        self._levels[bucket] = (level - amount if taken else level, now)
        await asyncio.sleep(0)
        return 0.0 if taken else (amount - level) / rate


@settings(deadline=None, max_examples=examples(40))
@given(asked, st.sampled_from(["bucket", "window"]))
def test_many_nodes_keep_one_limit_and_nobody_starves(calls: list[Asked], kind: Any) -> None:
    clock = FakeClock()
    limits = Limits(limits=(Limit(unit="tokens", amount=20, seconds=10, kind=kind),), cluster=True)
    shared: Any = Rates(clock)
    nodes = [Limiter("a", limits, clock=clock, shared=shared) for _ in range(3)]
    went = asyncio.run(_drive(nodes, clock, calls))
    assert len(went) >= sum(patience is None for _, _, patience in calls)
    # A large amount is taken in pieces before its call goes: those pieces are as old as the call waited.
    if all(tokens <= 2 for _, tokens, _ in calls):
        assert _most(went, 10, lambda tokens: tokens) <= (20 if kind == "window" else 40) + 1e-6


async def test_a_rate_is_one_for_two_nodes_on_a_real_store(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "roost.db")
    try:
        limits = Limits(limits=(Limit(amount=10, seconds=1, burst=2),), cluster=True)
        nodes = [Limiter("a", limits, shared=store.coordination) for _ in range(2)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(node.acquire(1) for node in nodes for _ in range(3)))
        assert loop.time() - began >= 0.35
    finally:
        await store.close()


async def test_a_large_call_is_not_overtaken_by_small_ones() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(unit="tokens", amount=10, seconds=10),)), clock=clock)
    calls: list[Asked] = [(0, 10, None), (1, 10, None), *((2, 1, None) for _ in range(30))]
    went = await _drive([limiter], clock, calls)
    assert [number for number, _, _ in went][:2] == [0, 1]
    assert went[1][1] == pytest.approx(10)


async def test_a_call_larger_than_the_limit_goes_alone() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(unit="tokens", amount=10, seconds=10, kind="window"),)), clock=clock)
    went = await _drive([limiter], clock, [(0, 50, None), (0, 1, None)])
    assert [at for _, at, _ in went] == [0, 10]


async def test_what_was_not_used_is_given_back_and_wakes_who_waits() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(unit="tokens", amount=10, seconds=100, kind="window"),)), clock=clock)
    first = await limiter.acquire(10)
    waiting = asyncio.ensure_future(limiter.acquire(6))
    await clock.advance(1)
    assert not waiting.done()
    first.done(4)
    first.done(0)
    await clock.advance(0)
    assert waiting.done(), "6 of 10 are free"
    assert (await clock.run(limiter.acquire(1))).waited > 90


async def test_nobody_waits_longer_than_the_patience() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(amount=1, seconds=60),), patience=10), clock=clock)
    assert (await limiter.acquire(1)).waited == 0
    with pytest.raises(TooLong) as told:
        await clock.run(limiter.acquire(1))
    assert 59 < told.value.after <= 60
    limiter = Limiter("a", Limits(limits=(Limit(amount=1, seconds=8),), patience=10), clock=clock)
    results = await clock.run(_gathered(limiter, 3))
    assert [isinstance(result, TooLong) for result in results] == [False, False, True]


async def _gathered(limiter: Limiter, count: int) -> list[Any]:
    return await asyncio.gather(*(limiter.acquire(1) for _ in range(count)), return_exceptions=True)


def test_headers_of_either_kind_are_read_and_nonsense_is_not() -> None:
    openai = {
        "x-ratelimit-limit-requests": "60",
        "X-RateLimit-Remaining-Requests": "59",
        "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-remaining-tokens": "10",
        "x-ratelimit-reset-tokens": "20ms",
    }
    assert allowances(openai, 0) == {"requests": (59, 60, 360), "tokens": (10, None, 0.02)}
    anthropic = {
        "anthropic-ratelimit-tokens-limit": "1000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "1970-01-01T00:01:00Z",
    }
    assert allowances(anthropic, 50) == {"tokens": (0, 1000, 10)}
    for bad in ("", "soon", "-1", "nan", "1e400", "5 apples"):
        assert allowances({"x-ratelimit-remaining-tokens": bad, "x-ratelimit-reset-tokens": "1s"}, 0) == {}
        assert allowances({"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": bad}, 0) == {}


class Telling:
    """A model whose answers say what is left of ten requests, all of them there again after 100 seconds."""

    name = "telling"
    profile = Profile()

    def __init__(self, left: int, error: ErrorData | None = None) -> None:
        self.left = left
        self.error = error

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        self.left -= 1
        headers = {"limit": "10", "remaining": str(max(0, self.left)), "reset": "100s"}
        yield Notice(HEARD, {f"x-ratelimit-{key}-requests": value for key, value in headers.items()})
        if self.error is not None:
            yield Failed(self.error)
            return
        yield TextDelta("yes")
        yield Completed((Text("yes"),), "end", Usage(5, 5))

    async def close(self) -> None: ...


async def test_what_the_provider_says_is_left_is_kept_to_and_goes_no_further() -> None:
    clock = FakeClock()
    model = Limited(Telling(2), [Limiter("a", Limits(), clock=clock)])
    for _ in range(2):
        events, _ = await clock.run(run(model))
        assert events == [TextDelta("yes")]
        assert clock.now() == 0
    events, _ = await clock.run(run(model))
    assert clock.now() == pytest.approx(10), "a tenth of what comes back in 100 seconds"
    assert events[0] == Notice("limit", {"limits": ["a"], "seconds": 10.0})


async def test_all_calls_wait_when_the_provider_asks_for_it() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(), clock=clock)
    slow = ErrorData("rate_limited", "slow down", True, 30.0)
    assert (await failed(Limited(ScriptedModel([Answer(error=slow)]), [limiter]))).error == slow
    await clock.run(completed(Limited(ScriptedModel(["yes"]), [limiter])))
    assert clock.now() == 30


async def test_a_provider_that_asks_for_a_century_is_asked_again_after_an_hour() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(), clock=clock)
    error = ErrorData("rate_limited", "later", True, 3e9)
    await clock.run(failed(Limited(Telling(5, error), [limiter])))
    assert limiter.wait() == 3600
    await clock.advance(3600)
    assert limiter.wait() == 0


async def test_limits_of_an_account_and_of_a_model_both_hold() -> None:
    clock = FakeClock()
    limiters = Limiters(
        {
            "acme": Limits(limits=(Limit(amount=3, seconds=60, kind="window"),)),
            "acme/large": Limits(limits=(Limit(amount=1, seconds=10, kind="window"),)),
        },
        clock=clock,
    )
    large = Limited(ScriptedModel(["a", "a"]), limiters.of("acme", "large"))
    small = Limited(ScriptedModel(["b", "b"]), limiters.of("acme", "small"))
    assert limiters.of("other", "large") == ()
    await clock.run(completed(large))
    await clock.run(completed(large))
    assert clock.now() == 10
    await clock.run(completed(small))
    assert clock.now() == 10
    await clock.run(completed(small))
    assert clock.now() == 60


async def test_a_wait_that_is_too_long_and_a_store_that_is_gone_are_failures_as_data() -> None:
    clock = FakeClock()
    limits = Limits(limits=(Limit(amount=1, seconds=60),), patience=1)
    model = Limited(ScriptedModel(["a"]), [Limiter("a", limits, clock=clock)])
    await completed(model)
    error = (await failed(model)).error
    assert (error.code, error.retryable) == ("rate_limited", True)
    assert error.retry_after == pytest.approx(60)
    shared: Any = Rates(clock)
    shared.broken = True
    limiter = Limiter("a", Limits(limits=(Limit(amount=1, seconds=60),), cluster=True), clock=clock, shared=shared)
    model = Limited(ScriptedModel(["a"]), [limiter])
    assert (await failed(model)).error.code == "overloaded"
    shared.broken = False
    await clock.run(completed(model))
    assert clock.now() == 0, "the call that was not made was given back"


async def test_what_one_limit_gave_is_given_back_when_the_next_refuses() -> None:
    clock = FakeClock()
    limits = {
        "acme": Limits(limits=(Limit(amount=1, seconds=60),), patience=1),
        "acme/large": Limits(limits=(Limit(amount=1, seconds=600),)),
    }
    limiters = Limiters(limits, clock=clock)
    model = Limited(ScriptedModel(["a"]), limiters.of("acme", "large"))
    await limiters.of("acme", "other")[0].acquire(1)
    assert (await failed(model)).error.code == "rate_limited"
    await clock.advance(60)
    await clock.run(completed(model))
    assert clock.now() == 60


async def test_a_call_that_was_not_sent_for_another_reason_is_given_back() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(amount=1, seconds=60),)), clock=clock)
    said: list[ModelEvent] = [
        Failed(ErrorData("budget", "no room"), sent=False),
        Completed((Text("yes"),), "end"),
    ]

    class Saying(ScriptedModel):
        async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            yield said.pop(0)

    model = Limited(Saying([]), [limiter])
    assert (await failed(model)).error.code == "budget"
    await clock.run(completed(model))
    assert clock.now() == 0


async def test_a_call_that_is_cut_off_in_its_midst_still_counts() -> None:
    clock = FakeClock()
    limiter = Limiter("a", Limits(limits=(Limit(amount=1, seconds=60, kind="window"),)), clock=clock)
    model = Limited(ScriptedModel([Answer(text="a long answer", delay=60)]), [limiter])
    task = asyncio.ensure_future(run(model))
    await clock.advance(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await clock.run(limiter.acquire(1))).waited == pytest.approx(59)


def test_limits_that_let_nothing_through_are_refused() -> None:
    for bad in ({"amount": 0}, {"amount": 0.5}, {"amount": 1, "seconds": 0}, {"amount": 2, "burst": 0}):
        with pytest.raises(ConfigError):
            Limit(**bad)
    with pytest.raises(ConfigError, match="no store"):
        Limiters({"acme": Limits(cluster=True)})


async def test_a_server_that_says_what_is_left_is_heard_over_http(
    chat: Callable[..., HttpModel],
) -> None:
    body = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"x-ratelimit-limit-requests: 1\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 50s\r\n\r\n"
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        clock = FakeClock()
        limiter = Limiter("a", Limits(), clock=clock)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        events, _ = await run(Limited(chat(url), [limiter]), ask(stream=False))
        assert not [event for event in events if isinstance(event, Notice)]
        assert (await clock.run(limiter.acquire(1))).waited == pytest.approx(50)

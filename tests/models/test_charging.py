"""Every call is charged once, however it ends: over the stub provider's sockets and over real stores."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest
from tests.harness.wrapping import each_method

from roost.errors import ConfigError, Invalid, StoreUnreachable
from roost.log.content import ErrorData, Text, Usage
from roost.log.ledger import Balance
from roost.log.store import Store
from roost.models.http_model import HttpModel
from roost.models.lazy_model import LazyModel
from roost.models.profile import Price
from roost.models.prompt import Prompt
from roost.models.request import Bill, Budget, Completed, Failed, Model, ModelEvent, Notice, Profile, Request, TextDelta
from roost.models.tokens import estimate_request, margin
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.money.budgets import NANO, BudgetEntry, Spender
from roost.money.charging_model import Charging
from roost.money.ledger import Ledger
from roost.providers.model_stack import Parts, stacked
from roost.routing.retry import Retry, Retrying
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Answer, ScriptedModel

NOVEMBER = 1_795_000_000.0
MONTH = "month:2026-11"
PRICE = Price(10, 100)
PROFILE = Profile(price=PRICE, max_output=2_000)
USAGE = Usage(input=20, output=30)
COST = 20 * 10 + 30 * 100
SENT = margin(estimate_request(ask()))
MOST = SENT * 10 + 2_000 * 100
"""Nano-dollars that a call of `ask` reserves."""
Make = Callable[..., HttpModel]


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    store = await open_store(address)
    yield store
    await store.close()


def ledger(store: Any, month: int | None = None, *, owner: str = "n1", **more: Any) -> Ledger:
    """`month` in nano-dollars."""
    entry = BudgetEntry(month=None if month is None else month / NANO, **more)
    return Ledger(store, owner=owner, budget=entry, now=lambda: NOVEMBER)


def scripted(*answers: Answer | str, profile: Profile = PROFILE) -> ScriptedModel:
    usual = [Answer(text=each, usage=USAGE) if isinstance(each, str) else each for each in answers]
    return ScriptedModel(usual, profile=profile, deltas=True)


def billed(**options: Any) -> Request:
    return ask(bill=Bill(), meta={"session": "s", "agent": "helper"}, **options)


def bill_of(request: Request) -> tuple[int | None, int, int]:
    """(cost, calls, estimated calls)."""
    assert request.bill is not None
    return request.bill.usage.cost, request.bill.calls, request.bill.estimated


def stream(model: Model, request: Request) -> aclosing[Any]:
    return aclosing(cast("Any", model.stream(request)))


async def settled(store: Store, spent: int) -> None:
    async with asyncio.timeout(60):
        while await store.ledger.reserved(""):
            await asyncio.sleep(0.01)
    assert await store.ledger.balance(MONTH) == Balance(spent, 0)


# Answers


async def test_an_answer_is_settled_from_what_the_provider_says(store: Store, model: Make) -> None:
    seen: list[Balance] = []
    with ProviderServer(lambda _: Reply(text="hello there", usage=USAGE)) as server:
        it = Charging(model(server.url, profile=PROFILE), ledger(store))
        request = billed(budgets=(Budget("turn:s:1", 10 * MOST),))
        async with stream(it, request) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    seen.append(await store.ledger.balance(MONTH))
                if isinstance(event, Completed):
                    assert event.usage == Usage(20, 30, cost=COST)
                    assert bill_of(request) == (COST, 1, 0)
    assert set(seen) == {Balance(0, MOST)}
    assert request.bill is not None
    assert (request.bill.model, request.bill.usage.input) == ("scripted", 20)
    assert await store.ledger.balances("") == {
        name: Balance(COST, 0) for name in (MONTH, "agent:helper:2026-11", "turn:s:1")
    }


async def test_every_try_is_charged_and_the_bill_holds_them_all(store: Store, model: Make) -> None:
    faults = [Fault(kind="status", status=503), Fault(kind="close", at=400), None]
    replies = iter([Reply(text="hello", usage=USAGE, fault=fault) for fault in faults])
    with ProviderServer(lambda _: next(replies)) as server:
        it = Retrying(
            Charging(model(server.url, profile=PROFILE), ledger(store)),
            Retry(base=0.01, restart=True),
            chance=lambda: 0,
        )
        request = billed()
        await completed(it, request)
        stats = server.stats
    cost, calls, estimated = bill_of(request)
    assert (calls, estimated, stats.requests) == (3, 1, 3)
    assert cost is not None
    assert COST + SENT * 10 <= cost < COST + MOST
    await settled(store, cost)


async def test_an_answer_without_a_count_is_estimated(store: Store) -> None:
    for said in (True, False):
        inner = ScriptedModel([Answer(text="x" * 400, usage=Usage())], profile=PROFILE, deltas=said)
        request = billed()
        end = await completed(Charging(inner, ledger(store)), request)
        assert end.usage == Usage(SENT, margin(100), cost=SENT * 10 + margin(100) * 100)
        assert bill_of(request) == (end.usage.cost, 1, 1)


# Calls that do not come to their end


async def test_a_call_that_its_reader_leaves_is_charged_by_what_was_sent_and_heard(store: Store, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="word " * 200, usage=USAGE, piece=5, pace=0.02)) as server:
        it = Charging(model(server.url, profile=PROFILE), ledger(store))
        request = billed()
        async with stream(it, request) as events:
            heard = ""
            async for event in events:
                heard += event.text if isinstance(event, TextDelta) else ""
                if len(heard) >= 40:
                    break
    expected = SENT * 10 + margin(len(heard) // 4) * 100
    assert bill_of(request) == (expected, 1, 1)
    await settled(store, expected)


async def test_a_stream_that_is_dropped_is_charged_and_one_that_never_began_is_not(store: Store) -> None:
    inner = ScriptedModel(lambda _: Answer(text="word " * 8, pace=60, usage=USAGE), profile=PROFILE, deltas=True)
    it = ledger(store)
    core = stacked(inner, Parts(ledger=it))
    never, dropped = billed(), billed()
    core.stream(never)
    async for event in core.stream(dropped):
        assert isinstance(event, TextDelta)
        break
    gc.collect()
    async with asyncio.timeout(60):
        while dropped.bill is None or not dropped.bill.calls:
            await asyncio.sleep(0.01)
    await it.close()
    assert bill_of(never) == (0, 0, 0)
    assert bill_of(dropped)[1:] == (1, 1)
    await settled(store, bill_of(dropped)[0] or 0)


async def test_a_call_that_is_cancelled_is_charged_once(store: Store, model: Make) -> None:
    async def read(request: Request, begun: asyncio.Event) -> None:
        async for event in it.stream(request):
            if isinstance(event, TextDelta):
                begun.set()

    with ProviderServer(lambda _: Reply(text="word " * 200, usage=USAGE, piece=5, pace=0.02)) as server:
        it = Charging(model(server.url, profile=PROFILE), ledger(store))
        total = 0
        for again in (False, True):
            request, begun = billed(), asyncio.Event()
            task = asyncio.create_task(read(request, begun))
            await begun.wait()
            task.cancel()
            if again:
                await asyncio.sleep(0)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cost, calls, estimated = bill_of(request)
            assert (calls, estimated) == (1, 1)
            assert cost is not None
            assert SENT * 10 < cost < MOST
            total += cost
        await settled(store, total)


async def test_cancelled_at_any_moment_a_call_leaves_nothing_reserved_and_one_line_on_the_bill(store: Store) -> None:
    it = ledger(store)
    inner = ScriptedModel(lambda _: Answer(text="word " * 8, usage=USAGE, pace=0.001), profile=PROFILE, deltas=True)
    chance, bills = random.Random(3), list[Bill]()

    async def call(begun: asyncio.Event) -> None:
        request = billed()
        assert request.bill is not None
        bills.append(request.bill)
        async for _ in Charging(inner, it).stream(request):
            begun.set()

    async def cut(number: int) -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(call(begun))
        await (begun.wait() if number % 4 == 0 else asyncio.sleep(chance.random() * 0.06))
        task.cancel()
        await asyncio.wait({task})

    await asyncio.gather(*(cut(number) for number in range(60)))
    await it.close()
    assert {bill.calls for bill in bills} <= {0, 1}
    assert sum(bill.estimated for bill in bills) >= 15
    await settled(store, sum(bill.usage.cost or 0 for bill in bills))


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_what_was_turned_away_costs_nothing(status: int, store: Store, model: Make) -> None:
    with ProviderServer(lambda _: Reply(fault=Fault(kind="status", status=status))) as server:
        request = billed()
        await failed(Charging(model(server.url, profile=PROFILE), ledger(store)), request)
    assert bill_of(request) == (0, 1, 0)
    request = billed()
    await failed(Charging(model("http://127.0.0.1:9/v1", profile=PROFILE), ledger(store)), request)
    assert bill_of(request) == (0, 1, 0)
    await settled(store, 0)


@pytest.mark.parametrize("kind", ["close", "reset", "error", "short", "no_finish", "empty", "html"])
async def test_the_ledger_is_never_below_what_the_provider_counts(kind: Any, store: Store, model: Make) -> None:
    """Wherever it breaks an answer off. The answer's output is as long as the words that it was counted by."""
    usage = Usage(input=SENT, output=100)
    places = [1, 150, 300, 1_000, 5_000, -20]
    it = ledger(store)

    def reply(_: Any) -> Reply:
        return Reply(text="word" * 100, usage=usage, piece=16, fault=Fault(kind=kind, at=places.pop()))

    with ProviderServer(reply) as server:
        charged = Charging(model(server.url, profile=PROFILE), it)
        while places:
            await run(charged, billed())
        served = server.stats.served.get("scripted")
    await it.close()
    counted = 0 if served is None else PRICE.cost(Usage(input=served.input, output=served.output))
    assert counted is not None
    assert counted <= (await store.ledger.balance(MONTH)).spent
    assert await store.ledger.reserved("") == {}


# Limits


async def test_a_call_that_does_not_fit_is_not_made(store: Store) -> None:
    inner = scripted("hello", "never")
    it = Charging(inner, ledger(store, MOST + COST - 1))
    small = billed(max_output=500)
    assert (await completed(it, small)).usage.cost == COST
    for budgets in ((), (Budget("turn:s:1", 10),)):
        request = billed(max_output=1_990 if not budgets else 10, budgets=budgets)
        events = [event async for event in it.stream(request)]
        if not budgets:
            assert isinstance(events[-1], Completed)  # what is left is enough for this
            continue
        assert events[0] == Notice("budget", {"refused": "turn:s:1"})
        assert isinstance(events[1], Failed)
        assert (events[1].error.code, events[1].error.retryable) == ("budget", False)
        assert "limits.money" in events[1].error.message
        assert bill_of(request) == (0, 0, 0)
    assert inner.calls == 2
    await settled(store, 2 * COST)


async def test_a_smaller_answer_is_asked_for_where_only_that_fits(store: Store, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="hello", usage=USAGE)) as server:
        limit = SENT * 10 + 1_500 * 100 + 99
        it = Charging(model(server.url, profile=PROFILE), ledger(store, limit, warn=1.0))
        events, _ = await run(it, billed())
        assert events[0] == Notice("budget", {"budget": MONTH, "max_output": 1_500})
        assert 1_500 in server.provider.bodies[-1].values()
        # 2,000 asked for and 1,468 left: then 1,436, ..., until there are 1,024 no more.
        for _ in range(20):
            request = billed()
            events = [event async for event in it.stream(request)]
            if isinstance(events[-1], Failed):
                break
        calls = server.stats.requests
    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == "budget"
    spent = (await store.ledger.balance(MONTH)).spent
    assert spent == calls * COST
    assert limit - spent < SENT * 10 + 1_024 * 100 <= limit - spent + COST


async def test_under_a_limit_an_answer_cannot_be_larger_than_what_was_reserved(store: Store, model: Make) -> None:
    """Whatever maximum the provider knows of itself, and without asking for more than the window holds."""
    with ProviderServer(lambda _: Reply(text="hello", usage=USAGE)) as server:
        for limit, window, expected in ((None, 32_768, None), (10**9, 32_768, 2_000), (10**9, SENT + 1_500, 1_500)):
            profile = Profile(price=PRICE, max_output=2_000, window=window)
            it = Charging(model(server.url, profile=profile), ledger(store, limit))
            events, _ = await run(it, billed())
            assert server.provider.bodies[-1].get("max_tokens") == expected
            assert not [event for event in events if isinstance(event, Notice) and event.kind == "budget"]
        await completed(Charging(model(server.url, profile=PROFILE), ledger(store, 10**9)), billed(max_output=7))
        assert server.provider.bodies[-1]["max_tokens"] == 7


async def test_marks_of_the_month_are_told_by_the_call_that_passes_them(store: Store) -> None:
    it = Charging(scripted(*["hello"] * 10), ledger(store, 10 * COST, warn=0.25))
    told: list[Any] = []
    for _ in range(10):
        events, _ = await run(it, billed(max_output=30))
        told.append([event.data["percent"] for event in events if isinstance(event, Notice)])
    assert told == [[], [], [25], [], [], [], [], [], [90], [100]]


async def test_many_calls_share_a_limit_and_wait_for_each_other(store: Store) -> None:
    """Each reserves far more than it spends. Those that only calls under way keep out get their turn."""
    limit = MOST + 40 * COST
    it = ledger(store, limit)
    inner = ScriptedModel(lambda _: Answer(text="hello", usage=USAGE, delay=0.01), profile=PROFILE)
    rules = Retry(tries=10_000, base=0.01, longest=0.05)
    ends = await asyncio.gather(*(run(Retrying(Charging(inner, it), rules), billed()) for _ in range(20)))
    assert all(isinstance(end, Completed) for _, end in ends)
    await settled(store, 20 * COST)


async def test_what_is_free_or_of_unknown_price_is_not_written(store: Store) -> None:
    for price in (Price(0, 0), None, Price(1, 1, currency="CNY")):
        inner = scripted("hello", profile=Profile(price=price))
        request = billed(budgets=(Budget("session:s"),))
        await completed(Charging(inner, ledger(store)), request)
        assert bill_of(request) == (0 if price == Price(0, 0) else None, 1, 0)
    assert await store.ledger.balances("") == {}


async def test_an_unknown_price_is_refused_under_any_limit(store: Store) -> None:
    limited = [ledger(store, 10**9), ledger(store, agents={"*": 1})]
    for price in (None, Price(1, 1, currency="CNY")):
        for it, budgets in ((limited[0], ()), (limited[1], ()), (ledger(store), (Budget("turn:s:1", 5),))):
            inner = scripted("never", profile=Profile(price=price))
            request = billed(budgets=budgets)
            events = [event async for event in Charging(inner, it).stream(request)]
            assert [event.kind for event in events if isinstance(event, Notice)] == ["budget"]
            assert isinstance(events[-1], Failed)
            assert (events[-1].error.code, events[-1].error.retryable) == ("price_unknown", False)
            assert "models.toml" in events[-1].error.message
            assert (inner.calls, bill_of(request)) == (0, (0, 0, 0))
    allowed = ledger(store, 10**9, allow_unknown=True)
    request = billed()
    await completed(Charging(scripted("hello", profile=Profile()), allowed), request)
    assert bill_of(request) == (None, 1, 0)
    assert await store.ledger.balances("") == {}


async def test_a_cost_that_only_the_provider_knows_is_counted(store: Store) -> None:
    inner = scripted(Answer(text="hello", usage=Usage(20, 30, cost=77)), profile=Profile())
    request = billed()
    await completed(Charging(inner, ledger(store, 10, allow_unknown=True)), request)
    assert bill_of(request) == (77, 1, 0)
    await settled(store, 77)


async def test_what_never_reached_its_model_costs_nothing_and_is_on_no_bill(store: Store, model: Make) -> None:
    def keyless() -> Model:
        raise ConfigError("no key")

    class Broken:
        name = "broken"

        def compile(self, request: Request, profile: Profile) -> Prompt:
            raise RuntimeError("a defect")

    client: Any = LazyModel("late", PROFILE, keyless)
    with ProviderServer() as server:
        endpoint = Endpoint(base_url=server.url)
        broken = HttpModel(model="m", endpoint=endpoint, wire=wire("openai_chat"), profile=PROFILE, compiler=Broken())
        for inner, code in ((client, "auth"), (broken, "internal")):
            request = billed()
            end = await failed(Charging(inner, ledger(store)), request)
            assert (end.error.code, end.sent, bill_of(request)) == (code, False, (0, 0, 0))
        assert server.stats.requests == 0
    await settled(store, 0)


async def test_a_document_that_nobody_saw_the_end_of_counts_with_the_most_it_may_have(
    store: Store, model: Make
) -> None:
    """Its provider may have made all of it, and nothing of it was heard."""
    reply = Reply(text="word " * 200, usage=Usage(input=20, output=900), delay=0.3, fault=Fault(kind="close", at=50))
    with ProviderServer(lambda _: reply) as server:
        it = Charging(model(server.url, profile=PROFILE), ledger(store))
        request = billed(stream=False, max_output=1_000)
        await failed(it, request)
        assert bill_of(request) == (SENT * 10 + 1_000 * 100, 1, 1)
        cut = billed(stream=False)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await run(it, cut)
        assert bill_of(cut) == (MOST, 1, 1)
    await settled(store, 2 * SENT * 10 + 3_000 * 100)


def gone(_: str, __: Any) -> Callable[..., Any]:
    """A method of a store that does not answer."""

    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnreachable("gone")

    return fail


async def test_without_the_store_no_call_is_made(store: Store) -> None:
    inner = scripted("never")
    request = billed()
    it = ledger(each_method(store, gone))
    end = await failed(Charging(inner, it), request)
    assert (end.error.code, end.error.retryable) == ("overloaded", True)
    assert (inner.calls, bill_of(request)) == (0, (0, 0, 0))


class _Silent:
    """Ends without an outcome, against the contract."""

    name, profile = "silent", PROFILE

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        yield TextDelta("x" * 40)

    async def close(self) -> None:
        pass


async def test_models_that_break_the_contract_are_charged_too(store: Store) -> None:
    request = billed()
    assert len([event async for event in Charging(_Silent(), ledger(store)).stream(request)]) == 1
    expected = SENT * 10 + margin(10) * 100
    assert bill_of(request) == (expected, 1, 1)
    await settled(store, expected)


async def test_a_failure_without_a_word_of_its_cost_is_estimated(store: Store) -> None:
    request = billed()
    end = await failed(Charging(scripted(Answer(error=ErrorData("timeout", "slow"))), ledger(store)), request)
    assert end.usage == Usage(SENT, 0, cost=SENT * 10)
    assert bill_of(request) == (SENT * 10, 1, 1)


async def test_a_reader_that_leaves_before_anything_is_sent_owes_nothing(store: Store) -> None:
    inner = scripted("never")
    it = Charging(inner, ledger(store, SENT * 10 + 1_500 * 100))
    request = billed()
    async with stream(it, request) as events:
        assert isinstance(await anext(events), Notice)
        assert await store.ledger.reserved("call:s:") != {}
    assert (inner.calls, bill_of(request)) == (0, (0, 0, 0))
    await settled(store, 0)


async def test_the_name_and_the_answer_are_the_models_own(store: Store) -> None:
    it = Charging(scripted("hello"), ledger(store))
    assert (it.name, it.profile) == ("scripted", PROFILE)
    assert (await completed(it, ask())).parts == (Text("hello"),)
    await it.close()


@pytest.mark.parametrize("tokens", [0, -1, -1_000_000_000, 2**31, 10**400])
def test_no_request_has_an_answer_below_one_token(tokens: int) -> None:
    with pytest.raises(Invalid, match="max_output"):
        ask(max_output=tokens)


async def test_nothing_negative_is_reserved(store: Store) -> None:
    book = ledger(store, month=1_000)
    with pytest.raises(ValueError, match="cannot be reserved"):
        await book.reserve(-1, Spender(model="m"))

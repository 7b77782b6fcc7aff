"""Lost calls are settled by what the stub provider's usage reports say, and only where that is certain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from roost.errors import ConfigError
from roost.features.budgets.reconcile import Reconciled, Reconciler
from roost.log.content import ErrorData, Usage
from roost.log.events import Event, ModelFailed, ModelNotice, ModelStarted
from roost.log.ledger import LostCall
from roost.log.store import Store
from roost.models.catalog.facts import PriceTable
from roost.money.budgets import Held, Spender
from roost.money.ledger import Ledger
from roost.money.running_calls import Plan
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.config_file import load_config
from roost.providers.usage_reports import ReportFailed
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.usage_reports import Call, UsageReports

from .support import place
from .test_costs import at, step, write

START = at(4) + 7.0
LATER = START + 86_400.0
IN, OUT, CACHED = 1_000, 4_000, 100
"""Nano-dollars a token."""
Kind = Literal["openai", "anthropic"]


@pytest.fixture
async def store(store: None, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(place.url or tmp_path / "roost.db")
    yield opened
    await opened.close()


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def reports() -> UsageReports:
    return UsageReports()


@pytest.fixture
def url(reports: UsageReports) -> Iterator[str]:
    with ProviderServer(reports=reports) as server:
        yield server.url


def models(url: str, *, admin: str = "admin", price: PriceTable | None = None, **entry: Any) -> Models:
    environ = {"OPENAI_API_KEY": "key", "ANTHROPIC_API_KEY": "key", "OPENROUTER_API_KEY": "key"}
    environ |= {"OPENAI_ADMIN_KEY": admin, "ANTHROPIC_ADMIN_KEY": admin}
    accounts = {name: AccountEntry(base_url=url, **entry) for name in ("openai", "anthropic", "openrouter")}
    facts = ModelEntry(price=price or PriceTable(input=1.0, output=4.0, cached=0.1))
    names = {f"{account}/{model}": facts for account in accounts for model in ("big", "small")}
    return Models(environ=environ, dotenv=None, config=ModelsConfig(accounts=accounts, models=names))


async def lose(
    store: Store, model: str, *, begun: float = START, session: str = "dead", reserved: int = 10**9, user: str = "ann"
) -> LostCall:
    """A call whose process died. It was charged a tenth of what it reserved."""
    dead = Ledger(store, owner="dead", now=lambda: begun)
    plan = Plan(reserved, base=reserved // 10)
    assert isinstance(await dead.reserve(reserved, Spender(session=session, user=user, model=model), plan), Held)
    (call,) = await store.ledger.open_calls(f"call:{session}:")
    assert call.note is not None
    assert await store.ledger.lose(call.id, reserved // 10, call.note, told=False)
    await dead.close()
    return next(lost for lost in await store.ledger.lost("") if lost.id == call.id)


async def reconcile(store: Store, models: Models, *, ours: bool = True, now: float = LATER, **more: Any) -> Reconciled:
    ledger = Ledger(store, owner="heir", now=lambda: now)
    rates = {"CNY": 0.1}
    try:
        return await Reconciler(store, ledger, models, rates.get, ours=ours, now=lambda: now).run(**more)
    finally:
        await ledger.close()
        await models.close()


async def test_a_lost_call_costs_what_the_report_has_beyond_the_logs(
    store: Store, kind: Kind, reports: UsageReports, url: str
) -> None:
    """A session called the same model before and meanwhile; another model and another hour are no matter."""
    name = f"{kind}/big"
    call = await lose(store, name)
    mine, lost = Usage(900, 50, cached=400), Usage(500, 30, cached=100)
    log = [*step(START - 30, name, mine), *step(START + 90, name, mine), *step(START + 95, f"{kind}/small", mine)]
    await write(store, "live", "clerk", log)
    reports.calls += [Call(at=START + after, model="big-2026-05-01", usage=mine) for after in (-30, 90)]
    reports.calls += [
        Call(at=START + 40, model="big-2026-05-01", usage=lost, dollars=0.5),
        Call(at=START + 95, model="small", usage=Usage(7, 7)),
        Call(at=START + 50_000, model="big-2026-05-01", usage=Usage(7, 7)),
    ]
    cost = 400 * IN + 100 * CACHED + 30 * OUT
    found = await reconcile(store, models(url))
    (compared,) = found.calls
    assert (compared.charged, compared.cost, compared.reported, compared.why) == (10**8, cost, cost, None)
    (day,) = found.days
    assert (day.day, day.billed) == ("2026-11-04", 5 * 10**8)
    (now,) = await store.ledger.lost("")
    assert (now.cost, now.settled) == (cost, "report")
    assert (await store.ledger.balance("month:2026-11")).spent == cost
    assert (await store.ledger.balance("user:ann:2026-11")).spent == cost
    asked = len(reports.asked)
    assert (await reconcile(store, models(url))).calls == []
    assert len(reports.asked) == asked, "nothing is left to ask for"
    assert await store.ledger.lost("") == [now]
    assert call.id == now.id


@pytest.mark.one_on_postgres
async def test_what_others_may_have_used_is_shown_and_left(
    store: Store, kind: Kind, reports: UsageReports, url: str
) -> None:
    await lose(store, f"{kind}/big")
    reports.calls.append(Call(at=START, model="big", usage=Usage(500, 30)))
    reports.calls.append(Call(at=START, model="big", usage=Usage(100, 10), key_id="key_2"))
    (left,) = (await reconcile(store, models(url), ours=False)).calls
    assert (left.cost, left.reported) == (None, 600 * IN + 40 * OUT)
    assert ("2 calls at that time" if kind == "openai" else "pass --ours") in (left.why or "")
    assert (await store.ledger.lost(""))[0].settled is None
    (settled,) = (await reconcile(store, models(url, report_key_id="key_1"), ours=False)).calls
    assert settled.cost == 500 * IN + 30 * OUT


@pytest.mark.one_on_postgres
async def test_pages_are_read_to_the_last(store: Store, kind: Kind, reports: UsageReports, url: str) -> None:
    reports.most = 7
    await lose(store, f"{kind}/big")
    reports.calls.append(Call(at=START, model="big", usage=Usage(50, 3)))
    (call,) = (await reconcile(store, models(url))).calls
    assert call.cost == 50 * IN + 3 * OUT
    assert sum("page=" in asked for asked in reports.asked) > 5


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("admin", ["wrong-admin-key", "key"])
async def test_a_wrong_key_settles_nothing_and_is_not_shown(
    store: Store, kind: Kind, admin: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await lose(store, f"{kind}/big")
    with pytest.raises(ReportFailed, match="_ADMIN_KEY, or report_key under") as refused:
        await reconcile(store, models(url, admin=admin))
    assert refused.value.code == "report_failed"
    assert "wrong-admin-key" not in f"{refused.value}{caplog.text}"
    assert await store.ledger.lost("") == [before]


@pytest.mark.one_on_postgres
async def test_without_an_admin_key_the_error_names_it(store: Store, kind: Kind, url: str) -> None:
    await lose(store, f"{kind}/big")
    with pytest.raises(ConfigError, match=rf"set {kind.upper()}_ADMIN_KEY"):
        await reconcile(store, models(url, admin=" "))


async def _why(store: Store, url: str, *calls: Call, kind: Kind = "openai", now: float = LATER) -> str:
    reports = UsageReports(calls)
    with ProviderServer(reports=reports) as server:
        found = await reconcile(store, models(server.url), now=now)
    assert {call.cost for call in found.calls} == {None}
    assert {call.settled for call in await store.ledger.lost("")} == {None}
    return found.calls[0].why or ""


async def test_what_is_not_certain_is_left(store: Store, kind: Kind, url: str) -> None:
    name = f"{kind}/big"
    await lose(store, name)
    own = Usage(900, 50)
    await write(store, "live", "clerk", step(START + 60, name, own))
    mine = Call(at=START + 60, model="big", usage=own)
    lost = Call(at=START, model="big", usage=Usage(500, 30))
    assert "no call of this model" in await _why(store, url)
    assert "no call of this model" in await _why(store, url, Call(at=START, model="other", usage=own))
    assert "less than the logs" in await _why(store, url, lost)
    huge = Call(at=START, model="big", usage=Usage(2_000_000, 30))
    assert "more than was reserved" in await _why(store, url, mine, huge)
    assert "reports come late" in await _why(store, url, mine, lost, now=START + 4_000)
    if kind == "openai":
        assert "the report has 3 calls" in await _why(store, url, mine, lost, lost)
    again = [step(START + 30, name, own)[0], ModelNotice(at=START + 29, step=1, kind="retry")]
    await write(store, "again", "clerk", [*again, step(START + 30, name, own)[1]])
    assert "tried again" in await _why(store, url, mine, mine, lost)
    await store.sessions.delete("again")
    failed: list[Event] = [
        ModelStarted(at=START + 5, step=1, model=name),
        ModelFailed(at=START + 9, step=1, error=ErrorData("timeout", "slow"), usage=Usage(5, cost=50)),
    ]
    await write(store, "failing", "clerk", failed)
    assert "tokens are not known" in await _why(store, url, mine, lost)


async def test_lost_calls_of_one_time_share_what_it_cost_and_not_between_users(
    store: Store, kind: Kind, reports: UsageReports, url: str
) -> None:
    name = f"{kind}/big"
    await lose(store, name, session="a", reserved=3 * 10**8)
    await lose(store, name, session="b", reserved=10**8, begun=START + 20)
    reports.calls += [Call(at=START + after, model="big", usage=Usage(500, 25)) for after in (0, 20)]
    found = await reconcile(store, models(url))
    assert [call.cost for call in found.calls] == [900_000, 300_000]
    await lose(store, name, session="c", begun=START + 40_000)
    await lose(store, name, session="d", begun=START + 40_020, user="bob")
    reports.calls += [Call(at=START + 40_000 + after, model="big", usage=Usage(500, 25)) for after in (0, 20)]
    found = await reconcile(store, models(url))
    assert {(call.cost, call.reported) for call in found.calls} == {(None, 1_200_000)}
    assert "different budgets" in (found.calls[0].why or "")


@pytest.mark.one_on_postgres
async def test_prices_and_bills_in_another_currency(store: Store, kind: Kind, reports: UsageReports, url: str) -> None:
    await lose(store, f"{kind}/big")
    reports.calls.append(Call(at=START, model="big", usage=Usage(1_000, 100), dollars=12.0))
    reports.currency = "cny"
    config = models(url)
    yuan = PriceTable(input=10.0, output=40.0, currency="CNY")
    config.register_model(f"{kind}/big", ModelEntry(price=yuan))
    rate = config.card(f"{kind}/big").profile.price
    assert rate is not None
    assert rate.rate is not None
    found = await reconcile(store, config)
    assert found.calls[0].cost == round((1_000 * 10_000 + 100 * 40_000) * rate.rate)
    assert [(day.billed, day.currency) for day in found.days] == [(1_200_000_000, "CNY")]
    await lose(store, f"{kind}/big", session="again", begun=START + 40_000)
    reports.currency = "xyz"
    reports.calls.append(Call(at=START + 40_000, model="big", usage=Usage(1_000, 100), dollars=12.0))
    assert [(day.billed, day.currency) for day in (await reconcile(store, models(url))).days] == [(None, "XYZ")]


async def test_openrouter_says_what_a_call_has_cost(store: Store, reports: UsageReports, url: str) -> None:
    dead = Ledger(store, owner="dead", now=lambda: START)
    for session, id in (("a", "gen-1"), ("b", "gen-2"), ("c", None)):
        assert isinstance(await dead.reserve(10**9, Spender(session=session, model="openrouter/big")), Held)
        (call,) = await store.ledger.open_calls(f"call:{session}:")
        await store.ledger.progress({call.id: 5}, {call.id: id} if id else {})
    await dead.close()
    heir = Ledger(store, owner="heir", now=lambda: START)
    for session in "abc":
        await heir.recover(session)
    reports.calls.append(Call(at=START, model="big", usage=Usage(10, 5), dollars=0.00012, id="gen-1"))
    found = {call.call[:6]: call for call in (await reconcile(store, models(url), ours=False, now=START)).calls}
    assert found["call:a"].cost == 120_000
    assert "does not know gen-2" in (found["call:b"].why or "")
    assert "before its id was noted" in (found["call:c"].why or "")
    assert [call.settled for call in await store.ledger.lost("")].count("report") == 1


async def test_an_account_without_a_report_is_left(store: Store, url: str) -> None:
    await lose(store, "groq/big")
    (call,) = (await reconcile(store, models(url))).calls
    assert "'groq' has no usage report" in (call.why or "")


async def test_an_admin_key_goes_to_no_server_that_a_env_file_names(store: Store, url: str, tmp_path: Path) -> None:
    await lose(store, "openai/big")
    (tmp_path / ".env").write_text(f"OPENAI_BASE_URL={url}\nOPENAI_API_KEY=key\n")
    stray = Models(environ={"OPENAI_ADMIN_KEY": "admin"}, dotenv=tmp_path / ".env", config=ModelsConfig())
    with pytest.raises(ConfigError, match="may not say where your keys go"):
        await reconcile(store, stray)


def test_an_admin_key_does_not_belong_into_models_toml(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[accounts.openai]\nreport_key = "sk-admin-123456"\n')
    with pytest.raises(ConfigError, match="env:OPENAI_ADMIN_KEY") as refused:
        load_config(tmp_path, {})
    assert "123456" not in str(refused.value)

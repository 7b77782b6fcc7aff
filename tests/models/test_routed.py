"""`auto` over real connections: one stub provider for each account, and a clock that passes as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import pytest
from tests.harness.postgres.server import PostgresServer

from roost.errors import ConfigError, NotFound, StoreUnreachable
from roost.log.content import Image, Text, UserMessage
from roost.log.coordination import Coordination
from roost.models.request import Completed, Failed, Model, ModelEvent, Notice, Request, TextDelta
from roost.money.budgets import NANO, BudgetEntry, Held, Spender
from roost.money.ledger import Ledger
from roost.providers.accounts import Models
from roost.providers.auto_model import Routed, connect
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.config_file import load_config
from roost.providers.model_stack import Parts, stacked
from roost.providers.model_status import FRESH as SEEN
from roost.providers.model_status import ProcessModels, Saving
from roost.routing.breakers import Breaking
from roost.routing.limits import Limit
from roost.routing.profiles import BUILT_IN, FRESH, Profiles
from roost.routing.retry import Retry
from roost.routing.route import STEPS, ProfileEntry
from roost.routing.router import named
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.clock import FakeClock
from roost.testing.models import ask, run, user
from roost.testing.scripted import ScriptedModel

T = TypeVar("T")
DOCS = Path(__file__).parents[2] / "docs" / "guides" / "routing.md"
ONCE = Retry(tries=1)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SMALL = ModelEntry(window=4_000, max_output=500)
LARGE = ModelEntry(window=64_000, max_output=500, images=True)


class Stub:
    """A provider whose word is its name; `down` answers 500, `wait` 429 with Retry-After."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.down = False
        self.wait: list[str] = []
        self.says: Reply | None = None
        self.server = ProviderServer(self._reply)

    def _reply(self, body: dict[str, Any]) -> Reply:
        if self.wait:
            return Reply(fault=Fault(kind="status", status=429, retry_after=self.wait.pop(), times=0))
        return self.says or Reply(text=self.name, fault=Fault(kind="status", times=0) if self.down else None)

    @property
    def calls(self) -> int:
        return self.server.stats.requests


class World:
    """Three accounts `one`, `two`, `three`, each with a model `m`, and the profiles of a test."""

    def __init__(self, stubs: list[Stub]) -> None:
        self.stubs = {stub.name: stub for stub in stubs}
        self.clock = FakeClock()
        self.made: list[Models] = []

    def models(
        self,
        *,
        shared: Coordination | None = None,
        saving: Saving | None = None,
        retry: Retry = ONCE,
        models: dict[str, ModelEntry] | None = None,
        profile: str = "mine",
        profiles: dict[str, ProfileEntry] | None = None,
        mine: ProfileEntry | None = None,
    ) -> tuple[Models, Profiles]:
        breaker = Breaking(failures=2, cooldown=30)
        accounts = {
            name: AccountEntry(base_url=stub.server.url, retry=retry, breaker=breaker)
            for name, stub in self.stubs.items()
        }
        entries = {f"{name}/m": LARGE for name in self.stubs} | {f"{k}/m": entry for k, entry in (models or {}).items()}
        all_of = {"mine": mine or ProfileEntry(), **(profiles or {})}
        config = ModelsConfig(accounts=accounts, models=entries, profiles=all_of, profile=profile)
        parts = Parts(config, clock=self.clock, chance=lambda: 0.0)
        found = Models(environ={}, dotenv=None, config=config, wrap=lambda model, _: stacked(model, parts))
        self.made.append(found)
        return found, connect(found, parts, shared=shared, saving=saving)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with contextlib.ExitStack() as stack:
        stubs = [Stub(name) for name in ("one", "two", "three")]
        for stub in stubs:
            stack.enter_context(stub.server)
        world = World(stubs)
        yield world
        for models in world.made:
            await models.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "roost.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with server.borrowed() as url:
        yield url


def _chain(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}/m" for name in names)


def _said(end: Completed | Failed) -> str:
    assert isinstance(end, Completed), end
    return "".join(part.text for part in end.parts if isinstance(part, Text))


def _route(events: list[ModelEvent]) -> dict[str, Any]:
    (notice,) = [event for event in events if isinstance(event, Notice) and event.kind == "route"]
    return notice.data


async def _auto(models: Models, request: Request | None = None, name: str = "auto") -> str:
    return _said((await run(models.resolve(name), request))[1])


async def _passing(clock: FakeClock, work: Awaitable[T]) -> T:
    """What `work` returns, while the clock runs far faster than the sockets."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.005)
        await clock.advance(0.2)
    return task.result()


async def test_every_request_is_routed_and_says_how(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=_chain("one"), plan=_chain("two"), effort="max"))
    auto = models.resolve("auto")
    events, end = await run(auto, ask(intent="plan"))
    assert _said(end) == "two"
    data = _route(events)
    assert (data["profile"], data["chain"], data["effort"]) == ("mine", ["two/m", "one/m"], "max")
    assert tuple(data["steps"]) == STEPS
    assert len(msgspec.json.encode(data)) < 600, "it is written with every step"
    assert await _auto(models, ask(intent="review")) == "one"
    assert auto.name == "auto"
    assert models.resolve("auto") is auto


async def test_a_model_that_fails_is_followed_by_the_next_and_an_open_breaker_makes_no_call(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=_chain("one", "two")))
    one, two = world.stubs["one"], world.stubs["two"]
    one.down = True
    for _ in range(2):
        assert await _auto(models) == "two"
    assert (one.calls, two.calls) == (2, 2)
    events: list[ModelEvent] = []
    for _ in range(5):
        events, end = await run(models.resolve("auto"))
        assert _said(end) == "two"
    assert (one.calls, two.calls) == (2, 7), "the breaker is open: it is not called at all"
    assert _route(events)["chain"] == ["two/m", "one/m"]
    assert not [event for event in events if isinstance(event, Notice) and event.kind == "fallback"]
    one.down = False
    await world.clock.advance(30)
    assert await _auto(models) == "one", "half-open: one is let through"
    assert await _auto(models) == "one"
    assert (one.calls, two.calls) == (4, 7)


async def test_an_account_alone_is_its_default_model_with_the_same_breaker(world: World) -> None:
    url = world.stubs["one"].server.url
    accounts = {
        "one": AccountEntry(base_url=url, default="m", retry=ONCE, breaker=Breaking(failures=1)),
        "two": AccountEntry(base_url=world.stubs["two"].server.url, default="m"),
    }
    config = ModelsConfig(accounts=accounts, profiles={"mine": ProfileEntry(chat=("one", "two"))}, profile="mine")
    parts = Parts(config, clock=world.clock)
    models = Models(environ={}, dotenv=None, config=config, wrap=lambda model, _: stacked(model, parts))
    world.made.append(models)
    connect(models, parts)
    world.stubs["one"].down = True
    assert await _auto(models) == "two"
    events, _ = await run(models.resolve("auto"))
    assert _route(events)["chain"] == ["two", "one"]
    assert world.stubs["one"].calls == 1


async def test_half_open_lets_one_of_many_through(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=_chain("one", "two")))
    one, two = world.stubs["one"], world.stubs["two"]
    one.down = True
    for _ in range(2):
        await _auto(models)
    await world.clock.advance(30)
    said = await asyncio.gather(*(_auto(models) for _ in range(8)))
    assert said == ["two"] * 8
    assert (one.calls, two.calls) == (3, 10)


async def test_a_provider_that_asks_to_wait_is_waited_for(world: World) -> None:
    models, _ = world.models(retry=Retry(tries=3), mine=ProfileEntry(chat=_chain("one")))
    stub = world.stubs["one"]
    stub.wait = ["20"]
    asking = asyncio.ensure_future(_auto(models))
    async with asyncio.timeout(60):
        while world.clock.due is None:  # the clock stands still as long as the sockets take
            await asyncio.sleep(0.005)
        assert (stub.calls, world.clock.due) == (1, 20)
        await world.clock.advance(20)
        assert await asking == "one"
    assert (stub.calls, world.clock.now()) == (2, 20)


async def test_who_asks_to_wait_is_asked_later_where_there_is_another(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=_chain("one", "two")))
    one, two = world.stubs["one"], world.stubs["two"]
    one.wait = ["20"]
    assert await _auto(models) == "two"
    events, end = await run(models.resolve("auto"))
    assert _said(end) == "two"
    assert "one/m later: its limits let no call go for 20 s" in _route(events)["steps"]["degradation"]
    assert (one.calls, two.calls) == (1, 2)
    await world.clock.advance(20)
    assert await _auto(models) == "one"


async def test_nobody_waits_for_a_model_while_there_is_another(world: World) -> None:
    models, _ = world.models(retry=Retry(), mine=ProfileEntry(chat=_chain("one", "two")))
    one = world.stubs["one"]
    one.wait = ["20"]
    assert await _auto(models) == "two", "at once, although twenty seconds are worth waiting for"
    await world.clock.advance(20)
    one.down = True
    said = await _passing(world.clock, asyncio.gather(*(_auto(models) for _ in range(6))))
    assert said == ["two"] * 6
    assert world.clock.now() < 30, "not until the breaker lets one through again"


async def test_limits_of_one_s_own_send_calls_elsewhere_too(world: World) -> None:
    one, two = world.stubs["one"], world.stubs["two"]
    few = msgspec.structs.replace(LARGE, limits=(Limit(amount=2, seconds=60, kind="window"),))
    models, _ = world.models(models={"one": few}, mine=ProfileEntry(chat=_chain("one", "two")))
    said = await asyncio.gather(*(_auto(models) for _ in range(6)))
    assert sorted(said) == ["one"] * 2 + ["two"] * 4
    assert await _auto(models) == "two"
    assert (one.calls, two.calls, world.clock.now()) == (2, 5, 0)
    await world.clock.advance(60)
    assert await _auto(models) == "one"


async def test_media_and_long_requests_go_to_who_takes_them(world: World) -> None:
    models, _ = world.models(
        models={"one": SMALL},
        mine=ProfileEntry(chat=_chain("one"), multimodal=_chain("two"), long_context=_chain("three")),
    )
    picture = UserMessage((Text("What is this?"), Image("image/png", PIXEL)))
    assert await _auto(models) == "one"
    assert await _auto(models, ask(picture)) == "two"
    assert await _auto(models, ask(user("word " * 20_000))) == "three"
    profile = models.resolve("auto").profile
    assert (profile.window, profile.images, profile.price) == (64_000, True, None)
    assert models.card("auto").profile == profile
    assert all(stub.server.stats.violations == 0 for stub in world.stubs.values())


async def test_what_nobody_takes_is_not_sent_and_says_why(world: World) -> None:
    small = dict.fromkeys(world.stubs, SMALL)
    models, _ = world.models(models=small, mine=ProfileEntry(chat=_chain("one", "two")))
    long, picture = ask(user("word " * 20_000)), ask(UserMessage((Image("image/png", PIXEL),)))
    for request, code in ((long, "context_overflow"), (picture, "unsupported")):
        events, end = await run(models.resolve("auto"), request)
        assert isinstance(end, Failed)
        assert (end.error.code, end.error.retryable) == (code, False)
        assert "one/m" in end.error.message
        assert _route(events)["chain"] == []
    assert not any(stub.calls for stub in world.stubs.values())


async def test_an_overflow_at_the_provider_goes_to_a_larger_window(world: World) -> None:
    one, two = world.stubs["one"], world.stubs["two"]
    models, _ = world.models(models={"one": SMALL}, mine=ProfileEntry(chat=_chain("one", "two")))
    message = "This model's maximum context length is 10 tokens. However, your messages resulted in 999 tokens."
    full = Fault(kind="status", status=400, message=message, times=0)
    one.says = Reply(fault=full)
    assert await _auto(models) == "two"
    assert (one.calls, two.calls) == (1, 1)


async def test_the_first_request_of_a_process_saves_once_the_month_is_past_the_warning(
    world: World, address: str
) -> None:
    def ledger(owner: str) -> Ledger:
        return Ledger(store, owner=owner, budget=BudgetEntry(month=10), now=lambda: now[0])

    now = [1_795_000_000.0]  # 2026-11-18
    mine = ProfileEntry(chat=_chain("one"), cheap=_chain("two"))
    store = await open_store(address)
    try:
        before = ledger("before")
        models, _ = world.models(saving=before, mine=mine)
        assert await _auto(models) == "one"
        held = await before.reserve(9 * NANO, Spender())
        assert isinstance(held, Held)
        await before.settle(held, 9 * NANO)
        models, _ = world.models(saving=ledger("other process"), mine=mine)
        events, end = await run(models.resolve("auto"))
        assert _said(end) == "two"
        told = "$9.00 are spent in 2026-11, 90% of the month's $10.00: the cheap ones first"
        assert _route(events)["steps"]["cost"] == told
        now[0] += 30 * 86_400  # the next month
        assert await _auto(models) == "one"
    finally:
        await store.close()


async def test_long_tasks_have_their_chain_and_the_effort_is_the_profile_s_unless_it_is_said(world: World) -> None:
    mine = ProfileEntry(chat=("scripted/a",), long_horizon=("scripted/b",), effort="max")
    models, _ = world.models(mine=mine)
    made = {name: ScriptedModel(lambda _: "yes", name=f"scripted/{name}") for name in "ab"}
    models.register("scripted", lambda rest: made[rest or ""])
    auto = models.resolve("auto")
    await run(auto, ask(meta={"horizon": "long"}))
    await run(auto, ask(effort="low"))
    assert [model.requests[-1].effort for model in made.values()] == ["low", "max"]
    assert made["b"].requests[-1].meta == {"horizon": "long", "others": "1"}


async def test_a_factory_that_breaks_is_a_model_that_is_not_there(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=("odd/m", "one/m")))
    models.register("odd", lambda rest: cast("Model", {}[rest]))
    events, end = await run(models.resolve("auto"))
    assert (_said(end), _route(events)["unusable"]) == ("one", 1)


async def test_who_stops_reading_stops_the_call_at_the_provider(world: World) -> None:
    models, _ = world.models(mine=ProfileEntry(chat=_chain("one")))
    stub = world.stubs["one"]
    stub.says = Reply(text="word " * 50, pace=0.05, piece=5)
    stream = models.resolve("auto").stream(ask())
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await cast("AsyncGenerator[ModelEvent]", stream).aclose()
    while not stub.server.stats.left:
        await asyncio.sleep(0.01)
    assert stub.server.stats.open == 0


async def test_without_a_key_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path))
    parts = Parts()
    models = Models(environ={}, dotenv=None, wrap=lambda model, _: stacked(model, parts))
    connect(models, parts)
    events, end = await run(models.resolve("auto"))
    assert isinstance(end, Failed)
    assert end.error.code == "no_model"
    assert "set ANTHROPIC_API_KEY" in end.error.message
    assert "roost pull" in end.error.message
    assert _route(events)["unusable"] >= 5
    await models.close()


async def test_a_key_that_is_set_later_counts(world: World) -> None:
    environ: dict[str, str] = {}
    url = world.stubs["one"].server.url
    config = ModelsConfig(
        accounts={"one": AccountEntry(base_url=url, key="env:ONE_KEY")},
        profiles={"mine": ProfileEntry(chat=("one/m",))},
    )
    parts = Parts(config)
    models = Models(environ=environ, dotenv=None, config=config, wrap=lambda model, _: stacked(model, parts))
    world.made.append(models)
    now = [0.0]
    auto = Routed(ProcessModels(models.resolve, now=lambda: now[0]), Profiles(config), "mine")
    assert isinstance((await run(auto))[1], Failed)
    environ["ONE_KEY"] = "secret"
    now[0] += SEEN
    assert _said((await run(auto))[1]) == "one"


async def test_a_profile_can_be_named_and_a_wrong_name_is_told(world: World) -> None:
    models, profiles = world.models(
        mine=ProfileEntry(chat=_chain("one")), profiles={"other": ProfileEntry(chat=_chain("two"))}
    )
    assert await _auto(models, name="auto/other") == "two"
    assert models.resolve("auto/other").name == "auto/other"
    with pytest.raises(NotFound, match="default, budget, multimodal, deep_thinking, mine, other"):
        models.resolve("auto/nothing")
    with pytest.raises(NotFound):
        await profiles.use("nothing")
    with pytest.raises(ConfigError, match="'nothing'"):
        world.models(profile="nothing")


async def test_a_switch_counts_from_the_next_call_on_and_for_every_node(world: World, address: str) -> None:
    entries = {"mine": ProfileEntry(chat=_chain("one")), "other": ProfileEntry(chat=_chain("two"))}
    first, second = await open_store(address), await open_store(address)
    try:
        here, profiles = world.models(shared=first.coordination, profiles=entries)
        there, theirs = world.models(shared=second.coordination, profiles=entries)
        assert (await _auto(here), await _auto(there)) == ("one", "one")
        await profiles.use("other")
        assert await _auto(here) == "two"
        await asyncio.sleep(FRESH)
        assert await _auto(there) == "two"
        await theirs.use("mine")
        assert await _auto(there) == "one"
        after, _ = world.models(shared=first.coordination, profile="other", profiles=entries)
        assert await _auto(after) == "one", "what was switched to outlives the process, whatever its file says"
    finally:
        await first.close()
        await second.close()


async def test_a_store_that_does_not_answer_changes_no_profile(tmp_path: Path) -> None:
    now = [0.0]
    inner = await open_store(str(tmp_path / "roost.db"))
    store = Unreliable(inner.coordination)
    config = ModelsConfig(profile="budget")
    profiles = Profiles(config, shared=store, now=lambda: now[0])  # type: ignore[arg-type]
    assert await profiles.current() == "budget"
    await store.setting("models.profile", "deep_thinking", replace=True)
    now[0] += FRESH
    assert await profiles.current() == "deep_thinking"
    store.away = True
    now[0] += FRESH
    assert await profiles.current() == "deep_thinking"
    with pytest.raises(StoreUnreachable):
        await profiles.use("default")
    assert await profiles.current() == "deep_thinking"
    store.away = False
    await store.setting("models.profile", "of a newer version", replace=True)
    now[0] += FRESH
    assert await profiles.current() == "budget"
    await inner.close()


async def test_a_switch_is_not_undone_by_who_read_before_it(tmp_path: Path) -> None:
    inner = await open_store(str(tmp_path / "roost.db"))
    store = Unreliable(inner.coordination)
    profiles = Profiles(ModelsConfig(), shared=store)  # type: ignore[arg-type]
    store.pause = 0.05
    reading = asyncio.ensure_future(profiles.current())
    await asyncio.sleep(0.02)
    await profiles.use("budget")
    assert (await reading, await profiles.current()) == ("budget", "budget")
    await inner.close()


class Unreliable:
    """The settings of a store that may be away, or slow to answer who reads."""

    def __init__(self, inner: Coordination) -> None:
        self.inner = inner
        self.away = False
        self.pause = 0.0

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if self.away:
            raise StoreUnreachable("the database is away")
        found = await self.inner.setting(name, value, replace=replace)
        if value is None:
            await asyncio.sleep(self.pause)
        return found


def test_the_built_in_profiles_name_models_that_the_catalog_knows() -> None:
    models = Models(environ={}, dotenv=None)
    assert list(BUILT_IN) == ["default", "budget", "multimodal", "deep_thinking"]
    for name, entry in BUILT_IN.items():
        assert named(entry)[-1] == "local", "who has no key still has an answer"
        for model in named(entry):
            if model != "local":
                card = models.card(model)
                assert (card.source, card.kind, card.retired) == ("catalog", "chat", None), model
        assert all(models.card(model).profile.images for model in entry.multimodal), name


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL))
def test_what_the_docs_show_is_read(block: str, tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(block)
    config = load_config(tmp_path, {})
    profiles = Profiles(config)
    assert profiles.name == config.profile
    for name in config.profiles:
        for model in named(profiles.get(name)):
            assert model == "local" or Models(environ={}, dotenv=None).card(model).source == "catalog"

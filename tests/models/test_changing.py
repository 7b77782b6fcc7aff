"""Another configuration under models that are in use: calls in flight go on, what did not change is remembered."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import ConfigError
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.model_stack import Parts, stacked
from roost.routing.breakers import Breaking
from roost.routing.limits import Limit
from roost.routing.profiles import Profiles
from roost.routing.route import ProfileEntry
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.models import completed
from roost.testing.scripted import ScriptedModel


def own(url: str, **more: object) -> ModelsConfig:
    account = AccountEntry(base_url=url, wire="openai_chat", free=True, **more)  # type: ignore[arg-type]
    return ModelsConfig(accounts={"own": account})


async def test_a_call_in_flight_ends_where_it_began() -> None:
    slow = Script(rules=(Rule(answers=(Reply(text="the first says a lot", delay=0.5),)),))
    with (
        ProviderServer(slow) as first,
        ProviderServer(Script(rules=(Rule(answers=(Reply(text="the second"),)),))) as second,
    ):
        models = Models(environ={}, dotenv=None, config=own(first.url))
        model = models.resolve("own/m")
        asked = asyncio.create_task(completed(model))
        await asyncio.sleep(0.2)
        models.change(own(second.url))
        later = models.resolve("own/m")
        assert later is not model
        assert "second" in str(await completed(later))
        assert "first says a lot" in str(await asked)
        await models.close()


def test_what_was_registered_stays() -> None:
    models = Models(environ={}, dotenv=None, config=own("http://127.0.0.1:1/v1"))
    mine = ScriptedModel(["x"])
    models.register("mine", lambda _: mine)
    models.register_account("other", AccountEntry(base_url="http://127.0.0.1:2/v1"), key="secret-key")
    made = models.resolve("mine")
    models.change(ModelsConfig())
    assert models.resolve("mine") is made
    assert models.endpoint("other").key == "secret-key"
    with pytest.raises(ConfigError, match="no account 'own'"):
        models.resolve("own/m")


def test_breakers_and_limiters_of_which_nothing_changed_remember() -> None:
    limits = (Limit(amount=5, seconds=60),)
    before = ModelsConfig(
        accounts={"a": AccountEntry(limits=limits), "b": AccountEntry(limits=limits)},
        models={"a/m": ModelEntry(breaker=Breaking(failures=2)), "b/m": ModelEntry(breaker=Breaking(failures=2))},
    )
    parts = Parts(before)
    breakers = {name: parts.breaker(name) for name in ("a/m", "b/m")}
    limiters = {name: parts.limiters(name) for name in ("a/m", "b/m")}
    parts.change(
        ModelsConfig(
            accounts={"a": AccountEntry(limits=limits), "b": AccountEntry(limits=(Limit(amount=6, seconds=60),))},
            models={"a/m": ModelEntry(breaker=Breaking(failures=2)), "b/m": ModelEntry(breaker=Breaking(failures=3))},
        )
    )
    assert parts.breaker("a/m") is breakers["a/m"]
    assert parts.breaker("b/m") is not breakers["b/m"]
    assert parts.limiters("a/m") == limiters["a/m"]
    assert parts.limiters("b/m")[0] is limiters["b/m"][0]  # the model's own has not changed
    assert parts.limiters("b/m")[1] is not limiters["b/m"][1]
    assert stacked(ScriptedModel(["x"], name="a/m"), parts).name == "a/m"


async def test_a_profile_that_is_gone_gives_way_to_the_first() -> None:
    profiles = Profiles(ModelsConfig(profile="mine", profiles={"mine": ProfileEntry(chat=("a/m",))}))
    with pytest.raises(ConfigError, match="names none of the profiles"):
        profiles.change(ModelsConfig(profile="nobody"))
    assert await profiles.current() == "mine"
    profiles.change(ModelsConfig())
    assert await profiles.current() == "default"

"""The router's profile over HTTP, and what is written of a routed call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from roost.agent.definition import Agent
from roost.client.requests import ApiError
from roost.client.sync_client import SyncClient
from roost.money.budgets import Spender
from roost.money.ledger import Ledger
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply

from .conftest import Event, Serve, Served

TOML = """
profile = "mine"

[accounts.one]
base_url = "{one}"
key = "env:ONE_KEY"
retry = {{ tries = 1 }}
breaker = {{ failures = 3 }}

[accounts.two]
base_url = "{two}"

[models."one/m"]
window = 64000
images = true

[profiles.mine]
chat = ["one/m", "two/m"]
plan = ["two/m"]

[profiles.other]
chat = ["two/m", "three/m"]
"""


class Stubs(NamedTuple):
    """Two providers; each says the reply that is in `says` under its name."""

    one: ProviderServer
    two: ProviderServer
    says: dict[str, Reply]

    @property
    def calls(self) -> tuple[int, int]:
        return self.one.stats.requests, self.two.stats.requests


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    says = {"one": Reply(text="one"), "two": Reply(text="two")}
    with ProviderServer(lambda _: says["one"]) as one, ProviderServer(lambda _: says["two"]) as two:
        yield Stubs(one, two, says)


@pytest.fixture
def node(serve: Serve, tmp_path: Path, stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setenv("ONE_KEY", "sk-of-one")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "models.toml").write_text(TOML.format(one=stubs.one.url, two=stubs.two.url))
    return serve(agents=[Agent("clerk", model="auto"), Agent("planner", model="auto", intent="plan")])


def _answers(events: list[Event]) -> str:
    (text,) = [event.data for event in events if event.kind == "model.completed"]
    return text["parts"][0]["text"]


def test_the_models_of_the_profile_and_a_switch_that_counts_at_once(node: Served) -> None:
    found = node.get("/models")
    assert (found["profile"], found["profiles"][-2:]) == ("mine", ["mine", "other"])
    one, two = found["models"]
    assert one == {
        "name": "one/m", "usable": True, "trouble": None, "window": 64000, "max_output": one["max_output"],
        "media": ["image"],
    }  # fmt: skip
    assert two["name"] == "two/m"
    session = node.session()
    assert _answers(node.say(session, "hello")) == "one"
    assert node.request("PUT", "/models/profile", {"profile": "other"}).status == 204
    assert _answers(node.say(session, "hello")) == "two"
    found = node.get("/models")
    assert found["profile"] == "other"
    lost = found["models"][1]
    assert (lost["name"], lost["usable"], lost["window"]) == ("three/m", False, None)
    assert "no account 'three'" in lost["trouble"]
    refused = node.request("PUT", "/models/profile", {"profile": "nothing"})
    assert (refused.status, refused.code) == (404, "unknown_profile")
    assert node.get("/models")["profile"] == "other"


def test_a_lost_call_is_settled_over_http(node: Served, tmp_path: Path) -> None:
    async def lose() -> str:
        store = await open_store(tmp_path / "home" / "roost.db")
        dead, heir = Ledger(store, owner="dead"), Ledger(store, owner="heir")
        await dead.reserve(500, Spender(session="s", model="one/m"))
        await heir.recover("s")
        (call,) = await heir.lost()
        await store.close()
        return call.id

    call = asyncio.run(lose())
    found = node.get("/costs")
    assert (found["month"]["spent"], found["month"]["lost"], found["lost"][0]["id"]) == (500, 500, call)
    settled = node.request("POST", "/costs/settle", {"call": call, "cost": 20})
    assert (settled.status, settled.json["cost"], settled.json["settled"]) == (200, 20, "hand")
    assert (node.get("/costs")["month"]["spent"], node.get("/costs")["month"]["lost"]) == (20, 0)
    missing = node.request("POST", "/costs/settle", {"call": "none", "cost": 20})
    assert (missing.status, missing.code) == (404, "unknown_call")
    client = SyncClient.at(node.url, token=node.token)
    try:
        assert client.costs.settle(call, 30).cost == 30
    finally:
        client.close()


def test_lost_calls_are_reconciled_over_http(node: Served, tmp_path: Path) -> None:
    nothing = node.request("POST", "/costs/reconcile", {})
    assert (nothing.status, nothing.json) == (200, {"calls": [], "days": []})

    async def lose() -> None:
        store = await open_store(tmp_path / "home" / "roost.db")
        dead, heir = Ledger(store, owner="dead"), Ledger(store, owner="heir")
        await dead.reserve(500, Spender(session="s", model="openai/m"))
        await heir.recover("s")
        await store.close()

    asyncio.run(lose())
    wrong = node.request("POST", "/costs/reconcile", {"month": "2026-13"})
    assert (wrong.status, wrong.code) == (422, "invalid")
    client = SyncClient.at(node.url, token=node.token)
    try:
        with pytest.raises(ApiError, match="OPENAI_") as refused:
            client.costs.reconcile(ours=True)
        assert refused.value.code == "config"
    finally:
        client.close()


def test_the_client_lists_and_switches(node: Served) -> None:
    client = SyncClient.at(node.url, token=node.token)
    try:
        assert client.models.list().profile == "mine"
        client.models.use_profile("budget")
        found = client.models.list()
        assert (found.profile, found.models[-1].name) == ("budget", "local")
        with pytest.raises(ApiError, match="there is no profile 'nothing'"):
            client.models.use_profile("nothing")
    finally:
        client.close()


def test_the_trace_and_who_answered_are_in_the_log(node: Served, stubs: Stubs) -> None:
    session = node.session("planner")
    assert _answers(node.say(session, "hello")) == "two"
    events = [item["event"] for item in node.history(session)]
    (started,) = [event for event in events if event["type"] == "model.started"]
    (notice,) = [event for event in events if event["type"] == "model.notice"]
    (done,) = [event for event in events if event["type"] == "model.completed"]
    assert (started["model"], notice["kind"], done["model"]) == ("auto", "route", "two/m")
    assert notice["data"]["chain"] == ["two/m", "one/m"]
    assert notice["data"]["steps"]["intent"] == "plan: its chain"
    assert "sk-of-one" not in str(events)
    assert stubs.calls == (0, 1)


def test_a_model_that_is_down_is_left_alone_by_all_sessions_and_shown(node: Served, stubs: Stubs) -> None:
    stubs.says["one"] = Reply(fault=Fault(kind="status", status=503, times=0))
    for _ in range(3):
        assert _answers(node.say(node.session(), "hello")) == "two"
    assert stubs.calls == (3, 3)
    assert "left alone" in node.get("/models")["models"][0]["trouble"]
    assert _answers(node.say(node.session(), "hello")) == "two"
    assert stubs.calls == (3, 4)

"""Accounts on two nodes of one store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.console.sign_ins import PAGE, ask, headers_of, opened, signed_in
from tests.server.accounts import Tenant, tenant
from tests.server.conftest import Serve, Served


@pytest.fixture(params=["sqlite", "postgresql"])
def nodes(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> tuple[Served, Served]:
    if request.param == "sqlite":
        store = str(tmp_path / "shared.db")
    else:
        store = asyncio.run(request.getfixturevalue("postgres").database())
    one, two = (serve(home=tmp_path / name, store=store) for name in ("one", "two"))
    return one, two


def test_an_account_works_at_every_node_and_ends_at_every_node(
    nodes: tuple[Served, Served], wait: Callable[[Callable[[], object]], None]
) -> None:
    one, two = nodes
    alice, bob = tenant(one, "alice"), tenant(one, "bob")
    there = Tenant(two, alice.token)
    session = alice.session(labels={"user": "ann"})
    alice.say(session, "hello")
    bob.session()
    assert [row["id"] for row in there.get("/sessions?label=user:ann")["sessions"]] == [session]
    assert Tenant(two, bob.token).request("GET", f"/sessions/{session}").status == 404
    with there.stream("GET", f"/sessions/{session}/events?after=0") as stream:
        events = iter(stream)
        assert next(events).kind == "session.created"
        assert one.request("DELETE", f"/tokens/{alice.id}").status == 200
        kinds = [event.kind for event in events]
        assert kinds[-1] == "problem"
    wait(lambda: there.request("GET", "/me").status == 401)
    assert Tenant(two, bob.token).get("/me")["account"] == "bob"


def test_a_browser_is_signed_in_at_every_node_and_out_at_every_node(
    nodes: tuple[Served, Served], wait: Callable[[Callable[[], object]], None]
) -> None:
    """Behind a balancer: both nodes are asked by the same name, so the browser has one cookie."""
    one, two = nodes
    assert one.token == two.token
    name = {"Host": "localhost:7000"}
    alice = tenant(one, "alice")
    owner, hers = ({**signed_in(one, token, **name), **name} for token in (None, alice.token))
    wait(lambda: ask(two, "GET", "/me", **hers).status == 200)
    assert [ask(two, "GET", "/me", **page).json["account"] for page in (owner, hers)] == [None, "alice"]
    for page in (owner, hers):
        with opened(two, page) as stream:
            events = iter(stream)
            assert next(events).kind == "begin"
            assert ask(one, "POST", "/console/sign-out", **page).status == 204
            assert [event.kind for event in events][-1] == "problem"
        assert ask(two, "GET", "/me", **page).status == 401


def test_a_code_signs_in_one_browser_though_two_nodes_get_it(nodes: tuple[Served, Served]) -> None:
    code = nodes[0].post("/console/codes").json["code"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: ask(nodes[n % 2], "POST", "/console/enter", {"code": code}, **PAGE), range(8))
        )
    assert sorted(answer.status for answer in answers) == [200, *[404] * 7]
    entered = next(n for n, answer in enumerate(answers) if answer.status == 200)
    assert ask(nodes[entered % 2], "GET", "/me", **headers_of(answers[entered])).status == 200


def test_a_rate_is_one_for_all_nodes(nodes: tuple[Served, Served]) -> None:
    one, two = nodes
    alice = tenant(one, "alice", rate=4)
    there = Tenant(two, alice.token)
    answers: list[Any] = [who.request("GET", "/me").status for _ in range(6) for who in (alice, there)]
    assert answers[:2] == [200, 200]
    assert answers.count(200) <= 8
    assert 429 in answers

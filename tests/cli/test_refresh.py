"""`roost models refresh`, with a daemon that runs and without one."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from roost.models.catalog.facts import PriceTable
from roost.models.catalog.reader import catalog
from tests.published import MODEL, Published, Server

from .conftest import Machine

LONGEST = 77_000


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    published = Published()
    published.price(litellm=PriceTable(input=4, output=20), genai=PriceTable(input=4, output=20))
    published.litellm["gpt-5.5"]["max_output_tokens"] = LONGEST
    made.documents = published.documents()
    yield made
    made.close()


def given(server: Server) -> list[str]:
    return [word for place in server.places for word in ("--from", place)]


def price(roost: Machine) -> float:
    return roost("models", "show", MODEL, "--json").ok().json["price"]["input"]


def test_refresh_says_what_changed_and_can_be_undone(roost: Machine, server: Server) -> None:
    del roost.env["OPENAI_BASE_URL"]
    assert f"prices of {catalog().dated}, which came with this version" in roost("models", MODEL).ok().err
    done = roost("models", "refresh", *given(server)).ok().out
    assert f"{MODEL}: 5 in, 30 out" in done
    assert "-> 4 in, 20 out" in done
    assert price(roost) == 4
    said = roost("models", MODEL).ok().err
    assert all(f"{place}, " in said for place in server.places)
    assert "refreshed from genai-prices" in said
    again = roost("models", "refresh", *given(server), "--json").ok().json
    assert (again["changes"], len(again["sources"])) == ([], 2)
    older = roost("models", "refresh", *given(server), "--dated", "2025-01-01")
    assert (older.code, "2025-01-01" in older.err) == (1, True)
    assert price(roost) == 4
    assert catalog().dated in roost("models", "refresh", "--undo").ok().out
    assert price(roost) == 5
    assert roost("models", "refresh", "--undo", "--json").ok().json["removed"] is False
    for words in (("--undo", "--dated", "2026-01-01"), ("--dated", "9999-01-01"), ("--dated", "soon")):
        assert roost("models", "refresh", *words).code == 2, words
    offline = roost("models", "refresh")
    assert (offline.code, "ROOST_OFFLINE" in offline.err) == (1, True)


def test_a_running_daemon_takes_the_facts_up(roost: Machine, server: Server) -> None:
    del roost.env["OPENAI_BASE_URL"]
    roost.env["OPENAI_API_KEY"] = "k"
    roost.home.mkdir(mode=0o700)
    (roost.home / "models.toml").write_text(f'profile = "mine"\n[profiles.mine]\nchat = ["{MODEL}"]\n')
    roost.up()
    before = served(roost)
    assert before not in (None, LONGEST)
    roost("models", "refresh", *given(server)).ok()
    until(roost, LONGEST)
    roost("models", "refresh", "--undo").ok()
    until(roost, before)


def served(roost: Machine) -> int | None:
    """The longest answer of the model, as the daemon knows it."""
    where: dict[str, Any] = json.loads((roost.home / "daemon.json").read_text())
    token = (roost.home / "token").read_text().strip()
    request = urllib.request.Request(f"{where['url']}/models", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        models: list[dict[str, Any]] = json.load(answer)["models"]
    return next(model["max_output"] for model in models if model["name"] == MODEL)


def until(roost: Machine, wanted: int | None) -> None:
    deadline = time.monotonic() + 60
    while served(roost) != wanted:
        assert time.monotonic() < deadline, "the daemon did not take the facts up"
        time.sleep(0.2)

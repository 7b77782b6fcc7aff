"""Clients of other products' protocols, against a real daemon on loopback."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.doors.managed_support import TOML
from tests.server.conftest import Served, serve, shared, wait

from roost.stub.provider import ProviderServer

__all__ = ["serve", "shared", "wait"]


@pytest.fixture
def client() -> Iterator[Callable[..., openai.OpenAI]]:
    """Make a client of the official library for a daemon."""
    made: list[openai.OpenAI] = []

    def make(served: Served, **options: Any) -> openai.OpenAI:
        made.append(openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.token, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def served(
    request: pytest.FixtureRequest, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """A daemon whose model answers by the `SCRIPT` of the test's module, so that clients may define agents."""
    monkeypatch.setenv("ONE_KEY", "k")
    home = tmp_path / "home"
    home.mkdir()
    with ProviderServer(request.module.SCRIPT) as provider:
        (home / "models.toml").write_text(TOML.format(url=provider.url))
        yield serve(home=home)


@pytest.fixture(params=["sqlite", "postgres"])
def stored(request: pytest.FixtureRequest, serve: Any) -> Callable[..., Served]:
    """`serve`, on each store."""
    if request.param == "sqlite":
        return serve
    url = asyncio.run(request.getfixturevalue("postgres").database())
    return functools.partial(serve, store=url)

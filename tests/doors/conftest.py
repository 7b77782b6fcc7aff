"""Clients of other products' protocols, against a real daemon on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from tests.server.conftest import Served, serve, shared, wait

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

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from roost.local.embed.http_embedder import HttpEmbedder
from roost.local.embed.wire import embed_wire
from roost.models.http import HttpClient
from roost.models.wire import Endpoint
from roost.routing.retry import Retry

Make = Callable[..., HttpEmbedder]

MODELS = {"openai": "text-embedding-3-small", "google": "gemini-embedding-001", "cohere": "embed-v4.0"}
SIZES = {"openai": 1536, "google": 3072, "cohere": 1536}


@pytest.fixture
def embedder(client: HttpClient) -> Make:
    """Makes an embedder behind the base URL: `embedder(url, "cohere", key=..., size=..., model=...)`. It tries again
    quickly."""

    def make(url: str, kind: str = "openai", *, key: str | None = "k", model: str = "", **options: Any) -> HttpEmbedder:
        return HttpEmbedder(
            model=model or MODELS[kind],
            endpoint=Endpoint(base_url=url, key=key, idle_timeout=options.pop("idle_timeout", 30.0)),
            wire=embed_wire(kind),
            client=client,
            **{"retry": Retry(base=0.01, tries=3), **options},
        )

    return make

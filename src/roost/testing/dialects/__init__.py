"""The protocols that the stub provider speaks. One is one file and one line here."""

from __future__ import annotations

import importlib

from roost.testing.dialects.base import Asked, Dialect, Priced

__all__ = ["DIALECTS", "EMBEDDINGS", "Asked", "Dialect", "Priced", "dialects"]

DIALECTS: dict[str, str] = {
    "openai_chat": "roost.testing.dialects.openai_chat",
    "anthropic": "roost.testing.dialects.anthropic",
    "openai_responses": "roost.testing.dialects.openai_responses",
    "gemini": "roost.testing.dialects.gemini",
}
"""The module that holds the `DIALECT`, by the name of its wire."""

EMBEDDINGS: tuple[str, ...] = (
    "roost.testing.dialects.embed_openai",
    "roost.testing.dialects.embed_google",
    "roost.testing.dialects.embed_cohere",
)
"""The modules of those that make embeddings; their paths come first, being the narrower ones."""


def dialects() -> list[Dialect]:
    return [importlib.import_module(module).DIALECT for module in (*EMBEDDINGS, *DIALECTS.values())]

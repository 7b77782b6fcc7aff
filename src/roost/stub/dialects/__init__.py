"""The protocols that the stub provider speaks. Each is one file and one line here."""

from __future__ import annotations

import importlib

from roost.stub.dialects.base import Asked, Dialect, Priced, Routed

__all__ = ["DIALECTS", "EMBEDDINGS", "Asked", "Dialect", "Priced", "Routed", "dialects"]

DIALECTS: dict[str, str] = {
    "openai_chat": "roost.stub.dialects.openai_chat",
    "anthropic": "roost.stub.dialects.anthropic",
    "openai_responses": "roost.stub.dialects.openai_responses",
    "gemini": "roost.stub.dialects.gemini",
    "glm": "roost.stub.dialects.glm",
    "minimax": "roost.stub.dialects.minimax",
}
"""Name of a wire to the module with its `DIALECT`, and in `MORE` those of the wire's other interfaces."""


EMBEDDINGS: tuple[str, ...] = (
    "roost.stub.dialects.embed_openai",
    "roost.stub.dialects.embed_google",
    "roost.stub.dialects.embed_cohere",
)
"""Modules of embeddings protocols; their paths come first, as they are narrower."""


def dialects() -> list[Dialect]:
    from roost.stub.dialects.openai_servers import SERVERS

    modules = [importlib.import_module(module) for module in (*EMBEDDINGS, *DIALECTS.values())]
    own = [dialect for module in modules for dialect in (module.DIALECT, *getattr(module, "MORE", ()))]
    return [*own, *SERVERS]

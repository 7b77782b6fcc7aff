"""An embedder for tests: texts about the same thing have near vectors, by a few concepts in words."""

from __future__ import annotations

import hashlib

import numpy as np

from roost.errors import ConfigError
from roost.local.embed.base import Embedder, Embedding, Vector

_CONCEPTS = (
    {"invoice", "bill", "payment", "due", "owed"},
    {"holiday", "vacation", "beach", "trip"},
    {"car", "vehicle", "engine", "wheels"},
)
SIZE = 64


class Concepts:
    """Keeps the contract of `Embedder`. jobs: how many texts it was asked for."""

    name, size = "test/concepts", SIZE

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, job: Embedding) -> list[Vector]:
        self.texts += job.texts
        return [_vector(text) for text in job.texts]

    async def close(self) -> None:
        return None


def _vector(text: str) -> Vector:
    words = set(text.lower().split())
    found = np.zeros(SIZE, dtype="<f4")
    for place, concept in enumerate(_CONCEPTS):
        found[place] = 3.0 * bool(words & concept)
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
    found[8:] = np.random.default_rng(seed).normal(size=SIZE - 8) * 0.1
    return (found / np.linalg.norm(found)).astype("<f4").tobytes()


def none() -> Embedder:
    raise ConfigError("there is no embedding model here")

"""An embedder that knows a few synonyms, so that tests need no weights: words of one meaning share a direction."""

from __future__ import annotations

import hashlib
import math
import struct

from roost.local.embed.base import Embedding, EmbedFailed, Vector
from roost.log.content import ErrorData
from roost.log.search_terms import words

_SAME = (
    ("tea", "brew", "drink", "beverage"),
    ("live", "reside", "home", "flat", "dwell"),
    ("job", "work", "employ", "profession", "office"),
    ("dog", "hound", "pet", "poodle"),
    ("colour", "shade", "hue"),
)
_MEANING = {word: group[0] for group in _SAME for word in group}


class Concepts:
    """Counts its calls. `down`: it fails with this message."""

    def __init__(self, name: str = "test/concepts", *, size: int = 96) -> None:
        self.name = name
        self.size = size
        self.texts = 0
        self.down: str | None = None

    async def embed(self, job: Embedding) -> list[Vector]:
        if self.down is not None:
            raise EmbedFailed(ErrorData("unavailable", self.down))
        self.texts += len(job.texts) * (job.use == "document")
        return [self._vector(text) for text in job.texts]

    async def close(self) -> None:
        return None

    def _vector(self, text: str) -> Vector:
        numbers = [1e-3] * self.size
        for word in words(text):
            digest = hashlib.blake2b(_MEANING.get(word, word).encode(), digest_size=64).digest()
            for place in range(self.size):
                numbers[place] += (digest[place % 64] ^ (place * 37 & 255)) / 127.5 - 1
        length = math.sqrt(sum(number * number for number in numbers))
        return struct.pack(f"<{self.size}f", *(number / length for number in numbers))

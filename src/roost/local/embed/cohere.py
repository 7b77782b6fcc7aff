"""Cohere's embeddings, version 2 of its API.

From docs.cohere.com (`reference/embed`, `docs/cohere-embed`, `changelog/embed-v5`), read in November 2026: at most 96
texts a call; 128,000 tokens of a text from embed-v4.0 on, 512 before; what is longer the server cuts when asked to;
`output_dimension` from embed-v4.0 on. embed-v5.0-pro and embed-v5.0-fast make vectors of one space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.local.embed.base import Use
from roost.local.embed.wire import Answered, EmbedWire, Limits, known_size
from roost.log.content import ErrorData
from roost.models.wire import Endpoint, HttpCall
from roost.models.wire_body import encode
from roost.models.wires.errors import http_error

_SIZES = {
    "embed-v5.0-": 2048,
    "embed-v4.0": 1536,
    "embed-english-v3.0": 1024,
    "embed-multilingual-v3.0": 1024,
    "embed-english-light-v3.0": 384,
    "embed-multilingual-light-v3.0": 384,
}


class _ByType(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float")


class _Units(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    embeddings: _ByType
    meta: _Meta | None = None


class CohereEmbeddings:
    name = "cohere"

    def limits(self, model: str) -> Limits:
        window = 512 if "-v3.0" in model else 128_000
        return Limits(texts=96, tokens=250_000, window=window, size=known_size(model, _SIZES))

    def call(self, texts: Sequence[str], use: Use, model: str, size: int | None, endpoint: Endpoint) -> HttpCall:
        body: dict[str, Any] = {
            "model": model,
            "texts": list(texts),
            "input_type": f"search_{use}",
            "embedding_types": ["float"],
            "truncate": "END",
        }
        if size is not None:
            body["output_dimension"] = size
        headers = {} if endpoint.key is None else {"Authorization": f"Bearer {endpoint.key}"}
        # The account's URL may be the one that speaks OpenAI's protocol.
        base = endpoint.base_url.rstrip("/").removesuffix("/v1").removesuffix("/compatibility")
        return HttpCall("POST", f"{base.removesuffix('/v2')}/v2/embed", headers, encode(body))

    def read(self, body: bytes) -> Answered:
        answer = msgspec.json.decode(body, type=_Answer)
        units = answer.meta.billed_units if answer.meta else None
        tokens = units.input_tokens if units else None
        return Answered(answer.embeddings.floats, None if tokens is None else round(tokens))

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)


WIRE: EmbedWire = CohereEmbeddings()

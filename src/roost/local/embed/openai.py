"""OpenAI's embeddings, and every server that speaks their protocol.

From the API reference at developers.openai.com (`resources/embeddings`), read in November 2026: at most 2,048 texts,
8,192 tokens each and 300,000 together, none empty; `dimensions` from text-embedding-3 on.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.local.embed.base import Use
from roost.local.embed.wire import Answered, EmbedWire, Limits, known_size
from roost.log.content import ErrorData
from roost.models.wire import Endpoint, HttpCall
from roost.models.wire_body import encode
from roost.models.wires.errors import http_error

_TEXTS = 256
"""Fewer than the provider takes: batches run side by side, and an answer stays within some megabytes."""
_SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class _Item(msgspec.Struct):
    embedding: str | list[float]
    index: int


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Usage | None = None


class OpenAIEmbeddings:
    name = "openai"

    def limits(self, model: str) -> Limits:
        return Limits(texts=_TEXTS, tokens=250_000, window=8_192, size=known_size(model, _SIZES))

    def call(self, texts: Sequence[str], use: Use, model: str, size: int | None, endpoint: Endpoint) -> HttpCall:
        body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "base64"}
        if size is not None:
            body["dimensions"] = size
        headers = {} if endpoint.key is None else {"Authorization": f"Bearer {endpoint.key}"}
        return HttpCall("POST", f"{endpoint.base_url.rstrip('/')}/embeddings", headers, encode(body))

    def read(self, body: bytes) -> Answered:
        answer = msgspec.json.decode(body, type=_Answer)
        items = sorted(answer.data, key=lambda item: item.index)
        if [item.index for item in items] != list(range(len(items))):
            raise ValueError("its vectors are not numbered one by one")
        rows = [
            base64.b64decode(item.embedding, validate=True) if isinstance(item.embedding, str) else item.embedding
            for item in items
        ]
        return Answered(rows, answer.usage.prompt_tokens if answer.usage else None)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return http_error(status, headers, body, where=where)


WIRE: EmbedWire = OpenAIEmbeddings()

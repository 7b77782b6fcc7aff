"""Google's embeddings: `batchEmbedContents` of the Gemini API.

From ai.google.dev (`gemini-api/docs/embeddings`, `api/embeddings`), read in November 2026: at most 100 texts a call;
2,048 tokens of a text for gemini-embedding-001, 8,192 from gemini-embedding-2 on; what is longer the server cuts.
gemini-embedding-001 is told what a text is for by `taskType`; the newer ones ignore that field and read it from the
text's beginning.
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
from roost.models.wires.gemini import versioned
from roost.models.wires.gemini.errors import gemini_error

_FIRST = "gemini-embedding-001"
_SIZES = {"gemini-embedding-": 3072}
_TASKS: dict[Use, str] = {"document": "RETRIEVAL_DOCUMENT", "query": "RETRIEVAL_QUERY"}
_PREFIXES: dict[Use, str] = {"document": "title: none | text: ", "query": "task: search result | query: "}


class _Values(msgspec.Struct):
    values: list[float]


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: list[_Values] = []
    usage_metadata: _Usage | None = None


class GoogleEmbeddings:
    name = "google"

    def limits(self, model: str) -> Limits:
        window = 2_048 if model == _FIRST else 8_192
        return Limits(texts=100, tokens=100_000, window=window, size=known_size(model, _SIZES))

    def call(self, texts: Sequence[str], use: Use, model: str, size: int | None, endpoint: Endpoint) -> HttpCall:
        asked: dict[str, Any] = {"model": f"models/{model}"}
        if model == _FIRST:
            asked["taskType"] = _TASKS[use]
        if size is not None:
            asked["outputDimensionality"] = size
        prefix = "" if model == _FIRST else _PREFIXES[use]
        requests = [{**asked, "content": {"parts": [{"text": prefix + text}]}} for text in texts]
        headers = {} if endpoint.key is None else {"x-goog-api-key": endpoint.key}
        base = versioned(endpoint.base_url.rstrip("/"))
        return HttpCall("POST", f"{base}/models/{model}:batchEmbedContents", headers, encode({"requests": requests}))

    def read(self, body: bytes) -> Answered:
        answer = msgspec.json.decode(body, type=_Answer)
        usage = answer.usage_metadata
        return Answered([one.values for one in answer.embeddings], usage.prompt_token_count if usage else None)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData:
        return gemini_error(status, headers, body, where=where)


WIRE: EmbedWire = GoogleEmbeddings()

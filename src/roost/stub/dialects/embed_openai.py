"""OpenAI's embeddings, from the server's side. Sources as in `roost.local.embed.openai`."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping

from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.embed import Embeds, Json, check_texts, only, size_for, texts_asked, tokens, vector

_SIZES = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_WINDOW, _TOKENS, _TEXTS = 8_192, 300_000, 2_048


class OpenAIEmbeddings(Embeds):
    name = "embed_openai"
    path = "/v1/embeddings"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        only(body, "model", "input", "dimensions", "encoding_format", "user")
        model = body.get("model")
        assert isinstance(model, str), "model is missing"
        texts = check_texts(_texts(body), _TEXTS)
        longest, total = max(map(tokens, texts)), sum(map(tokens, texts))
        assert longest <= _WINDOW, f"maximum context length is {_WINDOW} tokens, and there is a text of {longest}"
        assert total <= _TOKENS, f"maximum request size is {_TOKENS} tokens, and there are {total}: too large"
        assert body.get("encoding_format", "float") in ("float", "base64"), "encoding_format is neither of the two"
        if "dimensions" in body:
            assert not model.endswith("ada-002"), "this model does not support dimensions"
            assert 1 <= body["dimensions"] <= _SIZES.get(model, 1 << 16), "dimensions is out of range"

    def asked(self, body: Json, path: str) -> Asked:
        return texts_asked(body["model"], _texts(body), body)

    def body(self, asked: Asked, texts: list[str]) -> Json:
        size = asked.body.get("dimensions") or size_for(asked.model, _SIZES)
        packed = asked.body.get("encoding_format") == "base64"
        made = [vector(text, size) for text in texts]
        rows = [base64.b64encode(struct.pack(f"<{size}f", *row)).decode() if packed else row for row in made]
        used = self.usage(asked).input
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
            "model": asked.model,
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        code = code or f"scripted_{status}"
        return {"error": {"message": message, "type": code, "code": code}}


def _texts(body: Json) -> list[str]:
    return [texts] if isinstance(texts := body.get("input"), str) else texts or []


DIALECT: Dialect = OpenAIEmbeddings()

"""Cohere's embeddings, from the server's side. Sources as in `roost.local.embed.cohere`."""

from __future__ import annotations

from collections.abc import Mapping

from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.embed import Embeds, Json, check_texts, only, size_for, texts_asked, tokens, vector

_SIZES = {
    "embed-v5": 2048,
    "embed-v4": 1536,
    "embed-english-light": 384,
    "embed-multilingual-light": 384,
    "embed-": 1024,
}
_CHOICE = (256, 512, 768, 1024, 1536, 2048)
_USES = ("search_document", "search_query", "classification", "clustering", "image")
_TEXTS = 96
_WINDOW = {"embed-v": 128_000, "embed-": 512}


class CohereEmbeddings(Embeds):
    name = "embed_cohere"
    path = "/v2/embed"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        only(body, "model", "texts", "input_type", "embedding_types", "output_dimension", "truncate", "max_tokens")
        model = body.get("model")
        assert isinstance(model, str), "model is required"
        assert body.get("input_type") in _USES, "input_type is required and must be one of " + ", ".join(_USES)
        texts = check_texts(body.get("texts"), _TEXTS)
        assert body.get("embedding_types", ["float"]) == ["float"], "the stub makes floats alone"
        truncate = body.get("truncate", "END")
        assert truncate in ("NONE", "START", "END"), "truncate must be one of NONE, START, END"
        longest, window = max(map(tokens, texts)), size_for(model, _WINDOW)
        assert truncate != "NONE" or longest <= window, f"too many tokens: a text has {longest} of {window}"
        if "output_dimension" in body:
            assert model.startswith("embed-v"), "output_dimension is not supported by this model"
            assert body["output_dimension"] in _CHOICE, f"output_dimension must be one of {_CHOICE}"
            assert body["output_dimension"] <= size_for(model, _SIZES), "output_dimension is too large"

    def asked(self, body: Json, path: str) -> Asked:
        return texts_asked(body["model"], body["texts"], body)

    def body(self, asked: Asked, texts: list[str]) -> Json:
        size = asked.body.get("output_dimension") or size_for(asked.model, _SIZES)
        units = {"input_tokens": self.usage(asked).input}
        return {
            "id": "00000000-0000-4000-8000-000000000000",
            "embeddings": {"float": [vector(f"{asked.body['input_type']}: {text}", size) for text in texts]},
            "texts": texts,
            "meta": {"api_version": {"version": "2"}, "billed_units": units},
            "response_type": "embeddings_by_type",
        }

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        return {"message": message}


DIALECT: Dialect = CohereEmbeddings()

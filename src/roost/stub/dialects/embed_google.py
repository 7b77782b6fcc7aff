"""Google's embeddings, from the server's side. Sources as in `roost.local.embed.google`.

Several parts of one content make one vector, of all their text.
"""

from __future__ import annotations

from collections.abc import Mapping

from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.embed import Embeds, Json, check_texts, only, texts_asked, vector
from roost.stub.dialects.gemini import DIALECT as GEMINI

_SIZE = 3_072
_TEXTS = 100
_TASKS = (
    "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING", "RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY",
    "CODE_RETRIEVAL_QUERY", "QUESTION_ANSWERING", "FACT_VERIFICATION",
)  # fmt: skip


class GoogleEmbeddings(Embeds):
    name = "embed_google"
    path = "/{version}/models/{model}:batchEmbedContents"

    def key(self, headers: Mapping[str, str]) -> str | None:
        return GEMINI.key(headers)

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        only(body, "requests")
        requests: list[Json] = body.get("requests") or []
        assert len({request.get("model") for request in requests}) <= 1, "the requests are for different models"
        check_texts([_text(request) for request in requests], _TEXTS)
        for request in requests:
            only(request, "model", "content", "taskType", "title", "outputDimensionality")
            assert str(request.get("model")).startswith("models/"), "model is not of the form models/NAME"
            task = request.get("taskType")
            assert task is None or task in _TASKS, f"no task type {task!r}"
            assert "title" not in request or task == "RETRIEVAL_DOCUMENT", "a title is for RETRIEVAL_DOCUMENT alone"
            assert 1 <= request.get("outputDimensionality", 1) <= _SIZE, "outputDimensionality is out of range"

    def asked(self, body: Json, path: str) -> Asked:
        model = path.rpartition("/models/")[2].partition(":")[0]
        return texts_asked(model, [_text(request) for request in body["requests"]], body)

    def body(self, asked: Asked, texts: list[str]) -> Json:
        sizes = [request.get("outputDimensionality", _SIZE) for request in asked.body["requests"]]
        rows = [{"values": vector(text, size)} for text, size in zip(texts, sizes, strict=True)]
        return {"embeddings": rows, "usageMetadata": {"promptTokenCount": self.usage(asked).input}}

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        return GEMINI.error(status, message, code)


def _text(request: Json) -> str:
    content: Json = request.get("content") or {}
    only(content, "parts", "role")
    parts: list[Json] = content.get("parts") or []
    return "".join(part.get("text", "") for part in parts)


DIALECT: Dialect = GoogleEmbeddings()

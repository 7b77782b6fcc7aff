"""Chroma's collection and mem0's search over the same vectors. `library` says which."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.worker import serve

_BATCH = 1000
Ask = Callable[[str], list[int]]


def chroma(folder: Path, facts: list[str], rows: Any, known: dict[str, list[float]]) -> Ask:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    collection = client.create_collection("bench", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    for start in range(0, len(facts), _BATCH):
        batch = range(start, min(start + _BATCH, len(facts)))
        collection.add(
            ids=[str(at) for at in batch],
            embeddings=rows[start : start + len(batch)],
            documents=[facts[at] for at in batch],
        )
    return lambda query: [int(id) for id in collection.query(query_embeddings=[known[query]], n_results=10)["ids"][0]]


def mem0(folder: Path, facts: list[str], rows: Any, known: dict[str, list[float]]) -> Ask:
    """As it is installed, without its optional language models."""
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ["MEM0_DIR"] = str(folder / "mem0")
    from mem0 import Memory

    class Given:
        config = None

        def embed(self, text: str, memory_action: str | None = None) -> list[float]:
            return known[text]

        def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list[list[float]]:
            return [known[text] for text in texts]

    memory = Memory.from_config(
        {
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": str(folder / "qdrant"), "embedding_model_dims": rows.shape[1], "on_disk": True},
            },
            "llm": {"provider": "openai", "config": {"api_key": "none"}},
            "embedder": {"provider": "openai", "config": {"api_key": "none", "embedding_dims": int(rows.shape[1])}},
            "history_db_path": str(folder / "history.db"),
        }
    )
    memory.embedding_model = Given()
    numbers: dict[str, int] = {}
    for start in range(0, len(facts), _BATCH):
        batch = range(start, min(start + _BATCH, len(facts)))
        ids = [str(uuid.UUID(int=at + 1)) for at in batch]
        numbers.update(zip(ids, batch, strict=True))
        payloads = [{"data": facts[at], "text_lemmatized": facts[at].lower(), "user_id": "ann"} for at in batch]
        memory.vector_store.insert(rows[start : start + len(batch)].tolist(), payloads, ids)

    def ask(query: str) -> list[int]:
        found = memory.search(query, top_k=10, filters={"user_id": "ann"}, threshold=0.0)["results"]
        return [numbers[one["id"]] for one in found]

    return ask


_LIBRARIES = {"chromadb": chroma, "mem0": mem0}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    facts, questions = order["facts"], order["questions"]
    rows = np.load(order["vectors"])
    known = dict(zip([*facts, *questions], rows.tolist(), strict=True))
    began = time.perf_counter()
    ask = _LIBRARIES[order["library"]](folder, facts, rows, known)
    added = time.perf_counter() - began
    ask(questions[0])
    found: list[list[int]] = []
    milliseconds: list[float] = []
    cpu = time.process_time()
    for question in questions[: order.get("most")]:
        start = time.perf_counter()
        found.append(ask(question))
        milliseconds.append((time.perf_counter() - start) * 1e3)
    spent = (time.process_time() - cpu) * 1e3 / len(found)
    return {"add_seconds": added, "search": {"found": found, "ms": milliseconds, "cpu_ms": spent}}


if __name__ == "__main__":
    serve(play)

"""Finding facts: by words, by meaning and by both, beside Chroma and mem0 on the same vectors."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.contest import Contestant, contest, rounds
from bench.numbers import figure, median, percentile
from bench.questions import made
from bench.report import Bar, Section, Table
from bench.settings import Settings
from roost.local.embed.base import Embedding
from roost.local.embed.local import LocalEmbedder

ABOUT = """\
10,000 facts about people and projects and 500 questions that are made for them by one seed (`bench/questions.py`): a \
question names its person or project and asks for one of its ten or twelve attributes in words that no fact of that \
attribute uses. All contestants get the same vectors (all-MiniLM-L6-v2). Recall at 1 and at 5, and the mean \
reciprocal rank (of ten) of the one right fact; the time of a search is that of the query without its own embedding. \
mem0 runs as it is installed, without its optional language models, and is asked the first 100. Then 100,000 facts of \
the same kind, whose vectors are drawn at random around 300 centres, since only time is measured there."""
_SIZE = 384
_SMALL = ("mem0",)
"""The store in a folder that it comes with is not meant for more than 20,000 vectors, as its own warning says: 100,000
would take it an hour to take in."""
_MOST = 100
"""Questions for mem0, which needs some tenths of a second for each."""
_WAYS = (("words", "Roost, words alone"), ("meaning", "Roost, vectors alone"), ("both", "Roost, both"))


def run(settings: Settings) -> Section:
    section = Section("Memory", ABOUT)
    people, projects, asked = settings.pick(500, 10), settings.pick(400, 8), settings.pick(500, 20)
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        few = _order(Path(folder) / "few.npy", people, projects, asked, embed=True)
        many = _order(
            Path(folder) / "many.npy",
            settings.pick(5000, 20),
            settings.pick(4000, 20),
            settings.pick(500, 20),
            embed=False,
        )
        section.notes.append(f"embedding a query takes {few.pop('query_ms'):.1f} ms (median, one at a time)")
        contestants = [Contestant("Roost", "bench.workers.memory_roost")]
        if settings.peers:
            contestants += [
                Contestant("Chroma", "bench.workers.peer_memory", peer="chromadb", library="chromadb"),
                Contestant("mem0", "bench.workers.peer_memory", peer="mem0", library="mem0", most=_MOST),
            ]
        right = few.pop("right")
        many.pop("right")
        with contest(contestants) as (ready, absent):
            found = rounds(ready, 1, **few)
            timed = rounds([one for one in ready if one.name not in _SMALL], 1, **many)
        section.notes += [f"{name}: {why}" for name, why in absent.items()]
    section.tables.append(_quality(found, right))
    section.tables.append(_times(timed))
    section.bars += _bars(found, timed, right)
    section.data = {"quality": _brief(found, right), "times": _brief(timed, None)}
    return section


def _order(path: Path, people: int, projects: int, asked: int, *, embed: bool) -> dict[str, Any]:
    questions = made(people, projects, asked)
    texts = [*questions.facts, *(question.text for question in questions.questions)]
    order: dict[str, Any] = {
        "facts": questions.facts,
        "questions": texts[len(questions.facts) :],
        "right": [question.fact for question in questions.questions],
        "vectors": str(path),
    }
    if embed:
        print(f"  embedding {len(texts):,} texts", flush=True)
        rows, order["query_ms"] = asyncio.run(_embedded(texts, order["questions"][:100]))
    else:
        rows = _drawn(len(texts))
    np.save(path, rows)
    return order


async def _embedded(texts: list[str], queries: list[str]) -> tuple[NDArray[np.float32], float]:
    embedder = LocalEmbedder()
    vectors = await embedder.embed(Embedding(texts))
    milliseconds: list[float] = []
    for query in queries:
        began = time.perf_counter()
        await embedder.embed(Embedding([query], use="query"))
        milliseconds.append((time.perf_counter() - began) * 1e3)
    await embedder.close()
    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(texts), _SIZE), median(milliseconds)


def _drawn(count: int) -> NDArray[np.float32]:
    chance = np.random.default_rng(7)
    centres = chance.standard_normal((300, _SIZE), dtype=np.float32)
    rows = centres[chance.integers(0, 300, count)] + chance.standard_normal((count, _SIZE), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _ways(found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """(contestant, its answers), Roost three times."""
    named: list[tuple[str, dict[str, Any]]] = []
    for name, (answer, *_) in found.items():
        if name == "Roost":
            named += [(title, answer[way]) for way, title in _WAYS if way in answer]
        else:
            named.append((name, answer.get("search", answer)))
    return named


def _quality(found: dict[str, list[dict[str, Any]]], right: list[int]) -> Table:
    table = Table(["10,000 facts", "recall@1", "recall@5", "MRR@10", "p50 ms", "p99 ms", "p50 against Roost's both"])
    for name, answer in _ways(found):
        if "error" in answer:
            table.rows.append([name, answer["error"]])
            continue
        scores = [f"{value:.3f}" for value in _scores(answer["found"], right)]
        cells = (median(answer["ms"]), percentile(answer["ms"], 99))
        table.rows.append([name, *scores, *map(figure, cells), _against(found, answer)])
    return table


def _times(found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(["100,000 facts", "p50 ms", "p99 ms", "CPU ms a query", "p50 against Roost's both"])
    for name, answer in _ways(found):
        if "error" in answer:
            table.rows.append([name, answer["error"]])
            continue
        cells = (median(answer["ms"]), percentile(answer["ms"], 99), answer["cpu_ms"])
        table.rows.append([name, *map(figure, cells), _against(found, answer)])
    return table


def _against(found: dict[str, list[dict[str, Any]]], answer: dict[str, Any]) -> str:
    """The ratio of the medians: everybody asked the same questions, one after the other."""
    both = dict(_ways(found)).get(_WAYS[-1][1])
    return "–" if both is None or "error" in both else f"{figure(median(answer['ms']) / median(both['ms']))} ×"


def _scores(found: list[list[int]], right: list[int]) -> tuple[float, float, float]:
    """Recall at 1 and at 5, and the mean reciprocal rank."""
    asked = right[: len(found)]
    ranks = [hits.index(one) + 1 if one in hits else None for hits, one in zip(found, asked, strict=True)]
    total = len(ranks)
    return (
        sum(rank == 1 for rank in ranks) / total,
        sum(rank is not None and rank <= 5 for rank in ranks) / total,
        sum(1 / rank for rank in ranks if rank is not None) / total,
    )


def _bars(found: Any, timed: Any, right: list[int]) -> list[Bar]:
    times, quality = dict(_ways(timed)), dict(_ways(found))
    both = times.get("Roost, both")
    if both is None or "error" in both:
        return []
    words, meaning, hybrid = (_scores(quality[title]["found"], right)[1] for _, title in _WAYS)
    return [
        Bar("hybrid search of 100,000 facts, p99 (≤ 20 ms)", percentile(both["ms"], 99), 20.0, unit=" ms"),
        Bar("recall@5 of both beside the better of the two alone", hybrid, max(words, meaning), at_least=True),
    ]


def _brief(found: Any, right: list[int] | None) -> dict[str, Any]:
    return {
        name: {"ms": answer["ms"], "scores": None if right is None else _scores(answer["found"], right)}
        for name, answer in _ways(found)
        if "error" not in answer
    }

"""A correction is never lost, and a fact about something else is never ended, whatever the embedding model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.local.catalog import EMBEDDING, lookup
from roost.local.embed.base import Embedder, Embedding, Vector
from roost.local.embed.local import LocalEmbedder
from roost.local.weights import is_here
from roost.runtime import Runtime
from tests.kernel.support import agent, calling, running
from tests.memory.corrections import PAIRS
from tests.memory.test_tools import clerk, session, told, with_meanings

HERE = is_here(lookup(EMBEDDING))
"""Looked at before `no_weights` hides them."""


class Constant:
    """Takes all texts for the same."""

    name = "test/constant"
    size = 8

    async def embed(self, job: Embedding) -> list[Vector]:
        return [b"\0\0\x80\x3f" + bytes(28)] * len(job.texts)

    async def close(self) -> None:
        return None


def test_the_table_is_large_enough() -> None:
    assert sum(map(len, PAIRS.values())) >= 60


@pytest.mark.one_on_postgres
@pytest.mark.parametrize("model", ["none", "constant", pytest.param("minilm", marks=pytest.mark.local)])
async def test_no_correction_is_lost(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = _embedder(model, monkeypatch)
    async with running(tmp_path, agent(["x"])) as runtime:
        if embedder is not None:
            with_meanings(runtime, embedder)
        wrong = [
            f"{kind}: {older!r}, {newer!r}: {problem}"
            for kind, pairs in PAIRS.items()
            for older, newer in pairs
            if (problem := await _problem(runtime, kind, older, newer))
        ]
    assert wrong == []


def _embedder(model: str, monkeypatch: pytest.MonkeyPatch) -> Embedder | None:
    if model == "none":
        return None
    if model == "constant":
        return Constant()
    if not HERE:
        pytest.skip("all-MiniLM-L6-v2 is not here: roost pull minilm")
    monkeypatch.delenv("ROOST_CACHE")
    return LocalEmbedder()


async def _problem(runtime: Runtime, kind: str, older: str, newer: str) -> str:
    """What went wrong, or nothing."""
    memories = runtime.memory
    first = (await memories.add("user:ann", older)).fact
    learned = await memories.add("user:ann", newer)
    current = {fact.text for fact in (await memories.list(space="user:ann")).facts}
    named = {fact.text for fact in (*learned.former, *learned.unsure)}
    for fact in (await memories.list(space="user:ann")).facts:
        await memories.remove(fact.id)
    if kind == "same":
        return "" if learned.op == "known" and learned.former[0].id == first.id else "it is not known"
    if newer not in current:
        return "the newer one is lost"
    if kind == "negation":
        return "" if older not in current and older in named else "the older one still holds"
    if kind == "different":
        return "" if older in current else "the older one was ended"
    return "" if older in current or older in named else "nobody was told what was ended"


async def test_what_is_kept_beside_another_fact_is_told(tmp_path: Path) -> None:
    keeper = clerk(
        calling("remember", text="Dan loves Eve"),
        calling("remember", text="Eve loves Dan"),
        calling("remember", text="Eve does not love Dan"),
        "done",
    )
    async with running(tmp_path, keeper) as runtime:
        one = await session(runtime)
        await one.ask("go")
        facts = {fact.text: fact.id for fact in (await runtime.memory.list()).facts}
        assert set(facts) == {"Dan loves Eve", "Eve does not love Dan"}
        said = await told(runtime, one)
        assert f"Kept beside it: 'Dan loves Eve' [{facts['Dan loves Eve']}]" in said[1]
        assert "in place of 'Eve loves Dan'" in said[2]


async def test_a_negation_of_a_keyed_fact_or_of_another_category_stands_beside_it(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        memories = runtime.memory
        await memories.add("user:ann", "Ann lives in Paris", key="home")
        await memories.add("user:ann", "Ann drinks tea", category="preference")
        for text, older in (
            ("Ann does not live in Paris", "Ann lives in Paris"),
            ("Ann drinks no tea", "Ann drinks tea"),
        ):
            learned = await memories.add("user:ann", text)
            assert (learned.op, [fact.text for fact in learned.unsure]) == ("add", [older])
        assert len((await memories.list(space="user:ann")).facts) == 4
        learned = await memories.add("user:ann", "Ann does not live in Paris", key="home")
        assert (learned.op, learned.former[0].text) == ("update", "Ann lives in Paris")

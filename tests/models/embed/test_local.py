"""The embedder that runs in this process."""

from __future__ import annotations

import array
import asyncio
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.models.embed.conftest import Make
from tests.models.embed.gguf import write

from roost.local.catalog import Weights
from roost.local.embed import blas
from roost.local.embed.base import Embedding, EmbedFailed, Vector
from roost.local.embed.local import LocalEmbedder
from roost.local.embed.wordpiece import VOCABULARY
from roost.local.weights import ensure
from roost.models.request import Bill

FACTS = {
    "The night train to Vienna leaves at 22:40 from platform 9.": "When does the sleeper to Austria's capital depart?",
    "Ada keeps the spare keys in the blue flowerpot.": "Where can I find the second set of keys?",
    "The invoice of the roofer was paid on the third of May.": "Did we already settle the bill for the roof?",
    "Tom is allergic to peanuts and carries an injection.": "Which food must our guest avoid?",
    "The staging database runs on port 6432 behind a pooler.": "How do I connect to the test system's data store?",
    "Deployments are frozen in the last week of December.": "May we release around Christmas?",
    "The cat must get half a tablet every morning.": "How much medicine does our pet take?",
    "Grandmother's recipe wants rye flour and caraway.": "What goes into the family's bread?",
    "The lease of the office ends in September next year.": "How long can we stay in these rooms?",
    "Backups are kept for thirty days and then deleted.": "For how long can a lost file be brought back?",
    "The bicycle's tyres take four bar of pressure.": "How hard should I pump the wheels?",
    "Mira prefers to be called before nine in the morning.": "What is a good time to phone her?",
    "The projector in room 2 needs an adapter for USB-C.": "Why can I not show my slides from a new laptop?",
    "Parking behind the library is free after six.": "Where may I leave the car in the evening without paying?",
    "The API answers with 429 when a client asks too often.": "What happens if I send requests too quickly?",
    "The boiler was serviced by the company Hansen in March.": "Who looked after the heating this spring?",
    "Passwords are rotated every ninety days.": "How often do we have to change our login secrets?",
    "The tomatoes are watered by a timer at dawn.": "Do I need to give the plants something to drink?",
    "Customers in Norway are billed in kroner.": "Which currency do we use for Oslo?",
    "The tests need about thirteen minutes on two cores.": "How long does the continuous integration take?",
    "The fire extinguisher hangs beside the kitchen door.": "What do I grab when the stove is burning?",
    "Luis plays the cello in the town's orchestra.": "Which of us makes classical music?",
    "The warranty of the dishwasher covers five years.": "Is the machine for the plates still under guarantee?",
    "Logs are written as one JSON object a line.": "In which format does the service record its events?",
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ROOST_OFFLINE", raising=False)
    return tmp_path / "cache" / "models"


def dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(array.array("f", one), array.array("f", other), strict=True))


async def test_without_weights_it_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_OFFLINE", "1")
    made = LocalEmbedder()
    assert await made.embed(Embedding([])) == []
    for _ in range(2):
        with pytest.raises(EmbedFailed, match="ROOST_OFFLINE") as failed:
            await made.embed(Embedding(["a"]))
        assert failed.value.code == "weights_missing"


async def test_nobody_fetches_for_those_who_went_away(cache: Path) -> None:
    sent = 0
    gone = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                sent += 1
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    weights = Weights(
        name="slow",
        file="slow.safetensors",
        bytes=1_000_000,
        sha256=hashlib.sha256().hexdigest(),
        url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/slow.safetensors",
        lock=None,
        window=256,
        licence="none",
        kind="embedding",
    )
    made = LocalEmbedder(weights)
    first, second = (asyncio.create_task(made.embed(Embedding(["a"]))) for _ in range(2))
    while sent < 5:
        await asyncio.sleep(0.01)
    first.cancel()
    seen = sent
    while sent < seen + 10:
        await asyncio.sleep(0.01)
    assert not gone.is_set(), "one still waits"
    second.cancel()
    async with asyncio.timeout(60):
        await gone.wait()
    server.close()


def test_products_have_one_thread_until_the_last_is_done() -> None:
    threads = blas.threads()
    if threads is None:
        pytest.skip("this numpy has another library for its products")
    before = threads.get()
    threads.set(3)
    with blas.one_thread():
        with blas.one_thread():
            assert threads.get() == 1
        assert threads.get() == 1
    assert threads.get() == 3
    threads.set(before)


@pytest.fixture(scope="module")
def weights() -> Path:
    return ensure("minilm")


@pytest.fixture(scope="module")
def llama(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """llama.cpp's own server with the same weights."""
    xllamacpp = pytest.importorskip("xllamacpp")
    path = tmp_path_factory.mktemp("gguf") / "minilm.gguf"
    write(weights, VOCABULARY, path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.embedding = True
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = -1
    params.api_keys = ["k"]
    yield xllamacpp.Server(params)
    path.unlink()


@pytest.mark.long
@pytest.mark.local_model
@pytest.mark.timeout(600)
async def test_the_vectors_are_those_of_another_engine(llama: Any, embedder: Make) -> None:
    texts = [*FACTS, *FACTS.values(), "Grüße aus München", "天気がいい 😀", "def f(x): return x**2", "word " * 200, ""]
    there = embedder(f"{llama.listening_address}/v1", model="minilm")
    bills = Bill(), Bill()
    ours = await LocalEmbedder().embed(Embedding(texts, bill=bills[0]))
    theirs = await there.embed(Embedding(texts, bill=bills[1]))
    assert there.size == LocalEmbedder().size == 384
    assert min(map(dot, ours[:-1], theirs[:-1])) > 0.99999
    assert bills[0].usage.cost == 0
    assert bills[0].usage.input == pytest.approx(bills[1].usage.input, abs=2), "the blank text is another one there"


@pytest.mark.local_model
async def test_another_engine_shortens_what_is_too_long_for_it(llama: Any, embedder: Make) -> None:
    there = embedder(f"{llama.listening_address}/v1", model="minilm")
    short, long = await there.embed(Embedding(["word", "word " * 3_000]))
    assert len(short) == len(long) == 384 * 4


@pytest.mark.local_model
async def test_questions_in_other_words_find_their_facts(weights: Path) -> None:
    made = LocalEmbedder()
    facts = await made.embed(Embedding(list(FACTS)))
    questions = await made.embed(Embedding(list(FACTS.values()), use="query"))
    found = [max(range(len(facts)), key=lambda at, asked=asked: dot(asked, facts[at])) for asked in questions]
    right = sum(at == number for number, at in enumerate(found))
    assert right / len(FACTS) >= 0.9


@pytest.mark.local_model
async def test_order_length_and_long_texts(weights: Path) -> None:
    made = LocalEmbedder()
    texts = [*FACTS, "", "word " * 100_000, "last"]
    together = await made.embed(Embedding(texts))
    alone = [vector for text in texts for vector in await made.embed(Embedding([text]))]
    assert len(together) == len(texts)
    assert all(len(vector) == 384 * 4 for vector in together)
    assert min(map(dot, together, alone)) > 0.999999
    assert max(abs(dot(vector, vector) - 1) for vector in together) < 1e-5


@pytest.mark.local_model
async def test_a_query_does_not_wait_for_a_long_job_which_can_be_cancelled(weights: Path) -> None:
    made = LocalEmbedder()
    await made.embed(Embedding(["warm"]))
    long = asyncio.create_task(made.embed(Embedding(["some words of a long job " * 40] * 2_000)))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await made.embed(Embedding(["a query"]))
    assert not long.done()
    assert ticks > 3, "the loop goes on"
    for task in (long, ticking):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert time.monotonic() - began < 60

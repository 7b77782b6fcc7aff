"""The embedders over HTTP against servers that check what they are sent as strictly as the real ones."""

from __future__ import annotations

import array
import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.models.embed.conftest import MODELS, SIZES, Make

from roost.local.embed.base import Embedding, EmbedFailed
from roost.models.http import HttpClient
from roost.models.request import Bill, Price
from roost.routing.retry import Retry
from roost.stub.dialects.embed import tokens, vector
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply

Raw = Callable[..., Awaitable[str]]
KINDS = list(MODELS)


def numbers(vector: bytes) -> list[float]:
    return array.array("f", vector).tolist()


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


@pytest.mark.parametrize("kind", KINDS)
async def test_many_texts_in_their_order_from_several_calls(kind: str, embedder: Make) -> None:
    texts = [f"text {number}, Grüße 😀" for number in range(300)]
    bill = Bill()
    with ProviderServer(key="k") as server:
        made = embedder(server.url, kind, price=Price(20, 0))
        vectors = await made.embed(Embedding(texts, bill=bill))
    assert made.size == SIZES[kind]
    prefix = "search_document: " if kind == "cohere" else ""
    for text, one in list(zip(texts, vectors, strict=True))[::49]:
        assert cosine(numbers(one), vector(prefix + text, SIZES[kind])) > 0.999999
        assert math.hypot(*numbers(one)) == pytest.approx(1.0, abs=1e-5)
    served = server.stats.served[MODELS[kind]]
    assert served.calls == bill.calls == server.stats.requests == {"openai": 2, "google": 3, "cohere": 4}[kind]
    assert served.input == bill.usage.input == sum(map(tokens, texts))
    assert bill.usage.cost == bill.usage.input * 20
    assert bill.estimated == 0
    assert bill.model == made.name
    assert server.stats.violations == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_text_is_for_and_the_size(kind: str, embedder: Make) -> None:
    with ProviderServer(key="k") as server:
        made = embedder(server.url, kind, size=256, name="account/model")
        assert made.name == "account/model@256"
        (query,) = await made.embed(Embedding(["hello"], use="query"))
        (body,) = server.provider.bodies
    said = {"openai": body.get("input"), "google": body.get("requests"), "cohere": body.get("input_type")}[kind]
    request = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "hello"}]}}
    assert (
        said
        == {
            "openai": ["hello"],
            "google": [{**request, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256}],
            "cohere": "search_query",
        }[kind]
    )
    assert len(query) == 256 * 4


async def test_newer_google_models_read_the_use_from_the_text(embedder: Make) -> None:
    with ProviderServer(key="k") as server:
        made = embedder(server.url, "google", model="gemini-embedding-2")
        await made.embed(Embedding(["hello"], use="query"))
        await made.embed(Embedding(["hello"]))
        asked = [body["requests"][0] for body in server.provider.bodies]
    texts = ["task: search result | query: hello", "title: none | text: hello"]
    assert [one["content"]["parts"] for one in asked] == [[{"text": text}] for text in texts]
    assert not any("taskType" in one for one in asked)


async def test_nothing_costs_nothing_and_blank_texts_are_sent_as_something(embedder: Make) -> None:
    with ProviderServer(key="k") as server:
        made = embedder(server.url)
        assert await made.embed(Embedding([])) == []
        assert server.stats.requests == 0
        vectors = await made.embed(Embedding(["", " \n", "\ud800 surrogate", "\0"]))
    assert len({*vectors}) == 3
    assert server.stats.violations == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_text_beyond_the_window_is_cut(kind: str, embedder: Make) -> None:
    with ProviderServer(key="k") as server:
        vectors = await embedder(server.url, kind).embed(Embedding(["short", "word " * 200_000, "!" * 9_000, "last"]))
        ends = await embedder(server.url, kind).embed(Embedding(["short", "last"]))
    assert len(vectors) == 4
    assert [vectors[0], vectors[3]] == ends


async def test_a_batch_that_is_too_large_is_halved(embedder: Make) -> None:
    sizes: list[int] = []

    def script(body: dict[str, Any]) -> Reply:
        sizes.append(len(body["input"]))
        message = "input is too large to process. increase the physical batch size"
        return Reply(fault=Fault(kind="status", status=500, message=message, times=0) if sizes[-1] > 3 else None)

    texts = [str(number) for number in range(10)]
    bill = Bill()
    with ProviderServer(script, key="k") as server:
        made = embedder(server.url, size=8)
        vectors = await made.embed(Embedding(texts, bill=bill))
        singly = [vector for text in texts for vector in await made.embed(Embedding([text]))]
    assert vectors == singly
    assert sizes[:7] == [10, 5, 2, 3, 5, 2, 3]
    assert bill.calls == 4, "what was refused is no call"


async def test_a_refusal_that_no_half_makes_good_ends_soon(embedder: Make) -> None:
    reply = Reply(fault=Fault(kind="status", status=400, message="too many inputs", times=0))
    with ProviderServer(lambda _: reply, key="k") as server:
        with pytest.raises(EmbedFailed) as failed:
            await embedder(server.url).embed(Embedding(["text " * 20] * 64))
        assert server.stats.requests < 20
    assert failed.value.code == "context_overflow"


@pytest.mark.parametrize("kind", KINDS)
async def test_it_tries_again_when_the_provider_says(kind: str, embedder: Make) -> None:
    fault = Fault(kind="status", status=429, retry_after="0.4", message="slow down")
    with ProviderServer(lambda _: Reply(fault=fault), key="k") as server:
        began = time.monotonic()
        vectors = await embedder(server.url, kind).embed(Embedding(["a", "b"]))
        assert time.monotonic() - began >= 0.4
    assert len(vectors) == 2
    assert (server.stats.requests, server.stats.faults) == (2, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(kind="reset", at=1), "connection"),
        (Fault(kind="reset", at=-9), "connection"),
        (Fault(kind="close", at=40), "connection"),
        (Fault(kind="malformed", at=40), "malformed"),
        (Fault(kind="empty"), "empty"),
        (Fault(kind="html"), "malformed"),
        (Fault(kind="error", status=503), "malformed"),
        (Fault(kind="status", status=529), "overloaded"),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value,
)
async def test_what_may_pass_is_tried_again_and_then_told(kind: str, fault: Fault, code: str, embedder: Make) -> None:
    with ProviderServer(lambda _: Reply(fault=fault), key="k") as server:
        assert len(await embedder(server.url, kind, size=256).embed(Embedding(["a"]))) == 1
        assert server.stats.faults >= 1
        bill = Bill()
        with pytest.raises(EmbedFailed) as failed:
            await embedder(server.url, kind, retry=Retry(tries=1), size=256).embed(Embedding(["b"], bill=bill))
    assert failed.value.code == code == failed.value.error.code
    assert failed.value.error.retryable
    # What the provider may have counted is counted here; a refusal is free.
    assert (bill.calls, bill.estimated) == ((0, 0) if fault.kind == "status" else (1, 1))


async def test_silence_is_told(embedder: Make) -> None:
    with ProviderServer(lambda _: Reply(fault=Fault(kind="stall", at=40)), key="k") as server:
        made = embedder(server.url, size=256, retry=Retry(tries=1), idle_timeout=0.5)
        with pytest.raises(EmbedFailed) as failed:
            await made.embed(Embedding(["a"]))
    assert failed.value.code == "timeout"
    assert failed.value.error.retryable


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wrong_key_is_told_at_once_and_not_shown(kind: str, embedder: Make) -> None:
    bill = Bill()
    with ProviderServer(key="right") as server:
        made = embedder(server.url, kind, key="wrong-key-of-mine")
        with pytest.raises(EmbedFailed) as failed:
            await made.embed(Embedding(["a"], bill=bill))
    assert failed.value.code == "auth"
    assert server.stats.requests == 1
    assert bill.calls == 0
    assert "wrong-key-of-mine" not in f"{failed.value} {made!r}"


async def test_no_server_is_told_and_costs_nothing(embedder: Make) -> None:
    bill = Bill()
    with pytest.raises(EmbedFailed, match="cannot connect") as failed:
        await embedder("http://127.0.0.1:9/v1").embed(Embedding(["a"], bill=bill))
    assert failed.value.code == "connection"
    assert bill.calls == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0, 2.0]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [0.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": None}]},
        {"data": [{"index": 0, "embedding": "AACAPw=="}, {"index": 1, "embedding": "AADAfw=="}]},
        {"data": [{"index": 0, "embedding": "AACAPw=="}, {"index": 1, "embedding": "AA"}]},
        {"data": [{"index": 0, "embedding": "AACAPw=="}, {"index": 1, "embedding": "?"}]},
        b"[" * 100_000,
    ],
    ids=["none", "one", "twice", "gap", "sizes", "empty", "zero", "null", "nan", "short", "no base64", "deep"],
)
async def test_vectors_that_are_not_what_was_asked_for_are_not_taken(answer: Any, raw: Raw, embedder: Make) -> None:
    url = await raw(answer, kind="application/json")
    with pytest.raises(EmbedFailed) as failed:
        await embedder(url, model="unknown").embed(Embedding(["a", "b"]))
    assert failed.value.code == "malformed"


async def test_a_size_that_the_model_does_not_have_is_told_once(raw: Raw, embedder: Make) -> None:
    answer = {"data": [{"index": 0, "embedding": [1.0, 2.0]}]}
    url = await raw(answer, kind="application/json")
    with pytest.raises(EmbedFailed, match="have 2 numbers, and not 3") as failed:
        await embedder(url, model="unknown", size=3).embed(Embedding(["a"]))
    assert failed.value.code == "unsupported"
    assert not failed.value.error.retryable


async def test_vectors_may_come_in_any_order_and_as_numbers(raw: Raw, embedder: Make) -> None:
    items = [{"index": 1, "embedding": [0, 2, 0.0]}, {"index": 0, "embedding": [3.0, 0.0, 4]}]
    url = await raw({"data": items}, kind="application/json")
    made = embedder(url, model="unknown")
    assert made.size is None
    bill = Bill()
    first, second = await made.embed(Embedding(["a", "b"], bill=bill))
    assert numbers(first) == pytest.approx([0.6, 0, 0.8])
    assert numbers(second) == [0, 1, 0]
    assert made.size == 3
    assert (bill.estimated, bill.usage.cost) == (1, None), "neither the count nor the price is known"
    assert bill.usage.input > 0


async def test_cancelling_stops_the_calls_at_the_provider(embedder: Make) -> None:
    bill = Bill()
    with ProviderServer(lambda _: Reply(delay=60), key="k") as server:
        task = asyncio.create_task(embedder(server.url).embed(Embedding(["text"] * 1_000, bill=bill)))
        while server.stats.open < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while server.stats.open:
            await asyncio.sleep(0.01)
        assert server.stats.left == 4
    assert (bill.calls, bill.estimated) == (4, 4), "the provider may have counted them"


async def test_one_call_that_fails_ends_the_others(embedder: Make) -> None:
    def script(body: dict[str, Any]) -> Reply:
        last = body["input"][0] == "999"
        return Reply(delay=0 if last else 60, fault=Fault(kind="status", status=402) if last else None)

    with ProviderServer(script, key="k") as server:
        texts = ["text"] * 256 * 3 + ["999"]
        with pytest.raises(EmbedFailed) as failed:
            await embedder(server.url).embed(Embedding(texts))
        while server.stats.open:
            await asyncio.sleep(0.01)
    assert failed.value.code == "quota"


@pytest.mark.long
async def test_many_jobs_share_the_connections(client: HttpClient, embedder: Make) -> None:
    with ProviderServer(key="k") as server:
        made = embedder(server.url, size=16)
        jobs = [made.embed(Embedding([f"{job} {number}" for number in range(5)])) for job in range(50)]
        vectors = [vector for job in await asyncio.gather(*jobs) for vector in job]
        again = await made.embed(Embedding([f"{job} {number}" for job in range(50) for number in range(5)]))
    assert vectors == again


@pytest.mark.parametrize("tokens", [-1_000_000, 10**18])
async def test_a_count_that_cannot_be_true_is_an_estimate(tokens: int, raw: Raw, embedder: Make) -> None:
    answer = {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"prompt_tokens": tokens}}
    bill = Bill()
    url = await raw(answer, kind="application/json")
    await embedder(url, model="unknown", price=Price(20, 0)).embed(Embedding(["a b c"], bill=bill))
    assert bill.estimated == 1
    assert 0 < (bill.usage.cost or 0) < 1_000


async def test_an_answer_that_is_larger_than_what_was_asked_for_is_not_read(raw: Raw, embedder: Make) -> None:
    answer = {"data": [{"index": 0, "embedding": [1.0] * 3}], "more": "x" * 1_200_000}
    url = await raw(answer, kind="application/json")
    with pytest.raises(EmbedFailed, match="more than") as failed:
        await embedder(url, model="unknown", size=3).embed(Embedding(["a"]))
    assert failed.value.code == "malformed"
    assert await embedder(url, model="unknown").embed(Embedding(["a"]))

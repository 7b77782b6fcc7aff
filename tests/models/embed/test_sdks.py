"""The stub's embeddings are right because the official SDKs take them, and its refusals because they raise."""

from __future__ import annotations

import pytest

from roost.stub.dialects.embed import tokens, vector
from roost.stub.provider import ProviderServer

TEXTS = ["Grüße 世界 😀", "a second text"]
COUNT = sum(map(tokens, TEXTS))


async def test_openai() -> None:
    import openai

    with ProviderServer(key="k") as server:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            small = await client.embeddings.create(model="text-embedding-3-small", input=TEXTS, dimensions=64)
            plain = await client.embeddings.create(
                model="text-embedding-3-small", input=TEXTS[0], dimensions=64, encoding_format="float"
            )
            with pytest.raises(openai.BadRequestError, match="is empty"):
                await client.embeddings.create(model="text-embedding-3-small", input=[""])
            with pytest.raises(openai.BadRequestError, match="at most 2048"):
                await client.embeddings.create(model="text-embedding-3-small", input=["x"] * 2049)
            with pytest.raises(openai.BadRequestError, match="maximum context length"):
                await client.embeddings.create(model="text-embedding-3-small", input="! " * 8193)
        async with openai.AsyncOpenAI(base_url=server.url, api_key="no", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.embeddings.create(model="text-embedding-3-small", input=TEXTS)
    for text, item in zip(TEXTS, small.data, strict=True):
        assert item.embedding == pytest.approx(vector(text, 64))
    assert plain.data[0].embedding == vector(TEXTS[0], 64)
    assert small.usage.prompt_tokens == small.usage.total_tokens == COUNT
    assert server.stats.served["text-embedding-3-small"].input == COUNT + tokens(TEXTS[0])


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of the SDK's own session
async def test_google() -> None:
    genai = pytest.importorskip("google.genai")
    with ProviderServer(key="k") as server:
        options = {"base_url": server.url.removesuffix("/v1"), "api_version": "v1beta"}
        async with genai.Client(api_key="k", http_options=options).aio as client:
            config = {"task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 64}
            made = await client.models.embed_content(model="gemini-embedding-001", contents=TEXTS, config=config)
            whole = await client.models.embed_content(model="gemini-embedding-2", contents=TEXTS)
            with pytest.raises(genai.errors.ClientError, match="no task type"):
                await client.models.embed_content(
                    model="gemini-embedding-001", contents=TEXTS, config={"task_type": "SEARCH"}
                )
    assert [one.values for one in made.embeddings] == [vector(text, 64) for text in TEXTS]
    assert made.usage_metadata.prompt_token_count == COUNT
    # This SDK sends the texts of a newer model as the parts of one content, and that is one vector.
    assert [one.values for one in whole.embeddings] == [vector("".join(TEXTS), 3072)]


async def test_cohere() -> None:
    import cohere

    with ProviderServer(key="k") as server:
        async with cohere.AsyncClientV2(api_key="k", base_url=server.url.removesuffix("/v1")) as client:
            made = await client.embed(
                model="embed-v4.0",
                texts=TEXTS,
                input_type="search_query",
                embedding_types=["float"],
                output_dimension=256,
            )
            with pytest.raises(cohere.BadRequestError, match="at most 96"):
                await client.embed(model="embed-v4.0", texts=["x"] * 97, input_type="search_query")
            with pytest.raises(cohere.BadRequestError, match="must be one of"):
                await client.embed(model="embed-v4.0", texts=TEXTS, input_type="search_query", output_dimension=100)
    assert made.embeddings.float_ == [vector(f"search_query: {text}", 256) for text in TEXTS]
    assert made.meta is not None
    assert made.meta.billed_units is not None
    assert made.meta.billed_units.input_tokens == COUNT

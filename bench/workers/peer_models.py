"""The providers' own SDKs, and LiteLLM, streaming one answer after the other. `client` says which."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.worker import Clock, serve

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "quick"}]


async def openai(url: str) -> Any:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none")

    async def pieces() -> AsyncIterator[str | None]:
        stream = await client.chat.completions.create(
            model="scripted",
            messages=ASKED,
            max_tokens=2000,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            yield chunk.choices[0].delta.content if chunk.choices else None

    return pieces


async def litellm(url: str) -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network for prices
    import litellm as library

    async def pieces() -> AsyncIterator[str | None]:
        stream = await library.acompletion(
            model="openai/scripted",
            messages=ASKED,
            api_base=url,
            api_key="none",
            max_tokens=2000,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            yield chunk.choices[0].delta.content if chunk.choices else None

    return pieces


async def anthropic(url: str) -> Any:
    from anthropic import AsyncAnthropic

    client = AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="none")

    async def pieces() -> AsyncIterator[str | None]:
        stream = await client.messages.create(
            model="scripted", system=ASKED[0]["content"], messages=ASKED[1:], max_tokens=2000, stream=True
        )
        async for event in stream:
            yield event.delta.text if event.type == "content_block_delta" else None

    return pieces


async def google(url: str) -> Any:
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url=url.removesuffix("/v1"), api_version="v1beta")
    client = genai.Client(api_key="none", http_options=options)
    config = types.GenerateContentConfig(system_instruction=ASKED[0]["content"], max_output_tokens=2000)

    async def pieces() -> AsyncIterator[str | None]:
        stream = await client.aio.models.generate_content_stream(model="scripted", contents="quick", config=config)
        async for chunk in stream:
            yield chunk.text

    return pieces


CLIENTS = {"openai": openai, "litellm": litellm, "anthropic": anthropic, "google": google}


async def run(client: str, url: str, requests: int, deltas: int) -> dict[str, Any]:
    pieces = await CLIENTS[client](url)
    async for _ in pieces():
        pass
    clock = Clock()
    for _ in range(requests):
        count = 0
        async for piece in pieces():
            count += bool(piece)
        assert count == deltas, f"{count} pieces and not {deltas}"
    return {**clock.stop(), "steps": requests}


def play(_: Path, order: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(run(order["client"], order["url"], order["requests"], order["deltas"]))


if __name__ == "__main__":
    serve(play)

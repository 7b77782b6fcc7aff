"""A GGUF file behind the OpenAI protocol: the real command, with the official client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.log.content import AssistantMessage
from roost.models.http_model import HttpModel
from roost.models.request import Completed, TextDelta
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.testing.models import ask, run, user

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(300)]

ROOST = str(Path(sys.executable).with_name("roost"))
SMALL = "smollm2-135m"
LIGHT = {
    "type": "function",
    "function": {
        "name": "light",
        "description": "Switches a light.",
        "parameters": {"type": "object", "properties": {}},
    },
}


class Served(msgspec.Struct):
    process: Any
    url: str
    name: str
    key: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def client(self, key: str | None = None) -> Any:
        openai = pytest.importorskip("openai")
        return openai.AsyncOpenAI(api_key=key or self.key, base_url=self.url, max_retries=0, timeout=60)


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    command = [ROOST, "serve-model", SMALL, "--port", "0", "--threads", "1", *arguments]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("serving "), process.communicate()
            words = first.split()
            yield Served(process, words[-1], words[1], process.stdout.readline().split()[-1])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving("--slots", "4", "--context", "512") as served:
        yield served


def say(text: str, **options: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16, **options}


async def test_the_official_client_talks_with_it(served: Served) -> None:
    async with served.client() as client:
        assert [model.id async for model in await client.models.list()] == [served.name]
        whole = await client.chat.completions.create(model=served.name, **say("Say hello."))
        assert whole.choices[0].message.content
        assert 0 < whole.usage.completion_tokens <= 16
        stream = await client.chat.completions.create(model=served.name, stream=True, **say("Say hello."))
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert len(pieces) > 3
        assert "".join(pieces) == whole.choices[0].message.content
        schema = {
            "type": "object",
            "properties": {"size": {"enum": ["small", "large"]}},
            "required": ["size"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
        shaped = await client.chat.completions.create(
            model=served.name, **say("An elephant", response_format=form, max_tokens=60)
        )
        assert json.loads(shaped.choices[0].message.content)["size"] in ("small", "large")
        tooled = await client.chat.completions.create(model=served.name, **say("Light, please", tools=[LIGHT]))
        assert tooled.choices[0].finish_reason in ("stop", "length", "tool_calls")


async def test_roost_talks_with_it(served: Served) -> None:
    endpoint = Endpoint(base_url=served.url, key=served.key)
    model = HttpModel(model=served.name, endpoint=endpoint, wire=wire("openai_chat", {}))
    events, end = await run(model, ask(user("Tell me a story."), max_output=24, temperature=0))
    await model.close()
    assert isinstance(end, Completed)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == AssistantMessage(end.parts).text
    assert 3 < end.usage.output <= 24


async def test_eight_at_once_on_four_slots_all_get_their_answer(served: Served) -> None:
    told: list[str] = []
    async with served.client() as client:

        async def one(number: int) -> str:
            asked = say(f"Write a long story about the number {number}.", max_tokens=32)
            stream = await client.chat.completions.create(model=served.name, stream=True, **asked)
            text = ""
            async for chunk in stream:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                told.extend(["began"] if piece and not text else [])
                text += piece or ""
            told.append("ended")
            return text

        assert all(await asyncio.gather(*map(one, range(8))))
    assert told.count("ended") == 8
    # The slots work side by side.
    assert told.index("ended") >= 4


async def test_who_has_no_key_gets_nothing(served: Served) -> None:
    openai = pytest.importorskip("openai")
    async with served.client("wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model=served.name, **say("Hi"))


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_at_once_while_it_answers(by: signal.Signals) -> None:
    with serving("--slots", "2", "--context", "2048", "--key", "my own key") as served:
        assert served.process.args[-1] == "my own key"
        async with served.client("my own key") as client:
            stream = await client.chat.completions.create(
                model=served.name, stream=True, **say("Count to a thousand.", max_tokens=1500)
            )
            await anext(aiter(stream))
            began = time.monotonic()
            served.process.send_signal(by)
            assert await asyncio.to_thread(served.process.wait, 60) == 0
            assert time.monotonic() - began < 20
            with contextlib.suppress(Exception):  # the connection is cut
                await stream.close()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", served.port)) != 0


async def test_it_serves_embeddings() -> None:
    with serving("--embeddings", "--slots", "2", "--context", "256") as served:
        async with served.client() as client:
            texts = ["a cat on a mat", "quarterly tax returns", "a cat on a mat"]
            made = await client.embeddings.create(model="any", input=texts)
    cat, tax, again = ([round(value, 3) for value in item.embedding] for item in made.data)
    assert len(cat) == len(tax) == 576
    assert cat == pytest.approx(again, abs=0.01)
    assert cat != pytest.approx(tax, abs=0.01)
    assert sum(value * value for value in cat) == pytest.approx(1, abs=0.02)


def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    from roost.local.weights import ensure

    cut = tmp_path / "cut.gguf"
    cut.write_bytes(ensure(SMALL).read_bytes()[:5_000_000])
    environ = {**os.environ, "ROOST_HOME": str(tmp_path)}
    command = [ROOST, "serve-model", str(cut), "--port", "0"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "cannot serve 'cut.gguf'" in ended.stderr

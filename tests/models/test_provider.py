"""The stub provider is right: the official SDK understands it, and its script depends on the transcript alone."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage, Usage
from roost.models.http_model import HttpModel
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script, load
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

Chat = Callable[..., HttpModel]
SCRIPT = {
    "rules": [
        {
            "when": "note",
            "answers": [
                {"calls": [{"name": "write", "arguments": {"text": "{input}/{step}"}}], "delay": 0.01},
                {"text": "saved: {result}"},
            ],
        },
        {"answers": [{"text": "hello {input}", "piece": 3}]},
    ],
    "seed": 7,
    "delay": [0.0, 0.02],
}


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def script() -> Script:
    return load(json.dumps(SCRIPT).encode())


async def test_the_answer_is_a_function_of_the_messages(chat: Chat) -> None:
    with ProviderServer(script()) as server:
        model = chat(server.url)
        first, again = [await completed(model, ask(user("note this"))) for _ in range(2)]
        assert first == again
        call = first.parts[0]
        assert isinstance(call, ToolCall)
        assert json.loads(call.arguments) == {"text": "note this/0"}
        turn = (user("note this"), AssistantMessage(first.parts), ToolMessage(call.id, "write", (Text("4 bytes"),)))
        assert (await completed(model, ask(*turn))).parts == (Text("saved: 4 bytes"),)
        later = (*turn, AssistantMessage((Text("saved"),)), user("note more"))
        next_call = (await completed(model, ask(*later))).parts[0]
        assert isinstance(next_call, ToolCall)
        assert next_call.id != call.id
        assert (await completed(model)).parts == (Text("hello Hello"),)
        assert (server.stats.requests, server.stats.violations) == (5, 0)


async def test_a_transcript_that_a_provider_refuses_is_counted(chat: Chat) -> None:
    with ProviderServer() as server:
        error = (await failed(chat(server.url), ask(user("a"), AssistantMessage((ToolCall("1", "f"),))))).error
        assert (error.code, error.retryable) == ("bad_request", False)
        assert "no result" in error.message
        assert server.stats.violations == 1
        stats = await asyncio.to_thread(get, server.url.removesuffix("/v1") + "/stats")
    assert (stats["requests"], stats["violations"]) == (1, 1)
    assert "no result" in stats["reasons"][0]


async def test_a_fault_hits_the_first_requests_alike_and_not_the_rest(chat: Chat) -> None:
    fault = Fault(kind="status", status=503, times=2)
    rules = (Rule(answers=(Reply(text="hi", fault=fault),)),)
    with ProviderServer(Script(rules=rules)) as server:
        model = chat(server.url)
        for _ in range(2):
            assert (await failed(model)).error.code == "overloaded"
        await completed(model)
        assert (await failed(model, ask(user("other")))).error.code == "overloaded"


@pytest.mark.long
async def test_faults_by_chance_leave_only_typed_ends(chat: Chat) -> None:
    kinds = ("reset", "close", "malformed", "empty", "status", "html", "plain", "json", "no_finish")
    faults = tuple(Fault(kind=kind, at=200) for kind in kinds)
    with ProviderServer(Script(faults=faults, fault_rate=0.7, seed=3, chunk=11)) as server:
        model = chat(server.url)
        ends = await asyncio.gather(*(run(model, ask(user(f"number {n}"))) for n in range(60)))
        assert server.stats.faults > 20
    good = [end for _, end in ends if hasattr(end, "parts")]
    assert 10 < len(good) < 60
    assert all(re.fullmatch(r"You said: number \d+", end.parts[0].text) for end in good)


def test_a_script_that_is_wrong_says_where() -> None:
    with pytest.raises(ConfigError, match=r"\$\.rules\[0\]\.answers\[0\]"):
        load(b'{"rules": [{"answers": [{"txt": 1}]}]}')


async def test_it_runs_as_a_process(tmp_path: Path, chat: Chat) -> None:
    file = tmp_path / "script.json"
    file.write_text(json.dumps(SCRIPT))
    command = [sys.executable, "-m", "roost", "stub", "--port", "0", "--script", str(file)]
    command += ["--key", "k"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = re.fullmatch(r"listening on (\S+)\n", (await process.stdout.readline()).decode())
        assert url is not None
        assert (await failed(chat(url[1]))).error.code == "auth"
        assert (await completed(chat(url[1], key="k"))).parts == (Text("hello Hello"),)
    finally:
        process.terminate()
        assert await process.wait() in (0, -15)


async def test_the_official_sdk_understands_it() -> None:
    openai = pytest.importorskip("openai")
    reply = Reply(text="Grüße 😀", calls=(Call("look", {"path": "ä"}), Call("go", {})), usage=Usage(11, 7, 3), piece=3)
    answers = {"answer": reply, "late": Reply(fault=Fault(kind="status", status=429, retry_after="0", times=0))}
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "answer"}]}
    with ProviderServer(lambda body: answers[body["messages"][-1]["content"]], key="k") as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
        whole = await client.chat.completions.create(**asked)
        async with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            streamed = [event async for event in stream] and await stream.get_final_completion()
        for completion in (whole, streamed):
            message = completion.choices[0].message
            assert message.content == "Grüße 😀"
            found = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]
            assert found == [("look", {"path": "ä"}), ("go", {})]
            assert completion.choices[0].finish_reason == "tool_calls"
            usage = completion.usage
            assert (usage.prompt_tokens, usage.completion_tokens) == (11, 7)
            assert usage.prompt_tokens_details.cached_tokens == 3
        assert (await client.models.list()).data[0].id == "scripted"
        asked["messages"][0]["content"] = "late"
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**asked)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="no").chat.completions.create(**asked)
        with pytest.raises(openai.BadRequestError, match="empty"):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": ""}])
        await client.close()

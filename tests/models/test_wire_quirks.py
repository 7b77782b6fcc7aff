"""What servers of OpenAI's protocol do that OpenAI does not: each is a row that was seen in public."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import roost.models.http_model as http_model
from roost.log.content import Text, Thinking, ToolCall, Usage
from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.profile import Profile
from roost.models.request import Completed, Notice, ToolSpec
from roost.models.wire import Endpoint
from roost.models.wires.errors import http_error
from roost.providers.model_stack import stacked
from roost.routing.recovery import Batching, Continuing
from roost.routing.retry import Retry, Retrying
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.matrix.tools import TOOLS
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Call

Chat = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


def delta(finish: str | None = None, *, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def calls(*given: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return delta(tool_calls=list(given), index=index)


def made(end: Completed) -> list[tuple[str, str]]:
    return [(part.name, part.arguments) for part in end.parts if isinstance(part, ToolCall)]


# Finish reasons


@pytest.mark.parametrize("reason", ["error", "network_error", "abort", "something_new"])
async def test_an_unknown_finish_reason_is_a_failure(reason: str, chat: Chat, raw: Raw) -> None:
    url = await raw(delta(content="half of"), delta(reason))
    error = (await failed(chat(url))).error
    assert (error.code, error.retryable, reason in error.message) == ("malformed", True, True)
    end = await completed(chat(url, finish_reasons={reason: "end"}))
    assert (end.stop, end.parts) == ("end", (Text("half of"),))


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "end_turn"])
async def test_good_ends_by_other_names(reason: str, chat: Chat, raw: Raw) -> None:
    assert (await completed(chat(await raw(delta(content="hi"), delta(reason))))).stop == "end"


async def test_an_error_inside_of_a_choice(chat: Chat, raw: Raw) -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "slow down"}}
    error = (await failed(chat(await raw(delta(content="half"), {"choices": [choice]})))).error
    assert (error.code, "slow down" in error.message) == ("rate_limited", True)


async def test_the_end_mark_stands_for_a_finish_reason(chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(delta(content="whole"))))
    assert (end.stop, end.parts) == ("end", (Text("whole"),))
    whole = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"n": 1}'}}
    assert (await completed(chat(await raw(calls(whole))))).stop == "tool_calls"
    half = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"n": '}}
    assert (await failed(chat(await raw(calls(half))))).error.code == "malformed"
    assert (await failed(chat(await raw(delta(content="whole"), done=False)))).error.code == "malformed"


# Errors with the status 200


@pytest.mark.parametrize(
    ("body", "code", "retryable"),
    [
        (
            {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None},
            "bad_request",
            0,
        ),
        ({"code": 50505, "message": "Model service overloaded. Please try again later."}, "overloaded", 1),
        ({"detail": "Invalid model name"}, "bad_request", 0),
        ({"code": "InvalidApiKey", "message": "Incorrect API key", "status": 401}, "auth", 0),
        ({"msg": "upstream is gone", "code": 1}, "overloaded", 1),
    ],
)
async def test_an_error_in_place_of_an_answer(
    body: dict[str, Any], code: str, retryable: int, chat: Chat, raw: Raw
) -> None:
    words = str(body.get("message") or body.get("detail") or body.get("msg"))
    wires = ("openai_chat", "openai_responses", "anthropic")
    for kind, url in [(kind, await raw(body, kind="application/json")) for kind in wires]:
        error = (await failed(chat(url, kind))).error
        assert words in error.message, kind
        assert (error.code, error.retryable) == (code, bool(retryable)), kind
    error = (await failed(chat(await raw(body)))).error
    assert (error.code, words in error.message) == (code, True)


async def test_an_error_event(chat: Chat, raw: Raw) -> None:
    said = b'event: error\ndata: {"code": 1301, "message": "The model does not exist."}\n\n'
    for kind in ("openai_chat", "anthropic", "openai_responses"):
        url = await raw(said, kind="text/event-stream; charset=utf-8")
        error = (await failed(chat(url, kind))).error
        assert ("The model does not exist." in error.message, error.retryable) == (True, False), kind


async def test_a_server_that_says_not_to_retry() -> None:
    assert http_error(503, {}, b"{}", where="m").retryable
    assert not http_error(503, {"x-should-retry": "false"}, b"{}", where="m").retryable


# Calls


async def test_calls_without_numbers_and_ids(chat: Chat, raw: Raw) -> None:
    two = [("f", '{"n": 1}'), ("g", '{"n": 2}')]

    async def heard(*frames: dict[str, Any]) -> list[tuple[str, str]]:
        return made(await completed(chat(await raw(*frames, delta("tool_calls")))))

    def piece(name: str | None, arguments: str, **more: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}, **more}

    # By their ids, without an index, mixed.
    mixed = [piece("f", '{"n"', id="a"), piece("g", '{"n"', id="b"), piece(None, ": 1}", id="a")]
    assert await heard(*map(calls, mixed), calls(piece(None, ": 2}", id="b"))) == two
    # All have the index 0, and no ids.
    assert await heard(calls(piece("f", '{"n": 1}', index=0)), calls(piece("g", '{"n": 2}', index=0))) == two
    same = [("f", '{"n": 1}'), ("f", '{"n": 2}')]
    assert await heard(calls(piece("f", '{"n": 1}', index=0)), calls(piece("f", '{"n": 2}', index=0))) == same
    # The name is in every piece, with and without an index.
    for more in ({}, {"index": 0}):
        assert await heard(*[calls(piece("f", text, **more)) for text in ("", '{"n"', ": 1}")]) == [("f", '{"n": 1}')]


async def test_a_second_choice_with_the_calls(chat: Chat, raw: Raw) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    url = await raw(delta(content="I look."), calls(call, index=1), delta("stop"), delta("tool_calls", index=1))
    end = await completed(chat(url))
    assert (end.stop, made(end)) == ("tool_calls", [("f", "{}")])
    document = {
        "choices": [
            {"index": 0, "message": {"content": "I look."}, "finish_reason": "tool_calls"},
            {"index": 1, "message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"},
        ]
    }
    end = await completed(chat(await raw(document, kind="application/json")))
    assert (end.parts[0], made(end)) == (Text("I look."), [("f", "{}")])


# Usage


@pytest.mark.parametrize(
    "frame",
    [
        {
            "choices": [
                {"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 9, "cached_tokens": 4}}
            ]
        },
        {**delta("stop"), "x_groq": {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}}},
    ],
)
async def test_counts_in_other_places(frame: dict[str, Any], chat: Chat, raw: Raw) -> None:
    assert (await completed(chat(await raw(delta(content="hi"), frame)))).usage == Usage(9, 0, 4)


# Reasoning and calls left in the text


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_reasoning_between_tags(size: int, chat: Chat, raw: Raw) -> None:
    async def heard(text: str, **options: Any) -> list[tuple[str, str]]:
        frames = [delta(content=text[at : at + size]) for at in range(0, len(text), size)]
        _, end = await run(chat(await raw(*frames, delta("stop")), **options))
        assert isinstance(end, Completed), end
        return [(type(part).__name__, part.text) for part in end.parts if isinstance(part, Text | Thinking)]

    parted = [("Thinking", "hm < 3"), ("Text", "It is 4.")]
    assert await heard("<think>\nhm < 3\n</think>\n\nIt is 4.") == parted
    assert await heard("\n<think>hm < 3</think>It is 4.") == parted
    assert await heard("hm < 3\n</think>\n\nIt is 4.", think_tags="open") == parted
    assert await heard("The tag <think> opens it.") == [("Text", "The tag <think> opens it.")]
    assert await heard("<think>\nhm", think_tags="none") == [("Text", "<think>\nhm")]
    assert await heard("<thi") == [("Text", "<thi")]
    assert await heard("<think></think>a") == [("Text", "a")]


async def test_reasoning_between_tags_comes_before_a_document_of_a_schema(chat: Chat) -> None:
    reply = Reply(text='{"n": 1}', thinking="which number", piece=3)
    with ProviderServer(lambda _: reply) as server:
        url = server.url.removesuffix("/v1") + "/plain/v1"
        for stream in (True, False):
            end = await completed(chat(url), ask(output_schema=SCHEMA, stream=stream))
            assert end.parts == (Thinking("which number"), Text('{"n": 1}'))


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_calls_in_the_text(size: int, chat: Chat, raw: Raw) -> None:
    tools = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)

    async def heard(text: str, finish: str = "stop", **options: Any) -> Completed:
        frames = [delta(content=text[at : at + size]) for at in range(0, len(text), size)]
        _, end = await run(chat(await raw(*frames, delta(finish)), **options), ask(tools=tools))
        assert isinstance(end, Completed), end
        return end

    hermes = '<tool_call>\n{"name": "look", "arguments": {"path": "a"}}\n</tool_call>'
    xml = "<tool_call>\n<function=look>\n<parameter=path>\n7\n</parameter>\n</function>\n</tool_call>"
    end = await heard(f"I look.\n{hermes}\n{xml}", text_calls=True)
    assert made(end) == [("look", '{"path":"a"}'), ("look", '{"path":"7"}')]
    assert (end.stop, end.parts[0]) == ("tool_calls", Text("I look.\n"))
    assert made(await heard(hermes.removesuffix("\n</tool_call>"), text_calls=True)) == [("look", '{"path":"a"}')]
    # What is quoted is no call: by default, in the midst of a text, of an unknown tool, when it is cut off.
    quotes = [f"In the file stands: {hermes}", f"{hermes}\nis how it calls.", hermes.replace("look", "rm")]
    for text, finish, options in [
        (hermes, "stop", {}),
        *((text, "stop", {"text_calls": True}) for text in quotes),
        (hermes.removesuffix("\n</tool_call>"), "length", {"text_calls": True}),
    ]:
        end = await heard(text, finish, **options)
        assert (made(end), end.parts) == ([], (Text(text),))


async def test_a_server_without_parsers_makes_calls(chat: Chat) -> None:
    reply = Reply(
        text="I look.", thinking="hm", calls=(Call("look", {"path": "a"}), Call("look", {"path": "b"})), piece=5
    )
    with ProviderServer(lambda _: reply) as server:
        end = await completed(chat(server.url.removesuffix("/v1") + "/plain/v1", text_calls=True), ask(tools=TOOLS))
    assert made(end) == [("look", '{"path":"a"}'), ("look", '{"path":"b"}')]
    assert [part.text for part in end.parts if isinstance(part, Thinking)] == ["hm"]


# Requests


async def test_stop_words_as_servers_take_them(chat: Chat) -> None:
    with ProviderServer(lambda _: Reply(text="one two five six")) as server:
        end = await completed(chat(server.url), ask(stop=("", "a", "b", "c", "d", "five")))
        assert server.provider.bodies[-1]["stop"] == ["a", "b", "c", "d"]
    # The wire keeps to what the server was not told.
    assert end.parts == (Text("one two "),)


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://h/v1", "chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/", "v1/messages", "http://h/v1/messages"),
        ("http://h", "v1/messages", "http://h/v1/messages"),
        ("http://h/v1/chat/completions", "chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions/", "models", "http://h/v1/models"),
        ("http://h/v1/messages", "v1/messages", "http://h/v1/messages"),
        (
            "http://h/openai/v1?api-version=preview",
            "chat/completions",
            "http://h/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "http://h/openai/deployments/d/chat/completions?api-version=2025-04-01",
            "chat/completions",
            "http://h/openai/deployments/d/chat/completions?api-version=2025-04-01",
        ),
    ],
)
def test_addresses(base: str, path: str, url: str) -> None:
    assert Endpoint(base_url=base).url(path) == url


# Connections


@asynccontextmanager
async def forgetful(bodies: list[bytes]) -> AsyncIterator[str]:
    """A server that says it keeps connections and drops each when the next request comes on it."""
    answer = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(asked.lower().partition("content-length:")[2].partition("\r\n")[0])
        bodies.append(await reader.readexactly(size))
        writer.write(head + answer)
        await writer.drain()
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_dead_kept_connection_costs_no_retry(chat: Chat) -> None:
    bodies: list[bytes] = []
    async with forgetful(bodies) as url:
        model = Retrying(chat(url))
        for _ in range(6):
            events, end = await run(model)
            assert isinstance(end, Completed)
            assert not [event for event in events if isinstance(event, Notice)]
    assert len(bodies) == 6


async def test_a_fresh_connection_that_dies_is_a_failure(chat: Chat) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        met.append(1)
        writer.transport.abort()

    met: list[int] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        error = (await failed(chat(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"))).error
    assert (error.code, met) == ("connection", [1])


async def test_a_proxy_that_is_not_spoken_to_is_told(monkeypatch: pytest.MonkeyPatch, chat: Chat) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    error = (await failed(chat("http://model.example/v1"))).error
    assert (error.retryable, "'socks5'" in error.message) == (False, True)


@pytest.mark.parametrize("way", ["REQUESTS_CA_BUNDLE", "ca"])
async def test_own_certificates(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    client = HttpClient()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(Exception, match="no trusted TLS connection"):
            async with client.stream("GET", url, {}):
                pass
        if way != "ca":
            monkeypatch.setenv(way, str(authority))
        async with client.stream("GET", url, {}, ca=str(authority) if way == "ca" else None) as response:
            assert await response.read_all(10) == b"hi"
    with pytest.raises(Exception, match="cannot be read"):
        async with client.stream("GET", url, {}, ca=str(tmp_path / "none.pem")):
            pass
    await client.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    import subprocess

    made, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*new, *subject], check=True, capture_output=True)
    return made, key


# Answers without end


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_without_end_is_paid_once(stream: bool, monkeypatch: pytest.MonkeyPatch, chat: Chat) -> None:
    monkeypatch.setattr(http_model, "MAX_ANSWER", 50_000)
    with ProviderServer(lambda _: Reply(text="word " * 20_000, piece=100)) as server:
        model = Continuing(Batching(Retrying(chat(server.url), Retry(restart=True))))
        error = (await failed(model, ask(stream=stream))).error
        assert (error.code, error.retryable, server.stats.requests) == ("oversized", False, 1)


async def test_max_output_bounds_the_whole_answer(chat: Chat) -> None:
    reply = Reply(text="one two", stop="length", usage=Usage(10, 4))
    with ProviderServer(lambda _: reply) as server:
        end = await completed(stacked(chat(server.url, profile=Profile(max_output=8192))), ask(max_output=4))
        assert (end.stop, server.stats.requests) == ("length", 1)


async def test_a_lone_cut_call_is_made_anew_by_the_whole_stack(chat: Chat) -> None:
    cut = Reply(calls=(Call("look", '{"path": "a/ve'),), stop="length", usage=Usage(10, 4), piece=4)

    def script(body: dict[str, Any]) -> Reply:
        if "cut off at the output limit" in json.dumps(body):
            return Reply(calls=(Call("look", {"path": "a"}),))
        return cut

    with ProviderServer(script) as server:
        model = stacked(chat(server.url, profile=Profile(max_output=512)))
        end = await completed(model, ask(tools=TOOLS))
        assert (end.stop, made(end)) == ("tool_calls", [("look", '{"path":"a"}')])
        assert [body.get("max_tokens") for body in server.provider.bodies] == [None, 512, 512]
        assert server.stats.violations == 0

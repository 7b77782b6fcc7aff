"""The stub provider is right: what the official clients make of each behaviour is what the script says."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
import pytest

from roost.log.content import Usage
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script
from roost.testing.matrix.talking import LETTERS
from roost.testing.matrix.tools import PATH, PICTURE
from roost.testing.scripted import Call

Json = dict[str, Any]


class Heard(msgspec.Struct):
    """What a client understood. `said` is the answer in the client's own shape, to go on from."""

    said: Any
    text: str
    thinking: str
    calls: list[tuple[str, str, Any]]
    stop: str
    given: int
    made: int


class Sdk(Protocol):
    stops: dict[str, str]

    def client(self, url: str, key: str) -> Any: ...
    def start(self, text: str, picture: str | None = None) -> list[Any]: ...
    async def ask(self, client: Any, messages: list[Any], *, stream: bool) -> Heard: ...
    def answered(self, heard: Heard, results: list[str]) -> list[Any]: ...
    def status(self, error: Exception) -> int | None: ...


class OpenAIChat:
    stops = {"end": "stop", "tool_calls": "tool_calls", "length": "length"}

    def client(self, url: str, key: str) -> Any:
        openai = pytest.importorskip("openai")
        return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)

    def start(self, text: str, picture: str | None = None) -> list[Any]:
        parts: list[Json] = [{"type": "text", "text": text}]
        if picture:
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}})
        return [{"role": "user", "content": parts}]

    async def ask(self, client: Any, messages: list[Any], *, stream: bool) -> Heard:
        tools = [{"type": "function", "function": {"name": "look", "parameters": PATH}}]
        asked: Json = {"model": "m", "messages": messages, "tools": tools}
        if stream:
            options = {"include_usage": True}
            # Its stream helper refuses lengths and unknown tools; the plain one shows what came.
            text, thinking, calls, stop, usage = "", "", dict[int, list[str]](), "", None
            async for chunk in await client.chat.completions.create(**asked, stream=True, stream_options=options):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    thinking += getattr(choice.delta, "reasoning_content", None) or ""
                    stop = choice.finish_reason or stop
                    for call in choice.delta.tool_calls or ():
                        whole = calls.setdefault(call.index, ["", "", ""])
                        whole[0] += call.id or ""
                        whole[1] += call.function.name or ""
                        whole[2] += call.function.arguments or ""
            made = [(name, call, arguments) for name, call, arguments in calls.values()]
        else:
            done = await client.chat.completions.create(**asked)
            message, stop, usage = done.choices[0].message, done.choices[0].finish_reason, done.usage
            text, thinking = message.content or "", getattr(message, "reasoning_content", None) or ""
            made = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
        said = {"role": "assistant", "content": text or None}
        if made:
            function = [{"name": name, "arguments": arguments} for _, name, arguments in made]
            said["tool_calls"] = [
                {"id": one[0], "type": "function", "function": what} for one, what in zip(made, function, strict=True)
            ]
        assert usage is not None
        calls_made = [(call, name, json.loads(arguments)) for call, name, arguments in made]
        return Heard(said, text, thinking, calls_made, stop, usage.prompt_tokens, usage.completion_tokens)

    def answered(self, heard: Heard, results: list[str]) -> list[Any]:
        back = [
            {"role": "tool", "tool_call_id": call[0], "content": result}
            for call, result in zip(heard.calls, results, strict=True)
        ]
        return [heard.said, *back]

    def status(self, error: Exception) -> int | None:
        return getattr(error, "status_code", None)


class OpenAIResponses(OpenAIChat):
    stops = {"end": "completed", "tool_calls": "completed", "length": "incomplete"}

    def start(self, text: str, picture: str | None = None) -> list[Any]:
        parts: list[Json] = [{"type": "input_text", "text": text}]
        if picture:
            parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{picture}", "detail": "auto"})
        return [{"role": "user", "content": parts}]

    async def ask(self, client: Any, messages: list[Any], *, stream: bool) -> Heard:
        tools = [{"type": "function", "name": "look", "parameters": PATH, "strict": False}]
        asked: Json = {"model": "m", "input": messages, "tools": tools, "store": False}
        if stream:
            # Its stream helper takes an answer at its limit for none at all; the plain stream shows what came.
            events = [event async for event in await client.responses.create(**asked, stream=True)]
            pieces = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            if events[-1].type == "error":
                raise RuntimeError(events[-1].message)
            done = events[-1].response
            assert pieces == done.output_text
        else:
            done = await client.responses.create(**asked)
        thinking = "".join(part.text for item in done.output if item.type == "reasoning" for part in item.summary)
        calls = [item for item in done.output if item.type == "function_call"]
        made = [(call.call_id, call.name, json.loads(call.arguments)) for call in calls]
        said = [item.model_dump(exclude_none=True, exclude={"id", "status"}) for item in done.output]
        usage = done.usage
        return Heard(said, done.output_text, thinking, made, done.status, usage.input_tokens, usage.output_tokens)

    def answered(self, heard: Heard, results: list[str]) -> list[Any]:
        back = [
            {"type": "function_call_output", "call_id": call[0], "output": result}
            for call, result in zip(heard.calls, results, strict=True)
        ]
        return [*heard.said, *back]


class Anthropic:
    stops = {"end": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}

    def client(self, url: str, key: str) -> Any:
        anthropic = pytest.importorskip("anthropic")
        return anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key=key, max_retries=0)

    def start(self, text: str, picture: str | None = None) -> list[Any]:
        parts: list[Json] = [{"type": "text", "text": text}]
        if picture:
            source = {"type": "base64", "media_type": "image/png", "data": picture}
            parts.append({"type": "image", "source": source})
        return [{"role": "user", "content": parts}]

    async def ask(self, client: Any, messages: list[Any], *, stream: bool) -> Heard:
        tools = [{"name": "look", "input_schema": PATH}]
        asked: Json = {"model": "m", "max_tokens": 100, "messages": messages, "tools": tools}
        if stream:
            async with client.messages.stream(**asked) as events:
                pieces = "".join([piece async for piece in events.text_stream])
                done = await events.get_final_message()
            assert pieces == "".join(block.text for block in done.content if block.type == "text")
        else:
            done = await client.messages.create(**asked)
        by = {
            kind: [block for block in done.content if block.type == kind] for kind in ("text", "thinking", "tool_use")
        }
        return Heard(
            [block.model_dump(exclude_none=True) for block in done.content],
            "".join(block.text for block in by["text"]),
            "".join(block.thinking for block in by["thinking"]),
            [(block.id, block.name, block.input) for block in by["tool_use"]],
            done.stop_reason,
            done.usage.input_tokens + (done.usage.cache_read_input_tokens or 0),
            done.usage.output_tokens,
        )

    def answered(self, heard: Heard, results: list[str]) -> list[Any]:
        said = [{key: value for key, value in block.items() if key != "parsed_output"} for block in heard.said]
        back = [
            {"type": "tool_result", "tool_use_id": call[0], "content": result}
            for call, result in zip(heard.calls, results, strict=True)
        ]
        return [{"role": "assistant", "content": said}, {"role": "user", "content": back}]

    def status(self, error: Exception) -> int | None:
        return getattr(error, "status_code", None)


class Gemini:
    stops = {"end": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}

    def client(self, url: str, key: str) -> Any:
        genai = pytest.importorskip("google.genai")
        # Its own default is another version, which has other paths.
        options = {"base_url": url.removesuffix("/v1"), "api_version": "v1beta"}
        return genai.Client(api_key=key, http_options=options).aio

    def start(self, text: str, picture: str | None = None) -> list[Any]:
        types = pytest.importorskip("google.genai").types
        parts = [types.Part(text=text)]
        if picture:
            parts.append(types.Part.from_bytes(data=base64.b64decode(picture), mime_type="image/png"))
        return [types.Content(role="user", parts=parts)]

    async def ask(self, client: Any, messages: list[Any], *, stream: bool) -> Heard:
        types = pytest.importorskip("google.genai").types
        look = {"name": "look", "parameters_json_schema": PATH}
        asked: Json = {"model": "m", "contents": messages, "config": {"tools": [{"function_declarations": [look]}]}}
        if stream:
            responses = [chunk async for chunk in await client.models.generate_content_stream(**asked)]
        else:
            responses = [await client.models.generate_content(**asked)]
        parts = [part for each in responses for part in each.candidates[0].content.parts]
        calls = [part.function_call for part in parts if part.function_call]
        usage = responses[-1].usage_metadata
        return Heard(
            types.Content(role="model", parts=parts),
            "".join(part.text or "" for part in parts if not part.thought),
            "".join(part.text or "" for part in parts if part.thought),
            [(call.id, call.name, call.args) for call in calls],
            responses[-1].candidates[0].finish_reason.name,
            usage.prompt_token_count,
            usage.candidates_token_count + (usage.thoughts_token_count or 0),
        )

    def answered(self, heard: Heard, results: list[str]) -> list[Any]:
        types = pytest.importorskip("google.genai").types
        back = [
            types.Part(function_response=types.FunctionResponse(id=call[0], name=call[1], response={"output": result}))
            for call, result in zip(heard.calls, results, strict=True)
        ]
        return [heard.said, types.Content(role="user", parts=back)]

    def status(self, error: Exception) -> int | None:
        return getattr(error, "code", None)


SDKS: dict[str, Callable[[], Sdk]] = {
    "openai_chat": OpenAIChat,
    "openai_responses": OpenAIResponses,
    "anthropic": Anthropic,
    "gemini": Gemini,
}
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of google's own session


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    return SDKS[request.param]()


@asynccontextmanager
async def opened(sdk: Sdk, server: ProviderServer, key: str = "k") -> AsyncIterator[Any]:
    async with sdk.client(server.url, key) as client:
        yield client


def scripted(*answers: Reply) -> Script:
    return Script(rules=(Rule(answers=answers),), chunk=3)


@pytest.mark.parametrize("stream", [True, False])
async def test_any_letters_cut_anywhere(sdk: Sdk, stream: bool) -> None:
    with ProviderServer(scripted(Reply(text=LETTERS, usage=Usage(30, 20, 10), piece=1)), key="k") as server:
        async with opened(sdk, server) as client:
            heard = await sdk.ask(client, sdk.start(LETTERS), stream=stream)
        assert (heard.text, heard.stop) == (LETTERS, sdk.stops["end"])
        assert (heard.given, heard.made) == (30, 20)
        assert server.stats.violations == 0, server.stats.reasons
        assert json.dumps(LETTERS)[1:-1] in json.dumps(server.provider.bodies[-1])


@pytest.mark.parametrize("stream", [True, False])
async def test_a_turn_with_tools_and_thinking(sdk: Sdk, stream: bool) -> None:
    """Everything that the client got goes back as it is: signatures too, which the stub checks."""
    calls = (Call("look", {"path": "ä"}), Call("look", {"path": "b", "n": [1, {"x": None}]}))
    first = Reply(text="Let me see.", thinking="let me think", calls=calls, piece=3)
    with ProviderServer(scripted(first, Reply(text="Done: {result}")), key="k") as server:
        async with opened(sdk, server) as client:
            talk = sdk.start("go")
            heard = await sdk.ask(client, talk, stream=stream)
            assert (heard.text, heard.thinking) == ("Let me see.", "let me think")
            assert [(name, args) for _, name, args in heard.calls] == [(call.name, call.arguments) for call in calls]
            assert len({call[0] for call in heard.calls}) == 2
            assert heard.stop == sdk.stops["tool_calls"]
            last = await sdk.ask(client, [*talk, *sdk.answered(heard, ["one", "two"])], stream=stream)
        assert server.stats.violations == 0, server.stats.reasons
        assert last.text == "Done: two"
        assert (last.calls, last.stop) == ([], sdk.stops["end"])


async def test_pictures(sdk: Sdk) -> None:
    with ProviderServer(scripted(Reply(text="A dot.")), key="k") as server:
        async with opened(sdk, server) as client:
            assert (await sdk.ask(client, sdk.start("What is this?", PICTURE), stream=True)).text == "A dot."
        assert server.stats.violations == 0, server.stats.reasons
        sent = json.dumps(server.provider.bodies[-1]).replace("-", "+").replace("_", "/")
        assert PICTURE in sent


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_at_its_limit(sdk: Sdk, stream: bool) -> None:
    with ProviderServer(scripted(Reply(text="so far", stop="length")), key="k") as server:
        async with opened(sdk, server) as client:
            heard = await sdk.ask(client, sdk.start("go"), stream=stream)
    assert (heard.text, heard.stop) == ("so far", sdk.stops["length"])


@pytest.mark.parametrize("stream", [True, False])
async def test_refusals_are_the_clients_own_errors(sdk: Sdk, stream: bool) -> None:
    statuses = (400, 403, 404, 429, 500, 503)
    faults = iter([Fault(kind="status", status=status, message=f"because {status}") for status in statuses])
    with ProviderServer(lambda _: Reply(fault=next(faults)), key="k") as server:
        async with opened(sdk, server) as client:
            for status in statuses:
                with pytest.raises(Exception, match=f"because {status}") as error:
                    await sdk.ask(client, sdk.start("go"), stream=stream)
                assert sdk.status(error.value) == status
        async with opened(sdk, server, "wrong") as stranger:
            with pytest.raises(Exception, match="key") as error:
                await sdk.ask(stranger, sdk.start("go"), stream=stream)
            assert sdk.status(error.value) == 401


@pytest.mark.parametrize("kind", ["reset", "close", "error", "malformed"])
async def test_a_broken_stream_is_an_error_of_the_client_too(sdk: Sdk, kind: Any) -> None:
    fault = Fault(kind=kind, at=1500, message="because", times=0)
    with ProviderServer(lambda _: Reply(text="half of it " * 30, piece=4, fault=fault), key="k") as server:
        async with opened(sdk, server) as client:
            with pytest.raises(Exception) as error:
                await sdk.ask(client, sdk.start("go"), stream=True)
        assert not isinstance(error.value, AssertionError | NameError | KeyError)

"""The Gemini wire against a server that checks what it is sent as strictly as the real one."""

# Parts and ends are unions, whose kind a test asserts by their content.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPossiblyUnboundVariable=false
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roost.log.content import (
    AssistantMessage,
    Audio,
    ErrorData,
    File,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    Video,
)
from roost.models.http_model import HttpModel
from roost.models.profile import Knob
from roost.models.request import (
    CallDelta,
    Completed,
    Failed,
    Price,
    Profile,
    Request,
    TextDelta,
    ThinkingDelta,
    ToolSpec,
)
from roost.models.wires.gemini.errors import gemini_error
from roost.models.wires.gemini.schema import fitted
from roost.providers.accounts import Models
from roost.providers.config import ModelEntry, ModelsConfig
from roost.stub.dialects.base import Asked
from roost.stub.dialects.gemini import DIALECT, signed
from roost.stub.dialects.gemini_check import UNSIGNED, check_gemini_request
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
WIRE = "gemini"
TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)
FULL = Reply(
    text="Grüße 世界 😀",
    thinking="let me think",
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b"})),
    usage=Usage(input=1000, output=50, cached=400, thinking=9),
    piece=3,
)
ORIGIN = f"{WIRE}/default"
PROOF = signed({"functionCall": {"name": "look", "args": {"path": "ä"}}})


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_every_kind_of_part(stream: bool, model: Make) -> None:
    with ProviderServer(lambda _: FULL, key="k") as server:
        made = model(server.url, WIRE, key="k", profile=Profile(price=Price(input=3000, output=15000, cached=300)))
        deltas, end = await run(made, ask(tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    thinking, text, proof, one, two = end.parts
    assert (thinking, text) == (Thinking("let me think"), Text(FULL.text))
    assert proof == Thinking("", PROOF, ORIGIN)
    assert [json.loads(part.arguments) for part in (one, two)] == [{"path": "ä"}, {"path": "b"}]
    assert end.stop == "tool_calls"
    assert end.usage == Usage(1000, 50, 400, 600 * 3000 + 400 * 300 + 50 * 15000, thinking=9)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == FULL.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me think"
    calls = [d for d in deltas if isinstance(d, CallDelta)]
    assert [(d.index, d.name, d.arguments) for d in calls] == [(0, "look", '{"path":"ä"}'), (1, "look", '{"path":"b"}')]
    assert (len(deltas) > 6) is stream


async def sent(server: ProviderServer, made: HttpModel, request: Request) -> dict[str, Any]:
    await completed(made, request)
    return server.provider.bodies[-1]


async def test_a_signature_goes_back_on_its_part(model: Make) -> None:
    replies = iter([FULL, Reply(text="done", thinking="hm"), Reply(text="ok"), Reply(text="ok")])
    with ProviderServer(lambda _: next(replies)) as server:
        made = model(server.url, WIRE, profile=Profile(thinking_back="turn"))
        end = await completed(made, ask(tools=TOOLS))
        one, two = (part for part in end.parts if isinstance(part, ToolCall))
        # Results come in the order of their calls, whatever the log's.
        results = (ToolMessage(two.id, "look", (), error=True), ToolMessage(one.id, "look", (Text("ok"),)))
        turn: list[Message] = [user("Hello"), AssistantMessage(end.parts), *results]
        end = await completed(made, ask(*turn, tools=TOOLS))
        assert end.parts == (Thinking("hm"), Text("done"), Thinking("", signed({"text": ""}), ORIGIN))
        body = await sent(server, made, ask(*turn, AssistantMessage(end.parts), user("and?"), tools=TOOLS))
        assert [set(part) for part in body["contents"][1]["parts"]] == [
            {"text"},
            {"functionCall", "thoughtSignature"},
            {"functionCall"},
        ]
        answers = [part["functionResponse"] for part in body["contents"][2]["parts"]]
        assert [(answer["id"], answer["response"]) for answer in answers] == [
            (one.id, {"output": "ok"}),
            (two.id, {"error": "(no output)"}),
        ]
        assert body["contents"][3]["parts"][-1] == {"text": "", "thoughtSignature": signed({"text": ""})}
        none = model(server.url, WIRE, profile=Profile(thinking_back="none"))
        assert "thoughtSignature" not in json.dumps(await sent(server, none, ask(*turn)))
        assert server.stats.violations == 0


async def test_another_s_calls(model: Make) -> None:
    calls = (ToolCall("a", "look"), ToolCall("b", "look"))
    foreign = AssistantMessage((Thinking("deep", "other's", "anthropic/default"), *calls))
    results = [ToolMessage(call.id, "look", (Text("ok"),)) for call in calls]
    talk = (user("1"), foreign, *results, AssistantMessage((Text("so"),)), user("2"))
    turn = (foreign, *results)
    with ProviderServer() as server:
        made = model(server.url, WIRE, profile=Profile(thinking_back="turn"))
        body = await sent(server, made, ask(*talk, *turn))
        check_gemini_request(body, insists=True)
        assert [part.get("thoughtSignature") for part in body["contents"][5]["parts"]] == [UNSIGNED, None]
        # What was sent stays as it was when the turn is over: prompt caches hold it.
        assert body["contents"][1]["parts"][0]["thoughtSignature"] == UNSIGNED
        body = await sent(server, model(server.url, WIRE), ask(*talk, *turn))
        assert UNSIGNED not in json.dumps(body)
        assert "other's" not in json.dumps(body)
        with pytest.raises(AssertionError, match="missing a thought_signature"):
            check_gemini_request(body, insists=True)
        assert server.stats.violations == 0


ODD: list[tuple[Message, ...]] = [
    (user(""),),
    (user(" \n"), AssistantMessage((Thinking("hm"), Thinking("", "c2ln", ORIGIN))), user("\ud83d")),
    (user("1"), user("2"), AssistantMessage((Text("a"),)), AssistantMessage((Text("b"),)), user("3")),
    (
        user("go"),
        AssistantMessage((Text("first"),)),
        AssistantMessage((ToolCall("functions.f:0", "rm -rf /", "{bad"), ToolCall("x" * 300, "1g", "[1]"))),
        ToolMessage("functions.f:0", "rm -rf /", ()),
        ToolMessage("x" * 300, "1g", (Text(""), Image("image/png", "aGk="), Audio("audio/wav", "aGk="))),
        user("and now?"),
    ),
    (
        UserMessage(
            (
                Text("see"),
                Image("image/png", url="https://example.org/a.png"),
                File("application/pdf", "aGk=", name="a.pdf"),
                Video("video/mp4", "aGk="),
            )
        ),
    ),
]


@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("media", [True, False])
async def test_any_conversation_is_sent_in_a_form_that_is_taken(
    messages: tuple[Message, ...], media: bool, model: Make
) -> None:
    profile = Profile(images=media, files=media, video=media, audio=media)
    with ProviderServer() as server:
        body = await sent(server, model(server.url, WIRE, profile=profile), ask(*messages, tools=TOOLS))
        assert server.stats.violations == 0
    assert ("inlineData" in json.dumps(body)) is (media and "data=" in repr(messages) and "image/png" in repr(messages))


async def test_settings(model: Make) -> None:
    shape = {"type": "object", "properties": {"a": {"const": "x"}}, "$schema": "s"}
    with ProviderServer() as server:
        made = model(server.url, WIRE)
        knobs = {"top_k": 7, "seed": 1}
        request = ask(
            output_schema=shape,
            effort="max",
            max_output=9,
            temperature=7.0,
            knobs=knobs,
            stop=("", *"abcdef"),
            context=("Today.",),
            tools=TOOLS,
            tool_choice="required",
        )
        body = await sent(server, made, request)
        assert body["generationConfig"] == {
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"a": {"enum": ["x"]}}},
            "maxOutputTokens": 9,
            "temperature": 2,
            "topK": 7,
            "seed": 1,
            "stopSequences": ["a", "b", "c", "d", "e"],
        }
        assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Today."}]}
        assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
        budget = await sent(server, made, ask(effort="low", knobs={"thinking_budget": 512}))
        assert budget["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 512, "includeThoughts": True}
        assert set(await sent(server, made, ask())) == {"contents", "systemInstruction"}
        off = {"off": {"thinkingBudget": 0}}
        old = model(
            server.url,
            WIRE,
            profile=Profile(knobs={"effort": Knob(field="generationConfig.thinkingConfig", values=off)}),
            schema_with_tools=False,
        )
        body = await sent(server, old, ask(effort="off", output_schema=shape, tools=TOOLS))
        assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 0}}
        assert '"const":"x"' in body["systemInstruction"]["parts"][-1]["text"]
        assert server.stats.violations == 0


def test_schemas_in_the_dialect() -> None:
    schema = {
        "$schema": "s",
        "type": "object",
        "definitions": {"n": {"type": "integer", "exclusiveMinimum": 0, "minimum": 1}},
        "properties": {
            "pattern": {"type": "string", "pattern": "^a", "default": "a"},
            "n": {"$ref": "#/definitions/n", "description": "gone"},
            "both": {"allOf": [{"type": "object", "properties": {"a": True}, "required": ["a"]}, {"required": ["b"]}]},
            "flags": {"type": "array", "items": {"enum": [True, None]}, "uniqueItems": True},
            "any": {"anyOf": [{"const": 1}, {"type": ["string", "null"]}]},
        },
        "additionalProperties": {"type": "string", "minLength": 3},
        "required": ["n"],
    }
    before = json.dumps(schema)
    assert fitted(schema) == {
        "type": "object",
        "$defs": {"n": {"type": "integer", "minimum": 1}},
        "properties": {
            "pattern": {"type": "string"},
            "n": {"$ref": "#/$defs/n"},
            "both": {"type": "object", "properties": {"a": {}}, "required": ["a", "b"]},
            "flags": {"type": "array", "items": {}},
            "any": {"anyOf": [{"enum": [1]}, {"type": ["string", "null"]}]},
        },
        "additionalProperties": {"type": "string"},
        "required": ["n"],
    }
    assert json.dumps(schema) == before
    assert fitted({}) == {}


STATUSES = [
    (400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", "context_overflow", False),
    (400, "API key not valid. Please pass a valid API key.", "auth", False),
    (400, "Request contains an invalid argument.", "bad_request", False),
    (401, "Request had invalid authentication credentials", "auth", False),
    (403, "Method doesn't allow unregistered callers", "auth", False),
    (404, "models/x is not found for API version v1beta", "bad_request", False),
    (429, "Resource has been exhausted", "rate_limited", True),
    (500, "An internal error has occurred", "overloaded", True),
    (503, "The model is overloaded", "overloaded", True),
]


@pytest.mark.parametrize(("status", "message", "code", "retryable"), STATUSES)
@pytest.mark.parametrize("kind", ["status", "error"])
async def test_errors_before_and_in_the_midst(
    kind: Any, status: int, message: str, code: str, retryable: bool, model: Make
) -> None:
    fault = Fault(kind=kind, status=status, message=message, at=100, retry_after="7")
    with ProviderServer(lambda _: Reply(text="half of it", piece=2, fault=fault)) as server:
        end = await failed(model(server.url, WIRE))
    assert (end.error.code, end.error.retryable) == (code, retryable)
    assert message in end.error.message
    assert end.error.retry_after == (7.0 if kind == "status" and retryable else None)
    assert end.usage is not None
    assert (end.usage == Usage(cost=0)) == (kind == "status")


def test_a_limit_of_a_minute_is_no_quota() -> None:
    def read(quota: str, *details: Any) -> ErrorData:
        said = "You exceeded your current quota, please check your plan and billing details."
        error = {"code": 429, "message": said, "details": [{"quotaId": quota}, *details]}
        return gemini_error(429, {}, json.dumps({"error": error}).encode(), where="g")

    minute = read("PerMinute", {"retryDelay": "34.5s"})
    assert (minute.code, minute.retryable, minute.retry_after) == ("rate_limited", True, 34.5)
    for other in (read("PerDay", {"retryDelay": "34s"}), read("PerMinute"), read("PerMinute", 5, {"retryDelay": "x"})):
        assert (other.code, other.retryable) == ("quota", False)
    assert gemini_error(503, {}, b"<html>", where="g").code == "overloaded"


ANSWER = Reply(text="Grüße, 世界 😀! " * 3, thinking="hm", calls=(Call("look", {"path": "ä/b"}),), piece=7)
ASKED = Asked("scripted", True, [{"role": "user", "content": "Hello"}], {})
FRAMES = DIALECT.frames(ANSWER, ASKED)
SIZE = sum(map(len, FRAMES))


@pytest.mark.parametrize("kind", ["reset", "close", "malformed"])
async def test_a_fault_at_any_byte_gives_the_whole_answer_or_a_typed_failure(kind: Any, model: Make) -> None:
    code = "malformed" if kind == "malformed" else "connection"
    positions = [0, 1, *range(60, SIZE - 8, SIZE // 40), *range(SIZE - 6, SIZE)]
    faults = iter([Fault(kind=kind, at=at) for at in positions])
    with ProviderServer(lambda _: Reply(**{**_fields(ANSWER), "fault": next(faults)})) as server:
        for fault_at in positions:
            _, end = await asyncio.wait_for(run(model(server.url, WIRE)), 30)
            if isinstance(end, Failed):
                assert (end.error.code, end.error.retryable) == (code, True)
            else:
                assert end.parts[1] == Text(ANSWER.text)
                assert fault_at >= SIZE - 4 or kind == "malformed"


async def test_a_stream_that_stands_still(model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="half of it", piece=2, fault=Fault(kind="stall", at=300))) as server:
        assert (await failed(model(server.url, WIRE, patience=0.6))).error.code == "timeout"


def _fields(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


@pytest.mark.parametrize(
    ("fault", "code"), [("empty", "empty"), ("html", "malformed"), ("no_finish", "malformed"), ("json", None)]
)
async def test_odd_bodies(fault: Any, code: str | None, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="hi", fault=Fault(kind=fault))) as server:
        _, end = await run(model(server.url, WIRE))
    assert (end.error.code if isinstance(end, Failed) else None) == code


async def test_huge_arguments(model: Make) -> None:
    big = {"data": "ä\n" * 200_000}
    with ProviderServer(lambda _: Reply(calls=(Call("look", big),))) as server:
        made = model(server.url, WIRE)
        (call,) = (await completed(made, ask(tools=TOOLS))).parts
        assert isinstance(call, ToolCall)
        assert json.loads(call.arguments) == big
        turn = (user("go"), AssistantMessage((call,)), ToolMessage(call.id, "look", (Text("ok"),)))
        assert (await sent(server, made, ask(*turn)))["contents"][1]["parts"][0]["functionCall"]["args"] == big


def part(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    reason = {"finishReason": finish} if finish else {}
    return {"candidates": [{"content": {"parts": [fields] if fields else []}, "index": 0, **reason}]}


async def test_stops(model: Make, raw: Raw) -> None:
    async def said(*frames: Any) -> Completed | Failed:
        return (await run(model(await raw(*frames, done=False), WIRE)))[1]

    cut = await said(part(functionCall={"name": "f"}), part("MAX_TOKENS", text="ha"))
    assert isinstance(cut, Completed)
    assert (cut.stop, cut.parts[1]) == ("length", Text("ha"))
    silent = await said(part("MAX_TOKENS"))
    assert isinstance(silent, Completed)
    assert (silent.parts, silent.stop, silent.cut) == ((), "length", "")
    for reason in ("SAFETY", "PROHIBITED_CONTENT", "SPII"):
        half = await said(part(text="half"), part(reason))
        assert isinstance(half, Completed)
        assert half.stop == "refusal"
        none = await said({"candidates": [{"finishReason": reason, "finishMessage": "because"}]})
        assert isinstance(none, Failed)
        assert (none.error.code, reason in none.error.message) == ("refused", True)
    blocked = await said({"promptFeedback": {"blockReason": "JAILBREAK"}, "usageMetadata": {"promptTokenCount": 5}})
    assert isinstance(blocked, Failed)
    assert (blocked.error.code, blocked.usage) == ("refused", Usage(5))
    for reason, code, retryable in (
        ("MALFORMED_FUNCTION_CALL", "malformed", True),
        ("OTHER", "malformed", True),
        ("UNEXPECTED_TOOL_CALL", "malformed", True),
        ("MISSING_THOUGHT_SIGNATURE", "bad_request", False),
    ):
        broken = await said(part(text="half"), {**part(reason), "usageMetadata": {"promptTokenCount": 5}})
        assert isinstance(broken, Failed)
        assert (broken.error.code, broken.error.retryable, broken.usage) == (code, retryable, Usage(5))
    called = await said(part("FUNCTION_CALL", functionCall={"name": "f"}))
    assert isinstance(called, Completed)
    assert called.stop == "tool_calls"
    nothing = await said({"usageMetadata": {"promptTokenCount": 5}})
    assert isinstance(nothing, Failed)
    assert nothing.error.code == "malformed"


async def test_streams_as_they_may_come(model: Make, raw: Raw) -> None:
    async def parts(*frames: Any) -> tuple[Any, ...]:
        return (await completed(model(await raw(*frames, done=False), WIRE))).parts

    other = {"candidates": [{"content": {"parts": [{"text": "other"}]}, "index": 1}]}
    assert await parts(part(text="a"), other, part(text="b", thoughtSignature="cw=="), part("STOP", text="c")) == (
        Text("a"),
        Thinking("", "cw==", ORIGIN),
        Text("b"),
        Text("c"),
    )
    assert await parts(part(text="a\ud83d"), part("STOP", text="\ude00\ud83d")) == (Text("a😀\ufffd"),)
    one, two = await parts(
        part(functionCall={"name": "f", "id": "x", "args": {"k": "\ud83d"}}), part("STOP", functionCall={"name": "f"})
    )
    assert (json.loads(one.arguments), two.arguments) == ({"k": "\ufffd"}, "{}")
    assert one.id != two.id
    assert await parts(part(executableCode={"code": "1"}), part("STOP", text="1")) == (Text("1"),)


BAD = [
    b"not json",
    b"[1]",
    b'{"candidates": 5}',
    b"[" * 100_000,
    b'{"candidates":[{"content":{"parts":[{"text":7}]}}]}',
]


@pytest.mark.parametrize("frame", BAD)
async def test_a_frame_that_cannot_be_read_is_a_failure(frame: bytes, model: Make, raw: Raw) -> None:
    error = (await failed(model(await raw(part(text="Half"), frame, part("STOP"), done=False), WIRE))).error
    assert (error.code, error.retryable) == ("malformed", True)


async def test_the_account() -> None:
    with ProviderServer(key="secret-key") as server:
        bare = server.url.removesuffix("/v1")
        found = Models(environ={"GEMINI_API_KEY": "secret-key", "GOOGLE_GEMINI_BASE_URL": bare}, dotenv=None)
        made = found.resolve("google/gemini-x")
        assert (await completed(made)).parts == (Text("You said: Hello"),)
        assert (await completed(made, ask(stream=False))).parts == (Text("You said: Hello"),)
        assert "secret-key" not in repr(made)
        await found.close()


async def test_what_a_model_cannot_be_asked_is_in_the_catalog_and_in_models_toml() -> None:
    with ProviderServer() as server:
        environ = {"GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": server.url.removesuffix("/v1")}
        own = {"google/gemini-own": ModelEntry(options={"schema_with_tools": False})}
        found = Models(environ=environ, dotenv=None, config=ModelsConfig(models=own))
        asked = ask(output_schema={"type": "object"}, tools=TOOLS)
        for name, limited in (("gemini-2.5-flash", True), ("gemini-own", True), ("gemini-x", False)):
            await completed(found.resolve(f"google/{name}"), asked)
            config = server.provider.bodies[-1].get("generationConfig", {})
            assert ("responseMimeType" not in config) == limited, name
        await found.close()


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of the SDK's own session
async def test_the_official_sdk_understands_the_stub() -> None:
    genai = pytest.importorskip("google.genai")
    with ProviderServer(lambda _: FULL, key="k") as server:
        options = {"base_url": server.url.removesuffix("/v1"), "api_version": "v1beta"}
        look = {"name": "look", "parameters_json_schema": {"type": "object"}}
        asked: dict[str, Any] = {
            "model": "gemini-x",
            "contents": "hi",
            "config": {"tools": [{"function_declarations": [look]}], "system_instruction": "Be brief."},
        }
        async with genai.Client(api_key="k", http_options=options).aio as client:
            whole = await client.models.generate_content(**asked)
            stream = [chunk async for chunk in await client.models.generate_content_stream(**asked)]
            for responses in ([whole], stream):
                parts = [part for each in responses for part in each.candidates[0].content.parts]
                assert "".join(part.text or "" for part in parts if not part.thought) == FULL.text
                assert "".join(part.text or "" for part in parts if part.thought) == "let me think"
                calls = [part for part in parts if part.function_call]
                assert [part.function_call.args for part in calls] == [{"path": "ä"}, {"path": "b"}]
                assert [bool(part.thought_signature) for part in calls] == [True, False]
                assert responses[-1].usage_metadata.thoughts_token_count == 9
            orphan = {"role": "model", "parts": [{"function_call": {"name": "look", "args": {}}}]}
            with pytest.raises(genai.errors.ClientError, match="function call turn"):
                await client.models.generate_content(**{**asked, "contents": [orphan]})

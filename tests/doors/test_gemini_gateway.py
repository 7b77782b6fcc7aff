"""Gemini's protocol, by Google's own library: one model call by Roost's accounts and ledger."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from tests.doors.test_anthropic_gateway_mode import SCRIPT, TOML
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.doors.gemini.content_request import Content, json_schema, read
from roost.doors.gemini.contents import messages_of
from roost.doors.gemini.gateway_mode import Frames, _GeminiAnswer  # pyright: ignore[reportPrivateUsage]
from roost.doors.gemini.signatures import opened, sealed
from roost.errors import Invalid
from roost.log.content import AssistantMessage, File, Image, Text, Thinking, ToolCall, ToolMessage, UserMessage
from roost.models.request import Signed
from roost.models.wires.gemini.request import UNSIGNED
from roost.server.problems import problem
from roost.stub.provider import ProviderServer

WEATHER = types.FunctionDeclaration(
    name="weather",
    description="Tell the weather.",
    parameters=types.Schema(type=types.Type.OBJECT, properties={"in": types.Schema(type=types.Type.STRING)}),
)
TOOLS = [types.Tool(function_declarations=[WEATHER])]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(params=["openai_chat", "anthropic", "openai_responses", "gemini"])
def wire(request):
    return request.param


@pytest.fixture
def stub(serve, tmp_path, monkeypatch, request):
    """A daemon whose only model is a stub's, and the stub."""
    monkeypatch.setenv("ONE_KEY", "k")
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    wire = request.getfixturevalue("wire") if "wire" in request.fixturenames else "openai_chat"
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url, wire=wire))
        stub.served = serve(agents=[Agent("clerk", model="one/m")])
        yield stub
        assert not stub.stats.violations, stub.stats.reasons


@pytest.fixture(params=["v1", "v1beta"])
def version(request):
    return request.param


@pytest.fixture
def client(request):
    """Make a client of a daemon. They live as long as the test."""
    version = request.getfixturevalue("version") if "version" in request.fixturenames else "v1beta"
    made: list[genai.Client] = []

    def make(served: Served, key: str | None = None) -> genai.Client:
        once = types.HttpRetryOptions(attempts=1)
        options = types.HttpOptions(base_url=served.url, api_version=version, retry_options=once)
        made.append(genai.Client(api_key=key or served.token, http_options=options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_model_is_called_and_charged_without_a_session(stub, client, version):
    served = stub.served
    done = client(served).models.generate_content(model="one/m", contents="hi")
    assert done.text == "You said: hi"
    assert done.candidates[0].finish_reason == types.FinishReason.STOP
    assert (done.usage_metadata.prompt_token_count, done.usage_metadata.total_token_count) == (100, 120)
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_a_stream_has_pieces_and_ends_with_the_usage(stub, client):
    found = list(client(stub.served).models.generate_content_stream(model="one/m", contents="hi"))
    assert len(found) > 2
    assert "".join(one.text or "" for one in found) == "You said: hi"
    assert found[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert found[-1].usage_metadata.total_token_count == 120


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
def test_the_asynchronous_client(stub, client):
    async def work() -> str:
        async with client(stub.served).aio as c:
            stream = await c.models.generate_content_stream(model="one/m", contents="hi")
            return "".join([one.text or "" async for one in stream])

    assert asyncio.run(work()) == "You said: hi"


@pytest.mark.parametrize("stream", [False, True])
def test_calls_and_signed_reasoning_go_back_as_they_came(stub, client, wire, stream):
    """The stub refuses reasoning whose signature is not the one that it gave."""
    c = client(stub.served)
    models = c.models
    config = types.GenerateContentConfig(tools=TOOLS, thinking_config=types.ThinkingConfig(include_thoughts=True))
    asked: dict[str, Any] = {"model": "one/m", "config": config}
    said = types.Content(role="user", parts=[types.Part(text="the weather?")])
    if stream:
        parts = [
            part
            for one in models.generate_content_stream(contents=[said], **asked)
            for part in one.candidates[0].content.parts or []
        ]
    else:
        parts = models.generate_content(contents=[said], **asked).candidates[0].content.parts
    calls = [part.function_call for part in parts if part.function_call]
    assert "".join(part.text or "" for part in parts if part.thought) == "let me think"
    assert "".join(part.text or "" for part in parts if not part.thought) == "I ask."
    assert [call.args for call in calls] == [{"in": "Ghent"}, {"in": "Ypres"}]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name="weather", response={"output": "rain"}))
        for call in calls
    ]
    back = [said, types.Content(role="model", parts=parts), types.Content(role="user", parts=results)]
    assert "rain" in models.generate_content(contents=back, **asked).text


def test_a_chat_pairs_results_without_ids_by_name_and_order(stub, client):
    chat = client(stub.served).chats.create(model="one/m", config=types.GenerateContentConfig(tools=TOOLS))
    first = chat.send_message("the weather?")
    assert [call.name for call in first.function_calls] == ["weather", "weather"]
    answers = [
        types.Part.from_function_response(name=call.name, response={"result": f"rain in {call.args['in']}"})
        for call in first.function_calls
    ]
    assert "rain in Ypres" in chat.send_message(answers).text


def test_a_schema_shapes_the_answer(stub, client):
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema=types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type="STRING")}),
    )
    done = client(stub.served).models.generate_content(model="one/m", contents="json please", config=config)
    assert json.loads(done.text) == {"city": "Ghent"}


def test_an_answer_that_is_cut_says_so(stub, client):
    done = client(stub.served).models.generate_content(model="one/m", contents="cut it")
    assert done.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS


def test_errors_have_the_protocols_shape(stub, client):
    c = client(stub.served)
    models = c.models
    with pytest.raises(errors.ClientError) as busy:
        models.generate_content(model="one/m", contents="busy")
    assert (busy.value.code, busy.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(errors.ClientError) as busy:
        list(models.generate_content_stream(model="one/m", contents="busy"))
    assert (busy.value.code, busy.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(errors.ClientError) as unknown:
        models.generate_content(model="nobody/knows", contents="hi")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as agent:
        models.generate_content(model="clerk", contents="hi")
    assert (agent.value.code, agent.value.status) == (400, "INVALID_ARGUMENT")
    with pytest.raises(errors.ClientError) as key:
        client(stub.served, "wrong").models.generate_content(model="one/m", contents="hi")
    assert (key.value.code, key.value.status) == (401, "UNAUTHENTICATED")


def test_models_are_listed_and_tokens_are_counted(stub, client, version, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")  # models of accounts with a key are listed
    c = client(stub.served)
    models = c.models
    listed = list(models.list(config=types.ListModelsConfig(page_size=1, query_base=True)))
    assert [one.name.partition("/")[0] for one in listed] == ["models"] * len(listed) != []
    assert models.get(model="one/m").input_token_limit == 64000
    assert models.count_tokens(model="one/m", contents="some words to count").total_tokens > 3
    assert models.generate_content(model="gemini-3.5-flash", contents="hi").text == "You said: hi"  # the default model


def test_a_stream_without_events_is_a_json_array(stub):
    body = {"contents": [{"parts": [{"text": "hi"}]}], "generation_config": {"max_output_tokens": 100}}
    raw = stub.served.request("POST", "/v1beta/models/one/m:streamGenerateContent", body)
    found = json.loads(raw.body)
    assert "".join(part["text"] for one in found for part in one["candidates"][0]["content"]["parts"]) == "You said: hi"
    assert found[-1]["usageMetadata"]["totalTokenCount"] == 120


def contents(*given: tuple[str, list[dict[str, Any]]]) -> list[Content]:
    return [Content(role, parts) for role, parts in given]


def test_what_clients_send_is_read_as_messages():
    data = base64.b64encode(PNG).decode()
    call = {"functionCall": {"name": "look", "args": {"at": "x"}}, "thoughtSignature": UNSIGNED}
    found = messages_of(
        contents(
            ("user", [{"text": "see"}, {"inlineData": {"mimeType": "image/png", "data": data.rstrip("=")}}]),
            ("model", [{"text": "hm", "thought": True}, {"text": "I look."}, call, call]),
            ("user", [{"functionResponse": {"name": "look", "response": {"error": "gone"}}}]),
            ("user", [{"functionResponse": {"name": "look", "response": {"a": 1}, "parts": [
                {"inlineData": {"mimeType": "application/pdf", "data": data}}]}}]),
            ("user", [{"text": "so?"}]),
        )
    )  # fmt: skip
    calls = (ToolCall("call_1_2", "look", '{"at":"x"}'), ToolCall("call_1_3", "look", '{"at":"x"}'))
    assert found == (
        UserMessage((Text("see"), Image("image/png", data))),
        AssistantMessage((Text("I look."), *calls)),
        ToolMessage("call_1_2", "look", (Text("gone"),), True),
        ToolMessage("call_1_3", "look", (Text('{"a":1}'), File("application/pdf", data))),
        UserMessage((Text("so?"),)),
    )


def test_a_result_that_is_told_twice_counts_once():
    """Gemini CLI does so when it resumes a conversation."""
    call = ("model", [{"functionCall": {"id": "c", "name": "look", "args": {}}}])
    result = ("user", [{"functionResponse": {"id": "c", "name": "look", "response": {"output": "x"}}}])
    found = messages_of(contents(("user", [{"text": "see"}]), call, result, result))
    assert [type(one) for one in found] == [UserMessage, AssistantMessage, ToolMessage]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("model", [{"text": "I begin"}]), ("user", [{"text": "no"}])],
        [("user", [{"text": "a"}]), ("model", [{"functionCall": {"name": "f"}}]), ("user", [{"text": "b"}])],
        [("user", [{"functionResponse": {"name": "f", "response": {}}}])],
        [("user", [{"fileData": {"fileUri": "gs://x/y"}}])],
        [("user", [{"inlineData": {"mimeType": "image/png", "data": "%%%"}}])],
        [("user", [{"executableCode": {}}])],
    ],
)
def test_what_cannot_be_answered_is_refused(given):
    with pytest.raises(Invalid):
        messages_of(contents(*given))


def test_both_spellings_of_a_field_are_read():
    asked = read(
        {
            "contents": [{"parts": [{"text": "hi"}]}],
            "system_instruction": {"parts": [{"text": "be brief"}]},
            "tools": [{"function_declarations": [{"name": "f", "parameters": {"properties": {"a_b": {}}}}]}],
        }
    )
    assert asked.instructions == "be brief"
    assert list(asked.specs()[0].schema["properties"]) == ["a_b"]


def test_a_schema_of_the_api_becomes_json_schema():
    given = {
        "type": "OBJECT",
        "properties": {"type": {"type": "STRING", "nullable": True}},
        "propertyOrdering": ["type"],
    }
    assert json_schema(given) == {"type": "object", "properties": {"type": {"type": ["string", "null"]}}}


def test_a_signature_carries_the_reasoning_and_whose_it_is():
    thoughts = [Thinking("deep", "c2ln", "anthropic/anthropic"), Thinking("", "x", "y", True)]
    assert opened(sealed(thoughts)) == thoughts
    assert opened(UNSIGNED) == []
    assert opened(base64.urlsafe_b64encode(UNSIGNED.encode()).decode()) == []
    assert opened("c2lnbmF0dXJl") == [Thinking("", "c2lnbmF0dXJl", "gemini/default")]


def test_an_error_in_the_middle_of_a_stream_is_a_document_of_its_own():
    answer = _GeminiAnswer(Frames("m", False), events=True)
    assert answer.begin() + answer.text("a") == answer.text("a")
    answer.signed(Signed("c2ln", "anthropic/anthropic"))
    (part,) = json.loads(answer.text("b").removeprefix(b"data: "))["candidates"][0]["content"]["parts"]
    assert opened(part["thoughtSignature"]) == [Thinking("", "c2ln", "anthropic/anthropic")]
    assert json.loads(answer.last(problem(503, "overloaded", "later")))["error"]["status"] == "UNAVAILABLE"

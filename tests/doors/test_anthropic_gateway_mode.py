"""Anthropic's protocol in gateway mode, by the official library: one model call by Roost's accounts and ledger."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.doors.anthropic.conversation import conversation
from roost.doors.anthropic.message_request import InputMessage
from roost.doors.anthropic.signatures import opened, sealed
from roost.log.content import Text, Thinking, ToolCall
from roost.models.profile import Profile
from roost.models.request import Completed, Failed, Notice, Signed, TextDelta, ThinkingDelta
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script
from roost.testing.scripted import Call

TOML = """
default = "one/m"

[accounts.one]
base_url = "{url}"
key = "env:ONE_KEY"
wire = "{wire}"
retry = {{ tries = 1 }}

[models."one/m"]
window = 64000
max_output = 4000
price = {{ input = 1.0, output = 2.0 }}
"""
SCRIPT = Script(
    rules=(
        Rule(
            when="weather",
            answers=(
                Reply(
                    text="I ask.",
                    thinking="let me think",
                    calls=(Call("weather", {"in": "Ghent"}), Call("weather", {"in": "Ypres"})),
                ),
                Reply(text="{result}"),
            ),
        ),
        Rule(when="json", answers=(Reply(text='{"city": "Ghent"}'),)),
        Rule(when="cut", answers=(Reply(text="only a part", stop="length"),)),
        Rule(when="busy", answers=(Reply(fault=Fault(kind="status", status=429, retry_after="7", times=0)),)),
        Rule(answers=(Reply(text="You said: {input}", thinking="hm", piece=4),)),
    )
)
TOOL: dict[str, Any] = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"in": {"type": "string"}}, "required": ["in"]},
}
CLAUDE: dict[str, Any] = {
    "model": "claude-opus-4-8",
    "max_tokens": 20000,
    "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "The date is today."},
    ],
}
"""A request as Claude Code 2.1 makes it."""


@pytest.fixture
def sdk():
    made = []

    def make(served: Served, **options: Any) -> anthropic.Anthropic:
        made.append(anthropic.Anthropic(base_url=served.url, api_key=served.token, **{"max_retries": 0, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["openai_chat", "anthropic", "openai_responses", "gemini"])
def wire(request):
    return request.param


@pytest.fixture
def stub(serve, tmp_path, monkeypatch, request):
    """A daemon whose only model is a stub's, and the stub."""
    monkeypatch.setenv("ONE_KEY", "k")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    wire = request.getfixturevalue("wire") if "wire" in request.fixturenames else "openai_chat"
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        more = getattr(request, "param", "")
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url, wire=wire) + more)
        stub.served = serve(agents=[Agent("clerk", model="one/m")])
        yield stub


def ask(c, text="hi", **more):
    given = {"model": "one/m", "max_tokens": 1000, "messages": [{"role": "user", "content": text}], **more}
    return c.messages.create(**given)


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def kinds(message):
    return [block.type for block in message.content]


def test_a_model_is_called_and_charged_without_a_session(stub, sdk):
    served = stub.served
    done = ask(sdk(served), metadata={"user_id": "ann"})
    assert (text(done), done.stop_reason, done.model, done.role) == ("You said: hi", "end_turn", "one/m", "assistant")
    assert (done.usage.input_tokens, done.usage.output_tokens) == (100, 20)
    assert done._request_id.startswith("req_")
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_a_stream_has_the_protocols_events_in_order(stub, sdk):
    events = list(ask(sdk(stub.served), stream=True))
    assert [events[0].type, events[-2].type, events[-1].type] == ["message_start", "message_delta", "message_stop"]
    open_block = None
    for event in events[1:-2]:
        if event.type == "content_block_start":
            assert open_block is None
            open_block = event.index
        elif event.type == "content_block_delta":
            assert event.index == open_block
        elif event.type == "content_block_stop":
            assert event.index == open_block
            open_block = None
    assert open_block is None
    assert (events[-2].usage.input_tokens, events[-2].usage.output_tokens) == (100, 20)


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_comes_back_signed_and_goes_back_as_it_came(stub, wire, sdk, stream):
    """The stub refuses reasoning whose signature is not the one that it gave."""
    c = sdk(stub.served)
    given: dict[str, Any] = {
        "model": "one/m",
        "max_tokens": 3000,
        "tools": [TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    messages: list[Any] = [{"role": "user", "content": "the weather?"}]
    if stream:
        with c.messages.stream(messages=messages, **given) as events:
            first = events.get_final_message()
    else:
        first = c.messages.create(messages=messages, **given)
    assert first.stop_reason == "tool_use"
    thought, said, *calls = [block for block in first.content if block.type != "thinking" or block.thinking]
    assert (thought.thinking, bool(thought.signature), said.text) == ("let me think", True, "I ask.")
    calls = [call for call in calls if call.type == "tool_use"]
    assert [call.input for call in calls] == [{"in": "Ghent"}, {"in": "Ypres"}]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert "rain" in text(c.messages.create(messages=messages, **given))
    assert not stub.stats.violations, stub.stats.reasons


def test_what_claude_code_sends_is_answered_by_the_default_model(stub, sdk):
    raw = sdk(stub.served).beta.messages.with_raw_response.create(**CLAUDE, betas=["context-management-2025-06-27"])
    assert (raw.parse().model, raw.headers["roost-model"]) == ("claude-opus-4-8", "one/m")
    assert text(raw.parse()).startswith("You said: ")
    assert not stub.stats.violations, stub.stats.reasons


@pytest.mark.parametrize("stub", ['[aliases]\n"claude-*" = "clerk"\n"claude-haiku-*" = "one/small"\n'], indirect=True)
def test_an_alias_says_which_model_or_agent_a_name_means(stub, sdk):
    c = sdk(stub.served)
    raw = c.messages.with_raw_response.create(
        model="claude-haiku-5", max_tokens=10, messages=[{"role": "user", "content": "hi"}]
    )
    assert raw.headers["roost-model"] == "one/small"
    ask(c, model="claude-opus-5")
    assert [one["agent"] for one in stub.served.get("/sessions")["sessions"]] == ["clerk"]


def test_the_tool_choices(stub, sdk):
    c = sdk(stub.served)
    other = {**TOOL, "name": "other"}
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}, {"type": "auto"}):
        done = ask(c, "the weather?", tools=[TOOL, other], tool_choice={**choice, "disable_parallel_tool_use": True})
        assert kinds(done).count("tool_use") == 1
    with c.messages.stream(
        model="one/m",
        max_tokens=100,
        messages=[{"role": "user", "content": "the weather?"}],
        tools=[TOOL],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    ) as events:
        assert kinds(events.get_final_message()).count("tool_use") == 1
    for choice in ({"type": "tool", "name": "nothing"}, {"type": "tool"}, {"type": "odd"}):
        with pytest.raises(anthropic.BadRequestError, match="tool_choice"):
            ask(c, tools=[TOOL], tool_choice=choice)


def test_an_answer_that_is_cut_off_says_so(stub, sdk):
    assert ask(sdk(stub.served), "cut").stop_reason == "max_tokens"


def test_structured_output_parsed_by_the_library(stub, sdk):
    import pydantic

    class City(pydantic.BaseModel):
        city: str

    messages = [{"role": "user", "content": "json, please"}]
    done = sdk(stub.served).messages.parse(model="one/m", max_tokens=99, messages=messages, output_format=City)
    assert done.parsed_output == City(city="Ghent")


def test_tokens_are_counted_without_a_call(stub, sdk):
    c = sdk(stub.served)
    long = [{"role": "user", "content": "word " * 4000}]
    for model in ("one/m", "claude-opus-4-8", "clerk"):
        counted = c.messages.count_tokens(model=model, messages=long, tools=[TOOL], system="Be brief.").input_tokens
        assert 4000 < counted < 8000
    odd = [*long, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]
    assert c.messages.count_tokens(model="one/m", messages=odd).input_tokens > 4000
    assert stub.stats.requests == 0
    assert stub.served.get("/costs")["month"]["spent"] == 0


def test_agents_and_models_are_listed_in_pages(stub, sdk, monkeypatch):
    for name in ("GEMINI_API_KEY", "GROQ_API_KEY"):  # models of accounts with a key are listed
        monkeypatch.setenv(name, "k")
    c = sdk(stub.served)
    page = c.models.list(limit=1)
    assert (page.data[0].id, page.has_more, page.first_id) == ("clerk", True, "clerk")
    rest = [one.id for one in c.models.list(after_id="clerk", limit=2)]
    assert [one.id for one in page] == ["clerk", *rest]
    assert [one.id for one in c.models.list(before_id=rest[0])] == ["clerk"]
    assert c.models.retrieve("clerk").type == "model"
    assert (c.models.retrieve("claude-x").id, c.models.retrieve("claude-x").max_input_tokens) == ("claude-x", 64000)
    with pytest.raises(anthropic.NotFoundError):
        c.models.retrieve("nobody")
    with pytest.raises(anthropic.BadRequestError):
        c.models.list(limit=0)
    answer = stub.served.request("GET", "/v1/models")
    assert answer.json["object"] == "list"  # without the header it is the other protocol


@pytest.mark.parametrize("stream", [False, True])
def test_a_limited_provider_says_when_to_come_back(stub, sdk, stream):
    with pytest.raises(anthropic.RateLimitError) as refused:
        list(ask(sdk(stub.served), "busy", stream=stream))
    assert refused.value.response.headers["retry-after"] == "7"
    assert refused.value.body["error"]["type"] == "rate_limit_error"
    assert refused.value.body["request_id"] == refused.value.response.headers["request-id"]


@pytest.mark.parametrize("stub", ["[budget]\nmonth = 0.000001\n"], indirect=True)
def test_a_budget_that_is_spent_is_an_error_in_both_modes(stub, sdk):
    for model in ("one/m", "clerk"):
        with pytest.raises(anthropic.RateLimitError) as refused:
            ask(sdk(stub.served), model=model)
        assert refused.value.response.headers["x-should-retry"] == "false"


async def test_the_asynchronous_client(stub):
    served = stub.served
    async with anthropic.AsyncAnthropic(base_url=served.url, auth_token=served.token) as c:

        async def one(number):
            given = {"model": "one/m", "max_tokens": 100}
            async with c.messages.stream(messages=[{"role": "user", "content": f"hello {number}"}], **given) as stream:
                return "".join([piece async for piece in stream.text_stream])

        assert await asyncio.gather(*map(one, range(10))) == [f"You said: hello {n}" for n in range(10)]


class Acting:
    """A model that gives these events."""

    name, profile = "acting/m", Profile(images=True, files=True)

    def __init__(self, *events):
        self.events = events

    async def stream(self, request):
        self.request = request
        for event in self.events:
            yield event

    async def close(self):
        pass


def acted(served, sdk, *events):
    served.daemon._runtime.models.register("acting", lambda rest: Acting(*events))
    given = {"model": "acting/m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    with sdk(served).messages.stream(**given) as stream:
        return stream.get_final_message()


def test_a_model_that_begins_anew_takes_nothing_back(serve, sdk):
    served = serve()
    parts = (Thinking("whole", "sig", "x/y"), Text("one two"), ToolCall("c", "w", "{}"))
    again = (ThinkingDelta("whole"), Signed("sig", "x/y"), TextDelta("one "), Completed(parts, "tool_calls"))
    done = acted(served, sdk, ThinkingDelta("fal"), TextDelta("one"), Notice("restart"), *again)
    false, said, whole, call = done.content
    assert (false.thinking, said.text, whole.thinking, call.name) == ("fal", "one two", "whole", "w")
    assert opened(whole.signature)[:2] == ("sig", "x/y")
    done = acted(served, sdk, ThinkingDelta("fal"), Notice("restart"), *again)  # no text: it goes on at once
    void, whole, said, call = done.content
    assert (whole.thinking, said.text, call.name) == ("whole", "one two", "w")
    assert (opened(void.signature).kind, opened(whole.signature)[:2]) == ("void", ("sig", "x/y"))
    (read,) = conversation([InputMessage("assistant", [block.to_dict() for block in done.content])])
    assert read.parts == parts


def test_signatures_that_come_late_find_their_reasoning(serve, sdk):
    served = serve()
    parts = (
        Thinking("let me", "late", "x/y"),
        Text("so"),
        Thinking("", "of the call", "x/y"),
        ToolCall("c", "w", '{"a": 1}'),
    )
    done = acted(served, sdk, ThinkingDelta("let me"), TextDelta("so"), Completed(parts, "tool_calls"))
    (read,) = conversation([InputMessage("assistant", [block.to_dict() for block in done.content])])
    assert read.parts == (*parts[:3], ToolCall("c", "w", '{"a":1}'))
    early = (Thinking("a", "s1", "anthropic/anthropic"), Thinking("", "s2", "anthropic/anthropic", True), Text("t"))
    events = (ThinkingDelta("a"), Signed("s1", "anthropic/anthropic"), Signed("s2", "anthropic/anthropic", True))
    done = acted(served, sdk, *events, TextDelta("t"), Completed(early, "end"))
    assert kinds(done) == ["thinking", "redacted_thinking", "text"]
    assert (done.content[0].signature, done.content[1].data) == ("s1", "s2")
    (read,) = conversation([InputMessage("assistant", [block.to_dict() for block in done.content])])
    assert read.parts == early


@pytest.mark.parametrize("sent", ["", "x", "roost_", "roost_!!", "roost_AAAA", sealed(None, None), sealed("a", "b/c")])
def test_any_signature_is_read(sent):
    assert opened(sent).kind == "whole"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_an_answer(serve, sdk, stream):
    from roost.log.content import ErrorData

    served = serve()
    served.daemon._runtime.models.register(
        "acting", lambda rest: Acting(Failed(ErrorData("refused", "it refused: why")))
    )
    c, given = sdk(served), {"model": "acting/m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    if stream:
        with c.messages.stream(**given) as events:
            done = events.get_final_message()
    else:
        done = c.messages.create(**given)
    assert (done.stop_reason, done.stop_details.explanation, done.content) == ("refusal", "it refused: why", [])


def test_a_stop_sequence_that_is_known_is_named(serve, sdk):
    done = acted(serve(), sdk, TextDelta("so"), Completed((Text("so"),), "end", word="END"))
    assert (done.stop_reason, done.stop_sequence, text(done)) == ("stop_sequence", "END", "so")


def test_a_failure_in_mid_stream_is_an_error_event(serve, sdk):
    from roost.log.content import ErrorData

    served = serve()
    with pytest.raises(anthropic.APIStatusError) as refused:
        acted(served, sdk, TextDelta("so far"), Failed(ErrorData("overloaded", "too much")))
    assert refused.value.body["error"] == {"type": "overloaded_error", "message": "too much"}
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        acted(served, sdk, Failed(ErrorData("context_overflow", "200,001 tokens")))


def test_settings_reach_the_model(serve, sdk):
    served, acting = serve(), Acting(Completed((Text("yes"),), "end"))
    served.daemon._runtime.models.register("acting", lambda rest: acting)
    document = {"type": "text", "media_type": "text/plain", "data": "a plan"}
    content = [
        {"type": "document", "source": document, "title": "Plan"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "found"}]},
        {"type": "text", "text": "look"},
    ]
    sdk(served).messages.create(
        model="acting/m",
        max_tokens=20000,
        extra_body={"temperature": 0.5, "top_k": 3},
        stop_sequences=["END"],
        thinking={"type": "enabled", "budget_tokens": 5000},
        system="Be brief.",
        messages=[{"role": "user", "content": content}],
    )
    asked = acting.request
    assert (asked.instruction, asked.temperature, asked.stop) == ("Be brief.", 0.5, ("END",))
    assert (asked.effort, asked.knobs, asked.max_output) == ("medium", {"top_k": 3}, Profile().max_output)
    texts = [part.text for part in asked.messages[0].parts if isinstance(part, Text)]
    assert texts == ["[Plan]\n", "a plan", "[T\nS]\n", "found", "look"]


TURN = '"model": "one/m", "max_tokens": 9, "messages": '
USER = '{"role": "user", "content": "x"}'
CALLED = '{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}'
DOCUMENT = '{"type": "document", "source": {"type": "url", "url": "x:"}}'
BAD = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 400),
    (b"\xff", 400),
    (b"[" * 100_000, 400),
    (b"{}", 400),
    (b'{"model": "one/m"}', 400),
    (b'{"model": 5, "messages": []}', 400),
    (f"{{{TURN}[]}}", 400),
    (f'{{{TURN}[{{"role": "user"}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": " "}}]}}', 400),
    (f'{{{TURN}[{{"role": "king", "content": "x"}}]}}', 400),
    (f'{{{TURN}[{{"role": "assistant", "content": "x"}}]}}', 400),
    (f'{{{TURN}[{USER}, {{"role": "assistant", "content": "x"}}]}}', 400),
    (f"{{{TURN}[{USER}, {CALLED}, {USER}]}}", 400),
    (f"{{{TURN}[{CALLED}, {USER}]}}", 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "tool_result", "tool_use_id": "a"}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "tool_result"}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "smell"}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": ["text"]}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "text", "text": 5}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "image", "source": 5}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{{"type": "image", "source": {{"type": "file"}}}}]}}]}}', 400),
    (f'{{{TURN}[{{"role": "user", "content": [{DOCUMENT}]}}]}}', 400),
    (f'{{{TURN}[{USER}], "tools": [{{"name": "no good name"}}]}}', 400),
    (f'{{{TURN}[{USER}], "tools": [{{"name": "a", "input_schema": 5}}]}}', 400),
    (f'{{{TURN}[{USER}], "tools": [{{"name": "a"}}, {{"name": "a"}}]}}', 400),
    (f'{{{TURN}[{USER}], "tool_choice": {{"type": "any"}}}}', 400),
    (f'{{{TURN}[{USER}], "system": [{{"type": "image"}}]}}', 400),
    (f'{{{TURN}[{USER}], "output_config": {{"format": {{"type": "xml"}}}}}}', 400),
    (f'{{"model": "one/m", "max_tokens": 0, "messages": [{USER}]}}', 400),
    (f'{{"model": "one/m", "max_tokens": -{10**400}, "messages": [{USER}]}}', 400),
    (f'{{"model": "nobody", "max_tokens": 9, "messages": [{USER}]}}', 404),
    (f'{{"model": "http://127.0.0.1:1/v1#m", "max_tokens": 9, "messages": [{USER}]}}', 404),
    (b" " * (33 << 20), 413),
]


def test_bad_input_is_refused_in_the_protocols_shape(stub):
    served = stub.served
    for given, status in BAD:
        raw = given if isinstance(given, bytes) else given.encode()
        for path in ("/v1/messages", "/v1/messages?beta=true"):
            answer = served.request("POST", path, raw=raw)
            body = json.loads(answer.body)
            assert (answer.status, set(body)) == (status, {"type", "error", "request_id"}), (raw[:90], body)
            assert (body["type"], set(body["error"])) == ("error", {"type", "message"})
    assert stub.stats.requests == 0
    for method, path, status, kind in (
        ("GET", "/v1/messages", 404, "not_found_error"),
        ("POST", "/v1/messages/batches", 400, "invalid_request_error"),
    ):
        answer = served.request(method, path)
        assert (answer.status, json.loads(answer.body)["error"]["type"]) == (status, kind)


ODD = [None, True, -1, 1e300, "", "\r\nx: y", "x" * 5000, [], [[]], [None], {}, {"type": 5}, {"type": "text"}]


def mutated(value, odd):
    """Yield copies of a value in which one node each is `odd`."""
    yield odd
    if isinstance(value, dict):
        for key in value:
            for inner in mutated(value[key], odd):
                yield {**value, key: inner}
            yield {other: value[other] for other in value if other != key}
    elif isinstance(value, list):
        for at, one in enumerate(value):
            for inner in mutated(one, odd):
                yield [*value[:at], inner, *value[at + 1 :]]


def test_no_odd_value_anywhere_is_a_defect(stub):
    call = {"type": "tool_use", "id": "a", "name": "weather", "input": {"in": "Ghent"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": sealed("s", "x/y")}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "rain"}]}
    turns = [{"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    request = {**CLAUDE, "model": "one/m", "tool_choice": {"type": "auto"}, "stop_sequences": ["END"]}
    request = request | {"stream": False, "messages": [*CLAUDE["messages"], *turns], "tools": [TOOL]}
    seen, bodies = set(), [body for odd in ODD for body in mutated(request, odd)]
    for number, body in enumerate(bodies[:: max(1, len(bodies) // 400)]):
        if number % 3 == 1 and isinstance(body, dict):
            body = {**body, "model": "clerk"}
        answer = stub.served.request("POST", "/v1/messages", body)
        seen.add(answer.status)
        assert answer.status < 500, (body, answer)
        if answer.body.startswith(b"event: message_start"):
            assert b"message_stop" in answer.body, (body, answer)
        else:
            assert answer.json["type"] == ("message" if answer.status == 200 else "error")
    assert {200, 400} <= seen


def test_the_token_and_the_head_of_the_root(stub):
    served = stub.served
    version = {"anthropic-version": "2023-06-01"}
    for method, path, headers, status in (
        ("GET", "/v1/models", {"authorization": f"Bearer {served.token}", **version}, 200),
        ("GET", "/v1/models", {"x-api-key": served.token, **version}, 200),
        ("GET", "/v1/models", {"x-api-key": "wrong", **version}, 401),
        ("HEAD", "/", {"x-api-key": served.token}, 200),
        ("HEAD", "/", {}, 401),
    ):
        connection = served.connect()
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == status
        if method == "GET" and status == 401:
            assert json.loads(body)["error"]["type"] == "authentication_error"
        connection.close()


def test_a_body_of_megabytes(stub, sdk):
    history = [{"role": "assistant" if n % 2 else "user", "content": f"{n} " * 20_000} for n in range(40)]
    history.append({"role": "user", "content": "and?"})
    assert text(ask(sdk(stub.served), messages=history)).endswith("and?")

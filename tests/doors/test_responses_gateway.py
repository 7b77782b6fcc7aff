"""The Responses API in gateway mode, by the official library: one model call by Roost's accounts and ledger."""

from __future__ import annotations

import json

import openai
import pydantic
import pytest
from tests.doors.test_openai_gateway_mode import served
from tests.server.conftest import Served

__all__ = ["served"]
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"in": {"type": "string"}},
        "required": ["in"],
        "additionalProperties": False,
    },
    "strict": True,
}
FOREIGN = [{"type": "web_search"}, {"type": "namespace", "name": "agents", "tools": []}]


def ask(client, given, **more):
    return client.responses.create(model=more.pop("model", "one/m"), input=given, **more)


def test_a_model_is_called_and_charged_without_a_session(served: Served, client):
    done = ask(client(served), "hi", user="ann", metadata={"a": "b"})
    assert (done.output_text, done.status, done.metadata) == ("You said: hi", "completed", {"a": "b"})
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.total_tokens) == (100, 20, 120)
    assert (done.store, done.error, done.incomplete_details, done.model) == (False, None, None, "one/m")
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_a_stream_has_every_event_in_order(served, client):
    events = list(ask(client(served), "hi", stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(event.delta for event in events[4:-4]) == events[-4].text == "You said: hi"
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].response.output[0] == events[-2].item


@pytest.mark.parametrize("stream", [False, True])
def test_tools_of_the_client(served, client, stream):
    c = client(served)
    given = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "the weather?"}]
    more = {"tools": [TOOL, *FOREIGN], "tool_choice": "auto", "parallel_tool_calls": True}
    if stream:
        with c.responses.stream(model="one/m", input=given, **more) as events:
            kinds = [event.type for event in events]
            done = events.get_final_response()
        assert "response.function_call_arguments.done" in kinds
        assert done.output[1].parsed_arguments == {"in": "Ghent"}
    else:
        done = ask(c, given, **more)
    said, call = done.output
    assert (said.content[0].text, said.phase, call.type, call.name) == (
        "I ask.",
        "commentary",
        "function_call",
        "weather",
    )
    assert json.loads(call.arguments) == {"in": "Ghent"}
    given += [item.to_dict() for item in done.output]
    with pytest.raises(openai.BadRequestError, match="no output was found"):
        ask(c, given, **more)
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    assert ask(c, given, **more).output_text == "rain"


def test_structured_output_parsed_by_the_library(served, client):
    class City(pydantic.BaseModel):
        city: str

    done = client(served).responses.parse(model="one/m", input="json, please", text_format=City)
    assert done.output_parsed == City(city="Ghent")


BAD = [
    ({"model": "nobody"}, 404, "model_not_found"),
    ({"input": []}, 400, "invalid"),
    ({"input": ""}, 400, "invalid"),
    ({"input": None}, 400, "invalid"),
    ({"input": 5}, 400, "invalid"),
    ({"input": [5]}, 400, "invalid"),
    ({"input": [{"type": "smell"}]}, 400, "invalid"),
    ({"input": [{"type": {"a": []}}]}, 400, "invalid"),
    ({"input": [{"role": "user", "content": [{"type": [1]}]}]}, 400, "invalid"),
    ({"input": [{"role": "king", "content": "x"}]}, 400, "invalid"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, 400, "invalid"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, 400, "invalid"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "%"}]}]}, 400, "invalid"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, 400, "invalid"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "invalid"),
    ({"input": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, 400, "invalid"),
    ({"background": True}, 400, "invalid"),
    ({"previous_response_id": "resp_1"}, 400, "invalid"),
    ({"conversation": "conv_1"}, 400, "invalid"),
    ({"prompt": {"id": "x"}}, 400, "invalid"),
    ({"max_output_tokens": 0}, 400, "invalid"),
    ({"tools": [{"type": "function", "name": "no good"}]}, 400, "invalid"),
    ({"tools": [{"type": "function"}]}, 400, "invalid"),
    ({"tools": [TOOL, TOOL]}, 400, "invalid"),
    ({"tool_choice": "maybe"}, 400, "invalid"),
    ({"tool_choice": {"type": "web_search"}}, 400, "invalid"),
    ({"tool_choice": {"type": "function", "name": "nothing"}}, 400, "invalid"),
    ({"tool_choice": {"type": "allowed_tools", "tools": 5}}, 400, "invalid"),
    ({"text": {"format": {"type": "xml"}}}, 400, "invalid"),
    ({"text": {"format": {"type": "json_schema", "schema": 5}}}, 400, "invalid"),
    ({"metadata": {"a": 1}}, 400, "invalid"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_bad_input_is_refused_in_the_protocols_shape(served: Served, stream):
    for body, status, code in BAD:
        answer = served.post("/v1/responses", {"model": "one/m", "input": "x", "stream": stream} | body)
        assert answer.status == status, (body, answer)
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}, body
        assert answer.json["error"]["code"] == code, (body, answer)
    for raw in (b"", b"{", b"[]", b"[" * 100_000, b'"\xff"'):
        assert served.request("POST", "/v1/responses", raw=raw).status == 400
    assert served.request("POST", "/v1/responses", raw=b" " * (17 << 20)).status == 413
    assert served.get("/costs")["month"]["spent"] == 0


def test_what_clients_send_beside_it_is_tolerated(served, client):
    more = {"client_metadata": {"x": "y"}, "conversation": None, "no_such_field": 1, "stream_options": {}}
    history = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA=="},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "message", "role": "user", "id": "m", "content": [{"type": "input_text", "text": "hi"}]},
    ]
    done = ask(
        client(served),
        history,
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        truncation="auto",
        service_tier="auto",
        reasoning={"summary": "auto", "effort": "high"},
        extra_body=more,
    )
    assert done.output_text == "You said: hi"


@pytest.mark.parametrize("stream", [False, True])
def test_a_custom_tool_takes_a_text(serve, client, tmp_path, monkeypatch, stream):
    from tests.doors.test_openai_gateway_mode import TOML

    from roost.stub.provider import ProviderServer
    from roost.stub.script import Reply, Rule, Script
    from roost.testing.scripted import Call

    calls = Reply(calls=(Call("patch", {"input": "*** Begin"}),))
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(Script(rules=(Rule(answers=(calls, Reply(text="{result}"))),))) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url))
        c = client(serve())
        tools = [{"type": "custom", "name": "patch", "description": "Patch", "format": {"type": "text"}}]
        if stream:
            with c.responses.stream(model="one/m", input="go", tools=tools) as events:
                call = events.get_final_response().output[0]
        else:
            call = ask(c, "go", tools=tools).output[0]
        assert (call.type, call.name, call.input) == ("custom_tool_call", "patch", "*** Begin")
        output = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "patched"}
        given = [{"role": "user", "content": "go"}, call.to_dict(), output]
        assert ask(c, given, tools=tools).output_text == "patched"

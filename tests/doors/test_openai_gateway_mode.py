"""Gateway mode by the official library: one model call by Roost's accounts and ledger."""

from __future__ import annotations

import json

import openai
import pytest
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

TOML = """
default = "one/m"

[accounts.one]
base_url = "{url}"
key = "env:ONE_KEY"
retry = {{ tries = 1 }}

[models."one/m"]
window = 64000
price = {{ input = 1.0, output = 2.0 }}
"""
SCRIPT = Script(
    rules=(
        Rule(
            when="weather",
            answers=(Reply(text="I ask.", calls=(Call("weather", {"in": "Ghent"}),)), Reply(text="{result}")),
        ),
        Rule(when="json", answers=(Reply(text='{"city": "Ghent"}'),)),
        Rule(answers=(Reply(text="You said: {input}", piece=4),)),
    )
)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"in": {"type": "string"}}}},
}


@pytest.fixture
def served(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url))
        yield serve()


def ask(client, text, **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return client.chat.completions.create(model=more.pop("model", "one/m"), messages=messages, **more)


def test_a_model_is_called_and_charged_without_a_session(served: Served, client):
    done = ask(client(served), "hi", user="ann")
    assert done.choices[0].message.content == "You said: hi"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (100, 20)
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_a_stream(served, client):
    chunks = list(ask(client(served), "hi", stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "You said: hi"
    assert chunks[-1].usage.total_tokens == 120


@pytest.mark.parametrize("stream", [False, True])
def test_tools_of_the_client(served, client, stream):
    c = client(served)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the weather?"}]
    if stream:
        with c.chat.completions.stream(model="one/m", messages=messages, tools=[TOOL]) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = ask(c, "", messages=messages, tools=[TOOL], tool_choice="auto").choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "weather")
    assert json.loads(call.function.arguments) == {"in": "Ghent"}
    made = {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.function.arguments}}
    messages += [
        {"role": "assistant", "content": "I ask.", "tool_calls": [made]},
        {"role": "tool", "tool_call_id": call.id, "content": "rain"},
    ]
    assert ask(c, "", messages=messages, tools=[TOOL]).choices[0].message.content == "rain"
    with pytest.raises(openai.BadRequestError):
        ask(c, "", messages=messages[:-1], tools=[TOOL])


def test_structured_output_parsed_by_the_library(served, client):
    import pydantic

    class City(pydantic.BaseModel):
        city: str

    messages = [{"role": "user", "content": "json, please"}]
    done = client(served).chat.completions.parse(model="one/m", messages=messages, response_format=City)
    assert done.choices[0].message.parsed == City(city="Ghent")


@pytest.mark.parametrize("name", ["nobody", "one/", "two/m", "http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1#m", ""])
def test_an_unknown_model_is_not_found(served, client, name):
    with pytest.raises(openai.NotFoundError) as refused:
        client(served).chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "model_not_found"


def test_a_failing_provider_is_an_error_in_the_protocols_shape(serve, client, tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_KEY", "k")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models.toml").write_text(TOML.format(url="http://127.0.0.1:1"))
    c = client(serve(), max_retries=0)
    with pytest.raises(openai.InternalServerError):
        ask(c, "hi")
    with pytest.raises(openai.APIError):
        list(ask(c, "hi", stream=True))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("tokens", [0, -1_000_000_000, 10**400])
def test_an_answer_of_less_than_a_token_or_of_endless_ones_is_refused(served: Served, client, stream, field, tokens):
    with pytest.raises(openai.BadRequestError, match="max_output"):
        ask(client(served, max_retries=0), "hi", stream=stream, **{field: tokens})
    assert served.get("/costs")["month"]["spent"] == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [{"function": "x"}, {"function": [1]}, {}, {"function": {"name": 5}}])
def test_a_tool_choice_of_another_shape_is_refused(served: Served, client, stream, choice):
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        ask(client(served, max_retries=0), "hi", tools=[TOOL], tool_choice=choice, stream=stream)


def test_a_budget_that_is_spent_is_an_error_in_both_modes(serve, client, tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url) + "[budget]\nmonth = 0.000001\n")
        served = serve(agents=[Agent("clerk", model="one/m")])
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                ask(client(served, max_retries=0), "hi", stream=stream)
            assert refused.value.code == "insufficient_quota"
            with pytest.raises(openai.APIError) as refused:
                list(ask(client(served, max_retries=0), "hi", stream=stream, model="clerk"))
            assert refused.value.code == "insufficient_quota"


def test_a_defect_in_a_stream_is_an_error_frame(served: Served, client, monkeypatch):
    monkeypatch.setattr("roost.doors.openai.chat_chunks.Chunks.text", lambda *_: 1 // 0)
    with pytest.raises(openai.APIError) as refused:
        list(ask(client(served, max_retries=0), "hi", stream=True))
    assert refused.value.code == "internal"


def test_a_long_name_of_a_model_is_not_kept(served: Served, client):
    with pytest.raises(openai.NotFoundError) as refused:
        client(served).chat.completions.create(model="one/" + "x" * 300, messages=[{"role": "user", "content": "hi"}])
    assert len(str(refused.value)) < 1000


def test_a_brands_name_means_the_default_model_or_what_an_alias_says(serve, client, tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_KEY", "k")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        aliases = '[aliases]\n"gpt-mini*" = "one/other"\nhelper = "clerk"\n'
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url) + aliases)
        c = client(serve(agents=[Agent("clerk", model="one/m")]), max_retries=0)
        for name, meant in (("gpt-9", "one/m"), ("gpt-mini-3", "one/other")):
            raw = c.chat.completions.with_raw_response.create(model=name, messages=[{"role": "user", "content": "hi"}])
            assert (raw.parse().model, raw.headers["roost-model"]) == (name, meant)
        assert ask(c, "hi", model="helper").id.startswith("chatcmpl-chat_")
        with pytest.raises(openai.NotFoundError, match=r"\[aliases\]"):
            ask(c, "hi", model="command-r")

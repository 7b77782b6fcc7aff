"""Tools that the client runs, beside the agent's own, and structured output: in agent mode, by the official library."""

from __future__ import annotations

import json

import msgspec
import openai
import pydantic
import pytest
from tests.server.conftest import look

from roost.agent.definition import Agent
from roost.agent.fold import apply
from roost.agent.state import State
from roost.features.client_tools.events import ClientOffered, OfferedTool
from roost.features.client_tools.state import ClientToolsState
from roost.log import events as ev
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Ask for the weather.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
USER = {"role": "user", "content": "what is the weather?"}


def results(request):
    return [part.text for m in request.messages if hasattr(m, "call") for part in m.parts]


def forecaster(request):
    """Look and ask the client at once; then ask again; then say all results."""
    got = results(request)
    if not got:
        calls = (
            Call("look", {"what": "up"}),
            Call("weather", {"place": "Ghent"}),
            Call("weather", {"place": "Bruges"}),
        )
        return Answer(text="I ask.", calls=calls)
    if len(got) == 3:
        return Answer(text="Once more.", calls=(Call("weather", {"place": "Ypres"}),))
    return Answer(text=" ".join(got))


def ask(client, messages, **more):
    return client.chat.completions.create(model="clerk", messages=messages, tools=[TOOL], **more)


def ran(message):
    """The messages of a client that has run the calls."""
    places = {call.id: json.loads(call.function.arguments)["place"] for call in message.tool_calls}
    return [message, *({"role": "tool", "tool_call_id": id, "content": f"rain in {p}"} for id, p in places.items())]


def only_session(served):
    (info,) = served.get("/sessions")["sessions"]
    return info


def test_calls_of_the_clients_tools_end_the_answer_and_results_go_on(serve, client):
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    first = ask(c, [USER]).choices[0]
    assert (first.finish_reason, first.message.content) == ("tool_calls", "I ask.")
    assert [call.function.name for call in first.message.tool_calls] == ["weather", "weather"]
    assert only_session(served)["phase"] == "waiting"
    messages = [USER, *ran(first.message)]
    second = ask(c, messages).choices[0]
    assert (second.finish_reason, second.message.content) == ("tool_calls", "Once more.")
    messages += ran(second.message)
    third = ask(c, messages)
    assert third.choices[0].message.content == "seen up rain in Ghent rain in Bruges rain in Ypres"
    assert third.choices[0].finish_reason == "stop"
    kinds = [e["event"]["type"] for e in served.history(only_session(served)["id"])]
    assert (kinds.count("turn.completed"), kinds.count("client.called"), kinds.count("client.offered")) == (1, 3, 1)
    again = ask(c, messages)  # sent again: the same part of the same turn
    assert again.choices[0].message.content == third.choices[0].message.content
    messages += [third.choices[0].message, {"role": "user", "content": "thanks"}]
    ask(c, messages)
    assert only_session(served)["pending"] == 0


def test_streamed_and_after_a_restart(serve, client):
    def stream(served, messages):
        with client(served).chat.completions.stream(model="clerk", messages=messages, tools=[TOOL]) as events:
            return events.get_final_completion().choices[0]

    served = serve(ScriptedModel(forecaster, deltas=True))
    first = stream(served, [USER])
    assert (first.finish_reason, first.message.content) == ("tool_calls", "I ask.")
    served.stop()
    served = serve(ScriptedModel(forecaster, deltas=True))
    messages = [USER, *ran(first.message)]
    second = stream(served, messages)
    assert second.message.content == "Once more."
    repeated = stream(served, messages)
    assert [call.id for call in repeated.message.tool_calls] == [call.id for call in second.message.tool_calls]
    served.stop()
    served = serve(ScriptedModel(forecaster, deltas=True))
    third = stream(served, [*messages, *ran(second.message)])
    assert third.message.content == "seen up rain in Ghent rain in Bruges rain in Ypres"
    more = [*messages, *ran(second.message), third.message, {"role": "user", "content": "thanks"}]
    served.stop()
    served = serve(ScriptedModel(forecaster))
    stream(served, more)
    only_session(served)


def test_results_that_no_call_waits_for(serve, client):
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    first = ask(c, [USER]).choices[0].message
    some = ran(first)
    other = {"role": "tool", "tool_call_id": "call_1", "content": "x"}
    for messages in ([USER, *some[:-1]], [USER, first, other], [USER, *some, other]):
        with pytest.raises(openai.BadRequestError):
            ask(c, messages)
    gone = {**some[1], "tool_call_id": some[1]["tool_call_id"].replace("chat_", "other_")}
    with pytest.raises(openai.BadRequestError):
        ask(c, [USER, first, gone])
    assert ask(c, [USER, *some]).choices[0].message.content == "Once more."
    changed = [USER, first, {**some[1], "content": "sun"}, some[2]]
    with pytest.raises(openai.ConflictError):
        ask(c, changed)


def test_a_tool_that_the_agent_has_itself_is_refused(serve, client):
    served = serve(ScriptedModel(lambda _: "yes"))
    tool = {"type": "function", "function": {"name": "look"}}
    with pytest.raises(openai.BadRequestError):
        client(served).chat.completions.create(model="clerk", messages=[USER], tools=[tool])
    tool = {"type": "function", "function": {"name": "no good name"}}
    with pytest.raises(openai.BadRequestError):
        client(served).chat.completions.create(model="clerk", messages=[USER], tools=[tool])


def test_a_cancelled_turn_closes_the_clients_calls(serve, client, wait):
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    first = ask(c, [USER]).choices[0].message
    session = only_session(served)["id"]
    served.post(f"/sessions/{session}/cancel")
    wait(lambda: only_session(served)["phase"] == "idle")
    with pytest.raises(openai.ConflictError):
        ask(c, [USER, *ran(first)])


def test_structured_output(serve, client):
    class City(pydantic.BaseModel):
        city: str

    model = ScriptedModel(by_step(['{"city": "Ghent"}']))
    served = serve(agents=[Agent("clerk", model=model, tools=[look])])
    c = client(served)
    done = c.chat.completions.parse(model="clerk", messages=[USER], response_format=City)
    assert done.choices[0].message.parsed == City(city="Ghent")
    assert model.requests[-1].output_schema["required"] == ["city"]
    text = done.choices[0].message.content
    more = [USER, {"role": "assistant", "content": text}, {"role": "user", "content": "in words"}]
    c.chat.completions.create(model="clerk", messages=more)
    assert model.requests[-1].output_schema is None


@pytest.mark.parametrize("edited", [False, True])
def test_tools_are_gone_once_a_client_does_not_offer_them(serve, client, edited):
    def names(request):
        return " ".join(tool.name for tool in request.tools)

    served = serve(ScriptedModel(names))
    first = ask(client(served), [USER]).choices[0].message
    assert first.content == "look strike weather"
    messages = [USER, first, {"role": "user", "content": "and then?"}]
    if edited:
        ask(client(served), messages)
        messages[-1] = {"role": "user", "content": "something else"}
    served.stop()
    served = serve(ScriptedModel(names))
    more = client(served).chat.completions.create(model="clerk", messages=messages)
    assert more.choices[0].message.content == "look strike"
    assert len(served.get("/sessions")["sessions"]) == 1 + edited


@pytest.mark.parametrize(
    "left",
    [ev.SessionForked(at=2, source="s", position=2), ev.SessionImported(at=2, source="s", format="roost")],
    ids=["fork", "import"],
)
def test_a_fork_and_an_import_have_no_client_that_offers_tools(left):
    offered = ClientOffered(at=1, tools=(OfferedTool("weather"),), answer={"type": "object"})
    state = State()
    for event in (ev.SessionCreated(at=0, agent="clerk", version="1", spec=msgspec.Raw(b"{}")), offered, left):
        apply(state, event)
    part = state.part(ClientToolsState)
    assert (part.tools, part.answer) == ((), None)


def test_the_schema_of_the_answer_counts_in_the_size_of_the_context(serve, client):
    """Else a long schema makes the request longer than the window, and no compaction is due."""
    served = serve(ScriptedModel(lambda _: "{}"))
    schema = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(200)}}
    form = {"type": "json_schema", "json_schema": {"name": "big", "schema": schema}}
    sizes = []
    for more in ({}, {"response_format": form}):
        done = client(served).chat.completions.create(model="clerk", messages=[USER], **more)
        log = served.history(done.id.removeprefix("chatcmpl-").rpartition("-")[0])
        sizes += [e["event"]["context"] for e in log if e["event"]["type"] == "model.started"]
    assert abs(sizes[1] - sizes[0] - len(json.dumps(schema, separators=(",", ":"))) // 4) <= 1


@pytest.mark.parametrize(
    ("choice", "allowed", "mode"),
    [
        ({"type": "function", "function": {"name": "weather"}}, ["weather"], "required"),
        ("required", ["weather", "other"], "required"),
        ("auto", ["look", "strike", "weather", "other"], "auto"),
        ("none", ["look", "strike"], "auto"),
    ],
)
def test_a_tool_that_the_client_demands_is_all_that_the_next_answer_may_call(serve, client, choice, allowed, mode):
    """The answer after it may call any tool again, unless the client demands one again."""
    requests = []

    def model(request):
        requests.append(request)
        return Answer(calls=(Call("weather", {"place": "x"}),)) if mode == "required" and not got(request) else "done"

    def got(request):
        return results(request) and request.tool_choice == "auto"

    served = serve(ScriptedModel(model))
    tools = [TOOL, {"type": "function", "function": {"name": "other"}}]
    messages = [USER]
    for _ in range(2):
        found = client(served).chat.completions.create(
            model="clerk", messages=messages, tools=tools, tool_choice=choice
        )
        assert ([tool.name for tool in requests[-1].tools], requests[-1].tool_choice) == (allowed, mode)
        if mode == "auto":
            return
        messages = [*messages, *ran(found.choices[0].message)]
    client(served).chat.completions.create(model="clerk", messages=messages, tools=tools)
    assert [tool.name for tool in requests[-1].tools] == ["look", "strike", "weather", "other"]
    assert requests[-1].tool_choice == "auto"
    count = len(requests)
    client(served).chat.completions.create(model="clerk", messages=messages, tools=tools)  # sent again
    assert len(requests) == count


def test_a_demanded_tool_that_nobody_offers_is_refused(serve, client):
    c = client(serve())
    for choice in ({"type": "function", "function": {"name": "nothing"}}, {"function": "weather"}, "any"):
        with pytest.raises(openai.BadRequestError, match="tool_choice"):
            c.chat.completions.create(model="clerk", messages=[USER], tools=[TOOL], tool_choice=choice)


@pytest.mark.parametrize("named", [{}, {"roost-session": "mine"}])
def test_a_message_beside_results_is_heard_in_the_same_turn(serve, client, named):
    """The conversation goes on in its session, also from another process, and a repetition asks nothing again."""

    def model(request):
        said = [part.text for m in request.messages if type(m).__name__ == "UserMessage" for part in m.parts]
        got = results(request)
        if len(said) == 1 and not got:
            return Answer(text="I ask.", calls=(Call("weather", {"place": "Ghent"}),))
        return " | ".join((*said, *got))

    def say(messages):
        done = client(served).chat.completions.create(
            model="clerk", messages=messages, tools=[TOOL], extra_headers=named
        )
        return done.choices[0].message, done.usage

    served = serve(ScriptedModel(model))
    first, _ = say([USER])
    beside = [USER, *ran(first), {"role": "user", "content": "be quick"}]
    second, usage = say(beside)
    assert second.content == "what is the weather? | be quick | rain in Ghent"
    session = only_session(served)["id"]
    kinds = [e["event"]["type"] for e in served.history(session)]
    assert (kinds.count("turn.completed"), kinds.count("model.completed"), kinds.count("input.received")) == (1, 2, 2)
    assert usage.prompt_tokens == 100, "the part of the turn before is told already"
    for again in range(2):
        if again:
            served.stop()
            served = serve(ScriptedModel(model))
        repeated, _ = say(beside) if not again else (second, None)
        assert repeated.content == second.content
    third, _ = say([*beside, second, {"role": "user", "content": "thanks"}])
    assert third.content == "what is the weather? | be quick | thanks | rain in Ghent"
    assert only_session(served)["id"] == session
    kinds = [e["event"]["type"] for e in served.history(session)]
    assert (kinds.count("turn.completed"), kinds.count("input.received")) == (2, 3)


def test_a_message_beside_results_of_elsewhere_begins_a_session_that_is_told(serve, client):
    served = serve(ScriptedModel(lambda request: str(len(request.messages))))
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asked = {"role": "assistant", "content": "I ask.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    messages = [USER, asked, result, {"role": "user", "content": "well?"}]
    done = ask(client(served), messages)
    assert done.choices[0].message.content == "1"
    only_session(served)

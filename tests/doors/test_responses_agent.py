"""The Responses API in agent mode, by the official library: a response is a turn of a session."""

from __future__ import annotations

import json
import threading

import openai
import pydantic
import pytest
from tests.doors.test_openai_agent_mode import SLOW, echo, sessions, turns
from tests.doors.test_openai_client_tools import forecaster
from tests.doors.test_responses_gateway import FOREIGN, TOOL
from tests.server.conftest import look, strike

from roost.agent.definition import Agent, Limits
from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

ENDLESS = Answer(text="x" * 100_000, pace=0.05, piece=1)
PLACE = {**TOOL, "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}, "strict": False}


def say(client, text, **more):
    return client.responses.create(model="clerk", input=text, **more)


def session_of(response):
    return response.id.removeprefix("resp_").rpartition("_")[0]


def outputs(response):
    """What a client sends that has run the calls."""
    calls = [item for item in response.output if item.type == "function_call"]
    places = [(call.call_id, json.loads(call.arguments)["place"]) for call in calls]
    return [{"type": "function_call_output", "call_id": id, "output": f"rain in {place}"} for id, place in places]


def test_a_whole_response_is_a_turn_of_a_session(serve, client):
    calls = Answer(text="I look.", thinking="hm", calls=(Call("look", {"what": "it"}),))
    served = serve(ScriptedModel(by_step([calls, "done"])))
    c = client(served)
    done = say(c, "hello", metadata={"a": "b"}, instructions="Be brief.")
    assert [item.type for item in done.output] == ["reasoning", "message", "message"]
    assert [item.phase for item in done.output[1:]] == ["commentary", "final_answer"]
    assert (done.output_text, done.status, done.model) == ("I look.done", "completed", "clerk")
    (turn,) = turns(served, session_of(done))
    assert (done.usage.input_tokens, done.usage.output_tokens) == (turn["usage"]["input"], turn["usage"]["output"])
    again = c.responses.retrieve(done.id)
    assert (again.metadata, again.instructions) == ({"a": "b"}, "Be brief.")
    same = ("id", "output", "usage", "status", "model", "completed_at", "instructions", "metadata", "tools")
    assert all(getattr(again, name) == getattr(done, name) for name in same)
    (item,) = c.responses.input_items.list(done.id).data
    assert (item.role, item.content[0].text) == ("user", "hello")


@pytest.mark.parametrize("deltas", [True, False])
def test_a_stream_says_the_same_in_the_protocols_order(serve, client, deltas):
    looks = Answer(text="I look. äöü 🦉", thinking="hm", calls=(Call("look", {"what": "it"}),), pace=0.005, piece=3)
    served = serve(ScriptedModel(by_step([looks, Answer(text="done and done", piece=4)]), deltas=deltas))
    c = client(served)
    events = list(say(c, "hello", stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    short = [kind for n, kind in enumerate(kinds) if kind != kinds[n - 1]]
    said = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"]
    thought = [f"reasoning_summary_{kind}" for kind in ("part.added", "text.delta", "text.done", "part.done")]
    begin, done = ["created", "in_progress", "output_item.added"], "output_item.done"
    assert short == [*begin, *thought, done, *said, done, *said, done, "completed"]
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    texts = [event.text for event in events if event.type == "response.output_text.done"]
    assert texts == ["I look. äöü 🦉", "done and done"]
    whole = events[-1].response
    assert whole.output == [event.item for event in events if event.type == "response.output_item.done"]
    assert whole.output == c.responses.retrieve(whole.id).output
    replay = list(c.responses.retrieve(whole.id, stream=True))
    assert replay[-1].response.output == whole.output
    assert replay[-1].sequence_number == numbers[-1]


def test_every_number_is_a_place_to_go_on_from(serve, client):
    served = serve(ScriptedModel(lambda _: Answer(text="one two three", thinking="hm hm", piece=4), deltas=True))
    c = client(served)
    events = list(say(c, "hello", stream=True))
    whole = [event.sequence_number for event in events]
    for restarted in (False, True):
        for at, event in enumerate(events[:-1]):
            more = list(c.responses.retrieve(events[-1].response.id, stream=True, starting_after=event.sequence_number))
            assert more[-1].sequence_number == whole[-1]
            assert all(one.sequence_number > event.sequence_number for one in more)
            for kind in ("response.output_text.delta", "response.reasoning_summary_text.delta"):
                texts = [one.delta for one in (*events[: at + 1], *more) if one.type == kind]
                assert "".join(texts) in ("one two three", "hm hm")
        if not restarted:
            served.stop()
            served = serve(ScriptedModel(echo))
            c = client(served)
    for number in (whole[4] ^ 1, whole[-1] + 4096, 2**53):
        last = list(c.responses.retrieve(events[-1].response.id, stream=True, starting_after=number))[-1]
        assert (last.type, last.code) == ("error", "answer_changed")


def test_the_streaming_helper_of_the_library(serve, client):
    class City(pydantic.BaseModel):
        city: str

    looks = Answer(text="I look.", calls=(Call("look", {"what": "it"}),))
    served = serve(ScriptedModel(by_step([looks, Answer(text='{"city": "Ghent"}', piece=4)])))
    c = client(served)
    done = c.responses.parse(model="clerk", input="hi", text_format=City)
    assert done.output_parsed == City(city="Ghent")
    served.stop()
    served = serve(ScriptedModel(lambda _: Answer(text='{"city": "Ghent"}', piece=4), deltas=True))
    with client(served).responses.stream(model="clerk", input="hi there", text_format=City) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.output_text.delta" in kinds
    assert final.output_parsed == City(city="Ghent")
    with client(served).responses.stream(response_id=final.id, text_format=City, starting_after=0) as stream:
        assert stream.get_final_response().output_parsed == City(city="Ghent")


def test_a_conversation_goes_on_from_a_response_and_forks_from_an_older_one(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    two = say(c, "and then?", previous_response_id=one.id)
    three = say(c, "after that?", previous_response_id=two.id)
    assert {session_of(r) for r in (one, two, three)} == {sessions(served)[0]["id"]}
    assert three.output_text.startswith("hello | hello | and then?")
    other = say(c, "left", previous_response_id=one.id)
    assert other.output_text == "hello | hello | left"
    assert session_of(other) != session_of(one)
    served.stop()
    served = serve(ScriptedModel(echo))
    c = client(served)
    more = say(c, "on", previous_response_id=other.id)
    assert session_of(more) == session_of(other)
    assert more.previous_response_id == c.responses.retrieve(more.id).previous_response_id == other.id
    assert c.responses.retrieve(one.id).output_text == "hello"
    assert c.responses.retrieve(one.id).previous_response_id is None
    assert len(sessions(served)) == 2


def test_a_resent_history_goes_on_in_its_session_also_across_both_protocols(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    history = [{"role": "user", "content": "hello"}, *(item.to_dict() for item in one.output)]
    two = say(c, [*history, {"role": "user", "content": "and then?"}])
    assert session_of(two) == session_of(one)
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": one.output_text},
        {"role": "user", "content": "and then?"},
        {"role": "assistant", "content": two.output_text},
        {"role": "user", "content": "after that?"},
    ]
    three = c.chat.completions.create(model="clerk", messages=said)
    assert session_of(one) in three.id


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stateless", [False, True])
def test_tools_of_the_client(serve, client, stream, stateless):
    served = serve(ScriptedModel(forecaster))
    c, tools, history = client(served), [PLACE, *FOREIGN], []

    def step(given, before):
        history.extend(given)
        more = {"input": history} if stateless else {"input": given}
        more |= {"previous_response_id": before.id} if before and not stateless else {}
        if stream:
            with c.responses.stream(model="clerk", tools=tools, **more) as events:
                done = events.get_final_response()
        else:
            done = c.responses.create(model="clerk", tools=tools, **more)
        history.extend(item.to_dict() for item in done.output)
        return done

    first = step([{"role": "user", "content": "what is the weather?"}], None)
    assert [item.type for item in first.output] == ["message", "function_call", "function_call"]
    assert sessions(served)[0]["phase"] == "waiting"
    second = step(outputs(first), first)
    assert [item.type for item in second.output] == ["message", "function_call"]
    served.stop()
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    third = step(outputs(second), second)
    assert third.output_text == "seen up rain in Ghent rain in Bruges rain in Ypres"
    assert len({first.id, second.id, third.id}) == 3
    for one in (first, second, third):
        shown = c.responses.retrieve(one.id)
        assert (shown.usage, shown.status) == (one.usage, one.status)
        assert [(item.id, item.type) for item in shown.output] == [(item.id, item.type) for item in one.output]
        assert shown.output_text == one.output_text
    items = c.responses.input_items.list(second.id, order="asc").data
    assert [item.output for item in items] == ["rain in Ghent", "rain in Bruges"]
    kinds = [e["event"]["type"] for e in served.history(session_of(first))]
    assert (kinds.count("turn.completed"), kinds.count("client.called")) == (1, 3)
    if not stateless:
        with pytest.raises(openai.ConflictError) as refused:
            say(c, "hm", previous_response_id=say(c, "weather", tools=tools).id)
        assert refused.value.code == "turn_open"


def test_work_in_the_background(serve, client, wait):
    def model(request):
        return ENDLESS if request.messages[-1].parts[0].text == "endless" else SLOW

    served = serve(ScriptedModel(model, deltas=True))
    c = client(served)
    begun = say(c, "hello", background=True)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    wait(lambda: c.responses.retrieve(begun.id).status == "completed")
    done = c.responses.retrieve(begun.id)
    assert (done.output_text, done.background) == (SLOW.text, True)
    assert say(c, "hello", background=True).id != begun.id
    other = say(c, "endless", background=True)
    wait(lambda: c.responses.retrieve(other.id).status == "in_progress")
    stopped = c.responses.cancel(other.id)
    assert stopped.status == "cancelled"
    assert c.responses.retrieve(other.id).status == "cancelled"
    assert c.responses.cancel(done.id).status == "completed"


def test_a_stream_that_was_left_is_taken_up_again(serve, client):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    c = client(served)
    stream = say(c, "hello", stream=True, background=True)
    heard = [next(stream) for _ in range(8)]
    stream.close()
    more = list(c.responses.retrieve(heard[0].response.id, stream=True, starting_after=heard[-1].sequence_number))
    deltas = [one.delta for one in (*heard, *more) if one.type == "response.output_text.delta"]
    assert "".join(deltas) == SLOW.text
    assert more[-1].type == "response.completed"
    assert len(turns(served, session_of(heard[0].response))) == 1


def test_repetitions_are_answered_once(serve, client):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    found, clients = [], [client(served) for _ in range(4)]
    threads = [threading.Thread(target=lambda c=c: found.append(say(c, "hello"))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in found}) == 1
    c, key = clients[0], {"extra_headers": {"Idempotency-Key": "k"}}
    assert len({say(c, "more", previous_response_id=found[0].id, **key).id for _ in range(3)}) == 1
    say(c, "other", **key)
    with pytest.raises(openai.ConflictError):
        say(c, "another", **key)
    retry = {"extra_headers": {"x-stainless-retry-count": "1"}}
    again = say(c, "again", previous_response_id=found[0].id)
    assert say(c, "again", previous_response_id=found[0].id, **retry).id == again.id


@pytest.mark.parametrize("stream", [True, False])
def test_a_failed_turn(serve, client, stream):
    served = serve(ScriptedModel(lambda _: Answer(error=ErrorData("context_overflow", "too long"))))
    c = client(served, max_retries=0)
    if stream:
        last = list(say(c, "hello", stream=True))[-1]
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert (last.response.error.code, last.response.error.message) == ("context_length_exceeded", "too long")
        assert c.responses.retrieve(last.response.id).error == last.response.error
    else:
        with pytest.raises(openai.BadRequestError, match="too long") as refused:
            say(c, "hello")
        assert refused.value.code == "context_length_exceeded"


def test_a_limit_ends_the_response_as_incomplete(serve, client):
    model = ScriptedModel(by_step([Answer(text="so far", calls=(Call("look", {"what": "it"}),))] * 3))
    served = serve(agents=[Agent("clerk", model=model, tools=[look], limits=Limits(steps=2))])
    done = say(client(served), "hello")
    assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert list(say(client(served), "hello there", stream=True))[-1].type == "response.incomplete"


def test_media_reach_the_model(serve, client):
    def see(request):
        parts = request.messages[-1].parts
        return " ".join(f"{p.media_type}:{p.name or ''}:{p.data}" for p in parts if hasattr(p, "media_type"))

    served = serve(ScriptedModel(see, profile=Profile(images=True)))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts = [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{pixel}"},
    ]
    c = client(served)
    done = say(c, [{"role": "user", "content": parts}])
    assert done.output_text == f"image/png::{pixel}"
    (item,) = c.responses.input_items.list(done.id).data
    assert item.content[1].image_url == f"data:image/png;base64,{pixel}"


def test_deleting(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    two = say(c, "more", previous_response_id=one.id)
    for id in (one.id, two.id):
        with pytest.raises(openai.ConflictError, match="keeps all of it"):
            c.responses.delete(id)
    other = say(c, "other")
    c.responses.delete(other.id)
    with pytest.raises(openai.NotFoundError):
        c.responses.retrieve(other.id)
    with pytest.raises(openai.NotFoundError):
        say(c, "x", previous_response_id=other.id)
    assert [one["id"] for one in sessions(served)] == [session_of(one)]


def test_tokens_are_estimated(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    small = c.responses.input_tokens.count(model="clerk", input="hello").input_tokens
    large = c.responses.input_tokens.count(model="clerk", input="hello " * 100, tools=[PLACE]).input_tokens
    assert 0 < small < large
    done = say(c, "word " * 1000)
    after = c.responses.input_tokens.count(model="clerk", input="hello", previous_response_id=done.id)
    assert after.input_tokens > large
    with pytest.raises(openai.BadRequestError, match="roost compact"):
        c.responses.compact(model="clerk", input="hello")


def test_a_call_that_waits_for_a_person_goes_on_once_it_is_answered(serve, client, wait):
    model = ScriptedModel(by_step([Answer(text="", calls=(Call("strike", {"what": "it"}, id="c1"),)), "done"]))
    served = serve(agents=[Agent("clerk", model=model, tools=[strike], permissions="workspace")])
    c = client(served)
    begun = say(c, "hello", background=True)
    wait(lambda: [one for one in sessions(served) if one["phase"] == "waiting"])
    assert c.responses.retrieve(begun.id).status == "in_progress"
    served.post(f"/sessions/{session_of(begun)}/approvals/c1", {"decision": "approve"})
    wait(lambda: c.responses.retrieve(begun.id).output_text == "done")


BAD = [
    "resp_",
    "resp_x",
    "resp_no_1",
    "resp_../x_1",
    "resp_a_99999999999999999999",
    "nothing",
    "resp_%00_1",
    "x" * 5000,
]


def test_another_agent_cannot_go_on_from_a_response(serve, client):
    served = serve(agents=[Agent(name, model=ScriptedModel(echo)) for name in ("clerk", "cook")])
    c = client(served)
    one = say(c, "hello")
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="clerk"):
            c.responses.create(model="cook", input="on", previous_response_id=one.id)
        say(c, "on", previous_response_id=one.id)
    assert len(sessions(served)) == 2


@pytest.mark.parametrize("id", BAD)
def test_ids_that_no_response_has(serve, id):
    served = serve()
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        answer = served.request(method, f"/v1/responses/{id}{path}")
        assert answer.status == 404, (method, path, answer)
        assert answer.json["error"]["code"] in ("response_not_found", "not_found")
    refused = served.post("/v1/responses", {"model": "clerk", "input": "x", "previous_response_id": id})
    assert refused.status == 404
    assert sessions(served) == []


WRONG = [
    {"input": " "},
    {"input": []},
    {"input": [{"role": "user", "content": "x"}] * 20_001},
    {"tools": [{"type": "function", "name": "look"}]},
    {"metadata": {"roost-session": "no/name"}},
    {"conversation": 5},
    {"conversation": {"id": 5}},
    {"conversation": "conv_1", "previous_response_id": "resp_a_1"},
    {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
    {"input": [{"type": "function_call_output", "call_id": "S/²/b", "output": "x"}]},
    {"input": [{"type": "function_call_output", "call_id": "a/" + "9" * 5000 + "/b", "output": "x"}]},
    {"input": [{"type": "function_call", "call_id": "a/1/b", "name": "w", "arguments": "{}"}]},
    {"text": {"format": 5}},
]


@pytest.mark.parametrize("stream", [True, False])
def test_bad_input_is_refused_in_the_protocols_shape(serve, stream):
    served = serve()
    for body in WRONG:
        answer = served.post("/v1/responses", {"model": "clerk", "input": "x", "stream": stream} | body)
        assert answer.status == 400, (body, answer)
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    big = {"model": "clerk", "input": "x" * (2 << 20)}
    assert served.post("/v1/responses", big).status == 413
    assert sessions(served) == []
    done = served.post("/v1/responses", {"model": "clerk", "input": "x"}).json["id"]
    for query in ("stream=true&starting_after=x", "stream=true&starting_after=-1"):
        assert served.request("GET", f"/v1/responses/{done}?{query}").status == 400
    for query in ("limit=0", "limit=x", "order=up", "after=nothing"):
        assert served.request("GET", f"/v1/responses/{done}/input_items?{query}").status == 400


async def test_the_asynchronous_client(serve):
    served = serve(ScriptedModel(echo, deltas=True))
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.token) as c:
        async with c.responses.stream(model="clerk", input="hello") as stream:
            texts = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            done = await stream.get_final_response()
        assert "".join(texts) == done.output_text == "hello"
        more = await c.responses.create(model="clerk", input="on", previous_response_id=done.id)
    assert more.output_text == "hello | hello | on"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}, "none", "auto"])
def test_the_choice_of_a_tool_reaches_the_agent(serve, client, choice):
    model = ScriptedModel(by_step(["yes"]))
    served = serve(model)
    other = {**PLACE, "name": "time"}
    say(client(served), "hello", tools=[PLACE, other], tool_choice=choice)
    names = [tool.name for tool in model.requests[-1].tools]
    expected = {
        "required": ["weather", "time"],
        "none": ["look", "strike"],
        "auto": ["look", "strike", "weather", "time"],
    }
    assert names == (expected[choice] if isinstance(choice, str) else ["weather"])
    forced = not isinstance(choice, str) or choice == "required"
    assert model.requests[-1].tool_choice == ("required" if forced else "auto")

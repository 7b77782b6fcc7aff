"""Agent mode by the official library: a conversation is a session, an answer a turn."""

from __future__ import annotations

import asyncio
import json
import threading

import openai
import pytest
from tests.server.conftest import look, strike

from roost.agent.definition import Agent, Limits
from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

SLOW = Answer(text="slow answer " * 20, pace=0.02, piece=10)


def echo(request):
    """Say what the model sees."""
    said = ["".join(p.text for p in m.parts if hasattr(p, "text")) for m in request.messages]
    return Answer(text=" | ".join(said))


def say(client, *messages, **more):
    given = [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(messages)]
    return client.chat.completions.create(model="clerk", messages=given, **more)


def text(completion):
    return completion.choices[0].message.content


def session_of(completion):
    return completion.id.removeprefix("chatcmpl-").rpartition("-")[0]


def turns(served, session):
    return [e["event"] for e in served.history(session) if e["event"]["type"] == "turn.completed"]


def sessions(served):
    return served.get("/sessions")["sessions"]


def test_agents_and_models_are_listed(serve, client):
    served = serve()
    listed = client(served).models.list().data
    assert next((one.id, one.owned_by) for one in listed) == ("clerk", "roost:agent")
    assert client(served).models.retrieve("clerk").id == "clerk"
    with pytest.raises(openai.NotFoundError) as refused:
        client(served).models.retrieve("openai/nothing")
    assert refused.value.code == "model_not_found"


def test_a_whole_answer_is_a_turn_of_a_session(serve, client):
    served = serve(ScriptedModel(by_step([Answer(text="I look.", calls=(Call("look", {"what": "it"}),)), "done"])))
    done = say(client(served), "hello")
    assert (text(done), done.choices[0].finish_reason, done.model) == ("I look.\n\ndone", "stop", "clerk")
    (turn,) = turns(served, session_of(done))
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (turn["usage"]["input"], turn["usage"]["output"])
    assert done.usage.prompt_tokens == 200


@pytest.mark.parametrize("deltas", [True, False])
def test_a_streamed_answer_says_the_same(serve, client, deltas):
    look = Answer(text="I look. äöü 🦉", thinking="hm", calls=(Call("look", {"what": "it"}),), pace=0.005, piece=3)
    served = serve(ScriptedModel(by_step([look, Answer(text="done and done", piece=4)]), deltas=deltas))
    chunks = list(say(client(served), "hello", stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == "I look. äöü 🦉\n\ndone and done"
    thought = "".join(getattr(c.choices[0].delta, "reasoning_content", "") for c in chunks if c.choices)
    assert thought == "hm"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 240
    assert len({c.id for c in chunks}) == 1


def test_the_streaming_helper_of_the_library(serve, client):
    served = serve(ScriptedModel(lambda _: Answer(text="one two three", piece=4), deltas=True))
    messages = [{"role": "user", "content": "hi"}]
    with client(served).chat.completions.stream(model="clerk", messages=messages) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert text(final) == "one two three"


def test_a_conversation_goes_on_in_its_session(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    two = say(c, "hello", text(one), "and then?")
    three = say(c, "hello", text(one), "and then?", text(two), "after that?")
    assert {session_of(one), session_of(two), session_of(three)} == {sessions(served)[0]["id"]}
    assert text(two) == "hello | hello | and then?"
    assert len(turns(served, session_of(one))) == 3


def test_a_conversation_goes_on_after_a_restart_though_the_client_trims_texts(serve, client, tmp_path):
    answer = Answer(text="  an answer\n\nin two parts \n")
    served = serve(ScriptedModel(lambda _: answer))
    one = say(client(served), " hello ")
    served.stop()
    served = serve(ScriptedModel(lambda _: answer))
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "an answer in two parts"}]},
        {"role": "user", "content": "and then?"},
    ]
    two = client(served).chat.completions.create(model="clerk", messages=messages)
    assert session_of(two) == session_of(one)


def test_another_answer_or_an_edited_message_forks(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    two = say(c, "hello", text(one), "left")
    again = say(c, "hello", text(one), "left")
    edited = say(c, "hello", text(one), "right")
    assert len({session_of(one), session_of(again), session_of(edited)}) == 3
    assert session_of(two) == session_of(one)
    assert text(edited) == "hello | hello | right"  # what was said after the fork is unknown to it
    more = say(c, "hello", text(one), "right", text(edited), "on")
    assert session_of(more) == session_of(edited)
    assert len(turns(served, session_of(one))) == 2


def test_a_fork_is_found_after_a_restart(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello")
    say(c, "hello", text(one), "left")
    right = say(c, "hello", text(one), "right")
    served.stop()
    served = serve(ScriptedModel(echo))
    c = client(served)
    more = say(c, "hello", text(one), "right", text(right), "on")
    assert session_of(more) == session_of(right)
    third = say(c, "hello", text(one), "middle")
    assert session_of(third) not in {session_of(one), session_of(right)}
    assert text(third) == "hello | hello | middle"


def test_a_history_from_elsewhere_is_told_to_a_new_session(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "who are you?", "I am another program.", "go on")
    assert "User: who are you?\nYou: I am another program.\n" in text(one)
    two = say(c, "who are you?", "I am another program.", "go on", text(one), "and then?")
    assert session_of(two) == session_of(one)
    served.stop()
    served = serve(ScriptedModel(lambda _: "yes"))
    said = ("who are you?", "I am another program.", "go on", text(one), "and then?", text(two), "so")
    assert session_of(say(client(served), *said)) == session_of(one)


def test_the_same_first_message_begins_another_conversation(serve, client):
    served = serve()
    c = client(served)
    first = [session_of(say(c, "hello")) for _ in range(3)]
    assert len(set(first)) == 3
    assert session_of(say(c, "hello", user="ann")) not in first


def test_a_named_session_goes_on_whatever_the_history_says(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    one = say(c, "hello", extra_headers={"roost-session": "mine"})
    two = say(c, "and then?", metadata={"roost-session": "mine"})
    assert session_of(one) == session_of(two) == "mine"
    assert text(two) == "hello | hello | and then?"
    with pytest.raises(openai.BadRequestError):
        say(c, "hello", extra_headers={"roost-session": "no/name"})


def test_the_system_message_is_added_to_the_instructions(serve, client):
    served = serve(ScriptedModel(lambda request: request.instruction[-30:]))
    system = {"role": "system", "content": "Answer in verse."}
    user = {"role": "user", "content": "hi"}
    c = client(served)
    one = c.chat.completions.create(model="clerk", messages=[system, user])
    assert text(one).endswith("Answer in verse.")
    system["content"] = "Answer in prose."
    more = [system, user, {"role": "assistant", "content": text(one)}, user]
    two = c.chat.completions.create(model="clerk", messages=more)
    assert text(two).endswith("Answer in prose.")
    assert session_of(two) == session_of(one)


def test_an_image_reaches_the_model(serve, client):
    def see(request):
        return " ".join(f"{p.media_type}:{p.data}" for p in request.messages[-1].parts if hasattr(p, "media_type"))

    served = serve(ScriptedModel(see, profile=Profile(images=True)))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
    ]
    c = client(served)
    one = c.chat.completions.create(model="clerk", messages=[{"role": "user", "content": parts}])
    assert text(one) == f"image/png:{pixel}"


def test_a_repeated_request_gets_the_same_turn(serve, client):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    answers = []
    clients = [client(served) for _ in range(6)]
    threads = [threading.Thread(target=lambda c=c: answers.append(say(c, "hello"))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in answers}) == 1
    assert {text(one) for one in answers} == {SLOW.text}
    assert len(sessions(served)) == 1


def test_an_idempotency_key_gets_its_answer_however_often(serve, client):
    served = serve()
    c = client(served)
    ids = {say(c, "hello", extra_headers={"Idempotency-Key": "k"}).id for _ in range(3)}
    assert len(ids) == 1
    with pytest.raises(openai.ConflictError) as refused:
        say(c, "other", extra_headers={"Idempotency-Key": "k"})
    assert refused.value.code == "idempotency_mismatch"
    more = {say(c, "hello", "yes", "more", extra_headers={"Idempotency-Key": "l"}).id for _ in range(3)}
    assert len(more) == 1


def test_a_client_that_leaves_stops_nothing_and_comes_back(serve, client, wait):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    c = client(served)
    stream = say(c, "hello", stream=True)
    heard = [next(iter(stream)) for _ in range(4)]
    stream.close()
    again = "".join(chunk.choices[0].delta.content or "" for chunk in say(c, "hello", stream=True))
    assert again == SLOW.text
    assert len(sessions(served)) == 1
    assert len(turns(served, sessions(served)[0]["id"])) == 1
    assert heard[0].id.startswith("chatcmpl-")


@pytest.mark.parametrize("stream", [True, False])
def test_a_failed_turn_is_an_error_in_the_protocols_shape(serve, client, stream):
    served = serve(ScriptedModel(lambda _: Answer(error=ErrorData("context_overflow", "too long"))))
    with pytest.raises(openai.APIError) as refused:
        list(say(client(served, max_retries=0), "hello", stream=stream))
    assert "too long" in str(refused.value)
    assert refused.value.code == "context_length_exceeded"


def test_a_limit_ends_the_answer_as_length(serve, client):
    model = ScriptedModel(by_step([Answer(text="so far", calls=(Call("look", {"what": "it"}),))] * 3))
    served = serve(agents=[Agent("clerk", model=model, tools=[look], limits=Limits(steps=2))])
    done = say(client(served), "hello")
    assert done.choices[0].finish_reason == "length"
    assert text(done) == "so far\n\nso far"


@pytest.mark.parametrize("name", [5, {"a": 1}])
def test_a_file_name_that_is_no_text_is_refused(serve, client, name):
    served = serve()
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,aGVsbG8=", "filename": name}}
    with pytest.raises(openai.BadRequestError, match="filename"):
        client(served).chat.completions.create(model="clerk", messages=[{"role": "user", "content": [file]}])
    assert sessions(served) == []


def test_a_call_that_waits_for_a_person_goes_on_once_it_is_answered(serve, client, wait):
    model = ScriptedModel(by_step([Answer(text="", calls=(Call("strike", {"what": "it"}, id="c1"),)), "done"]))
    served = serve(agents=[Agent("clerk", model=model, tools=[strike], permissions="workspace")])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(say(client(served), "hello")))
    thread.start()
    wait(lambda: [one for one in sessions(served) if one["phase"] == "waiting"])
    session = sessions(served)[0]["id"]
    served.post(f"/sessions/{session}/approvals/c1", {"decision": "approve"})
    thread.join()
    assert text(answers[0]) == "done"


async def test_the_asynchronous_client(serve):
    served = serve(ScriptedModel(echo, deltas=True))
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.token) as c:

        async def one(number):
            messages = [{"role": "user", "content": f"hello {number}"}]
            stream = await c.chat.completions.create(model="clerk", messages=messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        assert await asyncio.gather(*map(one, range(20))) == [f"hello {n}" for n in range(20)]
    assert len(sessions(served)) == 20


BAD = [
    (b"", 400, "invalid_json"),
    (b"{", 400, "invalid_json"),
    (b"[]", 400, "invalid"),
    (b'"\xff"', 400, "invalid"),
    (b'{"model": "clerk"}', 400, "invalid"),
    (b'{"model": "clerk", "messages": []}', 400, "invalid"),
    (b'{"model": "clerk", "messages": [{"role": "user"}]}', 400, "invalid"),
    (b'{"model": "clerk", "messages": [{"role": "user", "content": " "}]}', 400, "empty_message"),
    (b'{"model": "clerk", "messages": [{"role": "king", "content": "x"}]}', 400, "invalid"),
    (b'{"model": "clerk", "messages": [{"role": "user", "content": [{"type": "smell"}]}]}', 400, "invalid"),
    (b'{"model": "clerk", "messages": [{"role": "user", "content": "x"}], "n": 2}', 400, "invalid"),
    (
        b'{"model": "clerk", "messages": [{"role": "user", "content": "x"}], "metadata": {"roost-session": 1}}',
        400,
        None,
    ),
    (b'{"model": "clerk", "messages": [{"role": "assistant", "content": "x"}]}', 400, "invalid"),
    (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404, "unknown_model"),
    (b"[" * 100_000, 400, None),
    (b'{"model": "clerk", "messages": [{"role": "user", "content": "' + b"x" * (2 << 20) + b'"}]}', 413, "too_large"),
    (b" " * (17 << 20), 413, "too_large"),
]


def test_bad_input_is_refused_in_the_protocols_shape(serve):
    served = serve()
    for body, status, code in BAD:
        answer = served.request("POST", "/v1/chat/completions", raw=body)
        error = json.loads(answer.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}, body[:80]
        expected = {"unknown_model": "model_not_found"}.get(code, code)
        assert (answer.status, error["code"]) == (status, expected or error["code"]), (body[:80], error)
    assert sessions(served) == []
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 400)):
        answer = served.request(method, path)
        assert (answer.status, json.loads(answer.body)["error"]["type"]) == (status, "invalid_request_error")
    assert served.request("GET", "/nothing").code == "not_found"


def test_the_token_comes_as_a_bearer_or_as_an_api_key(serve):
    served = serve()
    for headers, status in (
        ({"authorization": f"Bearer {served.token}"}, 200),
        ({"x-api-key": served.token}, 200),
        ({"x-api-key": "wrong"}, 401),
        ({}, 401),
    ):
        connection = served.connect()
        connection.request("GET", "/v1/models", headers=headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == status
        assert status == 200 or body["error"]["code"] == "invalid_api_key"
        connection.close()
    connection = served.connect()
    connection.request("GET", "/sessions", headers={"x-api-key": served.token})
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing"])
def test_an_unknown_path_is_refused_in_the_protocols_shape(serve, path):
    refused = serve().request("GET", path)
    assert (refused.status, refused.json["error"]["code"]) == (404, "not_found")

"""Conversations of OpenAI's API, by the official library: a conversation is a session."""

from __future__ import annotations

import json

import openai
import pytest
from tests.doors.test_openai_agent_mode import echo, sessions, turns
from tests.doors.test_openai_client_tools import forecaster
from tests.doors.test_responses_agent import PLACE, outputs, say

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, ScriptedModel


def test_a_conversation_goes_on_in_its_session(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    conversation = c.conversations.create(metadata={"topic": "demo"})
    one = say(c, "hello", conversation=conversation.id)
    two = say(c, "and then?", conversation={"id": conversation.id}, stream=True)
    assert list(two)[-1].response.output_text == "hello | hello | and then?"
    assert one.conversation.id == c.responses.retrieve(one.id).conversation.id == conversation.id
    assert [s["id"] for s in sessions(served)] == [conversation.id]
    assert len(turns(served, conversation.id)) == 2
    served.stop()
    served = serve(ScriptedModel(echo))
    c = client(served)
    assert c.conversations.retrieve(conversation.id) == conversation
    assert c.conversations.update(conversation.id, metadata={"topic": "new"}).metadata == {"topic": "new"}
    assert c.conversations.retrieve(conversation.id).metadata == {"topic": "new"}
    items = c.conversations.items.list(conversation.id, order="asc").data
    texts = [(item.role, item.content[0].text) for item in items]
    said = [
        ("user", "hello"),
        ("assistant", "hello"),
        ("user", "and then?"),
        ("assistant", "hello | hello | and then?"),
    ]
    assert texts == said
    assert items[1].id == one.output[0].id
    assert c.conversations.items.retrieve(items[2].id, conversation_id=conversation.id) == items[2]
    paged = [item.id for item in c.conversations.items.list(conversation.id, limit=1)]
    assert paged == [item.id for item in reversed(items)]
    with pytest.raises(openai.ConflictError, match="rollback"):
        c.conversations.items.delete(items[0].id, conversation_id=conversation.id)
    with pytest.raises(openai.ConflictError):
        c.responses.delete(one.id)
    assert c.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        c.conversations.retrieve(conversation.id)
    assert sessions(served) == []


def test_added_items_are_told_once(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    first = [{"role": "user", "content": "My name is Ann."}, {"role": "assistant", "content": "Hello Ann."}]
    conversation = c.conversations.create(items=first)
    more = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "I like rain."}]}]
    added = c.conversations.items.create(conversation.id, items=more)
    wrong = c.conversations.items.create(conversation.id, items=[{"role": "user", "content": "WRONG"}]).data[0]
    c.conversations.items.delete(wrong.id, conversation_id=conversation.id)
    listed = c.conversations.items.list(conversation.id, order="asc").data
    assert [item.content[0].text for item in listed] == ["My name is Ann.", "Hello Ann.", "I like rain."]
    assert listed[-1].id == added.data[0].id
    one = say(c, "who am I?", conversation=conversation.id)
    assert "User: My name is Ann.\nYou: Hello Ann.\nUser: I like rain.\n" in one.output_text
    assert "WRONG" not in one.output_text
    assert say(c, "and?", conversation=conversation.id).output_text.count("Ann.\nYou") == 2  # the echo of the echo
    texts = [item.content[0].text for item in c.conversations.items.list(conversation.id, order="asc").data]
    assert texts[3] == "who am I?"
    assert len(texts) == 7
    with pytest.raises(openai.ConflictError):
        c.conversations.items.delete(listed[0].id, conversation_id=conversation.id)


def test_a_conversation_goes_to_the_agent_that_is_asked_first(serve, client):
    agents = [Agent(name, model=ScriptedModel(lambda _, name=name: name)) for name in ("clerk", "cook")]
    served = serve(agents=agents)
    c = client(served)
    conversation = c.conversations.create(items=[{"role": "user", "content": "hi"}])
    for _ in range(2):
        done = c.responses.create(model="cook", input="x", conversation=conversation.id)
        assert (done.output_text, done.conversation.id) == ("cook", conversation.id)
    assert c.responses.retrieve(done.id).conversation.id == conversation.id
    with pytest.raises(openai.BadRequestError, match="cook"):
        c.responses.create(model="clerk", input="x", conversation=conversation.id)
    assert len(c.conversations.items.list(conversation.id).data) == 5
    assert len(sessions(served)) == 2
    c.conversations.delete(conversation.id)
    assert sessions(served) == []


def test_tools_of_the_client_in_a_conversation(serve, client):
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    conversation = c.conversations.create()
    more = {"tools": [PLACE], "conversation": conversation.id}
    first = say(c, "the weather?", **more)
    with pytest.raises(openai.ConflictError) as refused:
        say(c, "something else", **more)
    assert refused.value.code == "calls_wait"
    second = say(c, outputs(first), **more)
    third = say(c, outputs(second), **more)
    assert third.output_text == "seen up rain in Ghent rain in Bruges rain in Ypres"
    items = c.conversations.items.list(conversation.id, order="asc").data
    call, output = "function_call", "function_call_output"
    kinds = ["message", "message", call, call, output, output, "message", call, output, "message"]
    assert [item.type for item in items] == kinds
    ids = [item.id for response in (first, second, third) for item in response.output]
    assert [item.id for item in items if item.type != output][1:] == ids
    for item in items:
        assert c.conversations.items.retrieve(item.id, conversation_id=conversation.id) == item


def test_any_session_is_a_conversation(serve, client):
    served = serve(ScriptedModel(echo))
    session = served.session()
    served.say(session, "hello")
    c = client(served)
    assert say(c, "on", conversation=session).output_text == "hello | hello | on"
    assert len(c.conversations.items.list(session).data) == 4


def test_the_same_words_twice_are_two_turns(serve, client):
    served = serve(ScriptedModel(lambda _: Answer(text="yes")))
    c = client(served)
    conversation = c.conversations.create().id
    found = [say(c, "continue", conversation=conversation).id for _ in range(2)]
    found.append(say(c, "continue", conversation=conversation, metadata={"a": "b"}).id)
    assert len(set(found)) == 3
    retry = {"x-stainless-retry-count": "1"}
    assert say(c, "continue", conversation=conversation, metadata={"a": "b"}, extra_headers=retry).id == found[2]
    made = {c.conversations.create(extra_headers={"Idempotency-Key": "k"}, items=[]).id for _ in range(2)}
    assert len(made) == 1


WRONG = [
    ("POST", "", {"items": 5}, 400),
    ("POST", "", {"items": [{"type": "smell"}]}, 400),
    ("POST", "", {"items": [{"role": "user", "content": "x"}] * 21}, 400),
    ("POST", "", {"metadata": {"a": 5}}, 400),
    ("POST", "", {"metadata": {"a": "x" * 513}}, 400),
    ("POST", "", {"metadata": {str(n): "x" for n in range(17)}}, 400),
    ("GET", "/nothing", None, 404),
    ("GET", "/no%2Fname", None, 404),
    ("POST", "/nothing", {"metadata": {}}, 404),
    ("DELETE", "/nothing", None, 404),
    ("GET", "/nothing/items", None, 404),
    ("POST", "/nothing/items", {"items": [{"role": "user", "content": "x"}]}, 404),
    ("GET", "/nothing/items/x", None, 404),
    ("DELETE", "/nothing/items/x", None, 404),
    ("PUT", "/nothing", {}, 404),
]


def test_bad_input_is_refused_in_the_protocols_shape(serve):
    served = serve()
    for method, path, body, status in WRONG:
        answer = served.request(method, f"/v1/conversations{path}", body)
        assert (answer.status, set(answer.json["error"])) == (status, {"message", "type", "param", "code"}), (
            path,
            body,
        )
    assert sessions(served) == []
    refused = served.post("/v1/responses", {"model": "clerk", "input": "x", "conversation": "conv_nothing"})
    assert (refused.status, refused.json["error"]["code"]) == (404, "conversation_not_found")
    made = json.loads(served.request("POST", "/v1/conversations", raw=b"").body)["id"]
    for method, path, body, status in (
        ("POST", "/items", {}, 400),
        ("POST", "/items", {"items": []}, 400),
        ("POST", "/items", {"items": [{"role": "user", "content": [{"type": "smell"}]}]}, 400),
        ("GET", "/items/nothing", None, 404),
        ("DELETE", "/items/nothing", None, 404),
        ("GET", "/items?after=x", None, 400),
    ):
        assert served.request(method, f"/v1/conversations/{made}{path}", body).status == status, path
    assert served.request("GET", f"/v1/conversations/{made}/items").json["data"] == []

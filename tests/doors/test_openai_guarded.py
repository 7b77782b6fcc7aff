"""What clients of Roost's own API, late retries and wrong names cannot do to the sessions of OpenAI's clients."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import openai
import pytest
from tests.doors.test_agui import run, said
from tests.doors.test_openai_agent_mode import echo, text, turns
from tests.doors.test_openai_client_tools import TOOL, USER, forecaster, ran
from tests.doors.test_responses_agent import ENDLESS

from roost.agent.definition import Agent
from roost.doors.openai.conversation_log import Conversations
from roost.testing.scripted import Answer, ScriptedModel

MINE = {"roost-session": "mine"}


def tool_names(request):
    return Answer(text=",".join(tool.name for tool in request.tools))


def chat(client, messages, **more):
    messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return client.chat.completions.create(model="clerk", messages=messages, **more)


def in_process(served, work):
    """Do what an embedded program can."""
    return asyncio.run_coroutine_threadsafe(work, served.loop).result(60)


@pytest.mark.parametrize("source", ["openai:named#m#zz", "openai#m#" + "ab" * 12, "#"])
def test_a_client_cannot_write_the_source_of_a_door(serve, source):
    served = serve(ScriptedModel(echo))
    session = served.session()
    body = {"text": "x", "source": source}
    for headers in ({}, {"Accept": "text/event-stream"}):
        refused = served.post(f"/sessions/{session}/messages", body, **headers)
        assert (refused.status, refused.code) == (422, "invalid")
    assert served.get(f"/sessions/{session}")["info"]["pending"] == 0
    assert served.post(f"/sessions/{session}/messages", {"text": "x", "source": "mail"}).status == 202


@pytest.mark.parametrize("name", ["openai.items", "openai.request", "a2a.anything"])
def test_a_client_cannot_emit_the_events_of_a_door(serve, name):
    served = serve()
    session = served.session()
    refused = served.post(f"/sessions/{session}/emit", {"name": name, "data": {}})
    assert (refused.status, refused.code) == (422, "invalid")
    assert served.post(f"/sessions/{session}/emit", {"name": "openai-like", "data": {}}).status == 202


def test_logs_that_hold_such_things_stay_readable(serve, client):
    served = serve(ScriptedModel(echo))
    c, sessions = client(served), served.daemon._runtime.sessions
    conversation = c.conversations.create(metadata={"a": "b"}, items=[{"role": "user", "content": "kept"}])
    id = conversation.id
    said = c.responses.create(model="clerk", input="hello", conversation=id)
    for source in ("openai:named#m#zz", "openai#m#zz", "openai#m#" + "ab" * 12):
        in_process(served, sessions.send(id, "mail", source=source))
    items = [{}, 1, {"id": 1}, {"id": "a", "type": "wizard"}, {"id": "b", "role": "user", "content": 5}]
    for name in ("items", "item_removed", "conversation", "request"):
        for data in ({}, 1, {"items": items, "id": 2, "metadata": 3, "custom": 4}, {"items": 5, "id": "x"}):
            in_process(served, sessions.emit(id, f"openai.{name}", data))
    assert c.conversations.retrieve(id).metadata == {"a": "b"}
    assert c.responses.retrieve(said.id).output_text == said.output_text
    texts = [item.content[0].text for item in c.conversations.items.list(id, order="asc").data]
    assert texts[:2] == ["kept", "hello"]
    assert "mail" in texts
    assert "hello" in c.responses.create(model="clerk", input="more", conversation=id).output_text
    assert "hello" in text(chat(c, "more", extra_headers={"roost-session": id}))


def test_a_late_retry_does_not_move_a_running_turn_to_its_instructions(serve, client, wait):
    def model(request):
        return ENDLESS if "Two." in request.instruction else Answer(text="done")

    def ask(name, **more):
        messages = [{"role": "system", "content": f"{name}."}, {"role": "user", "content": name}]
        return chat(c, messages, extra_headers={**MINE, **more})

    served = serve(ScriptedModel(model))
    c = client(served, max_retries=0)
    assert text(ask("One")) == "done"

    def cancelled():
        with contextlib.suppress(openai.APIError):
            ask("Two")

    two = threading.Thread(target=cancelled)
    two.start()
    wait(lambda: [e["event"]["type"] for e in served.history("mine")].count("input.received") == 2)
    try:
        version = served.get("/sessions/mine")["info"]["version"]
        assert text(ask("One", **{"x-stainless-retry-count": "1"})) == "done"
        with pytest.raises(openai.ConflictError) as refused:
            ask("Three")
        assert refused.value.code == "turn_open"
        assert served.get("/sessions/mine")["info"]["version"] == version
        assert len(turns(served, "mine")) == 1
    finally:
        assert served.post("/sessions/mine/cancel").status < 300
        two.join()


def test_tools_are_offered_again_where_they_are_gone(serve, client):
    """Another door changed them, or the session was deleted and made again."""
    served = serve(ScriptedModel(tool_names))
    c = client(served)
    for n in range(2):
        assert "weather" in text(chat(c, f"one {n}", tools=[TOOL], extra_headers=MINE))
        assert run(served, said(threadId="mine", runId=f"r{n}"))[-1]["type"] == "RUN_FINISHED"
        assert "weather" in text(chat(c, f"two {n}", tools=[TOOL], extra_headers=MINE))
        assert "weather" not in text(chat(c, f"three {n}", extra_headers=MINE))
        assert "weather" in text(chat(c, f"four {n}", tools=[TOOL], extra_headers=MINE))
        assert served.request("DELETE", "/sessions/mine").status == 204
    first = chat(c, "unnamed", tools=[TOOL])
    session = first.id.removeprefix("chatcmpl-").rpartition("-")[0]
    assert served.request("DELETE", f"/sessions/{session}").status == 204
    assert "weather" in text(chat(c, "unnamed", tools=[TOOL]))


def test_a_response_of_a_session_that_another_agents_has_replaced(serve, client):
    served = serve(agents=[Agent(name, model=ScriptedModel(echo)) for name in ("clerk", "cook")])
    c = client(served)
    one = c.responses.create(model="clerk", input="one", extra_headers=MINE)
    c.responses.create(model="clerk", input="two", previous_response_id=one.id)
    assert served.request("DELETE", "/sessions/mine").status == 204
    served.session("cook", id="mine")
    served.say("mine", "hello")
    with pytest.raises(openai.BadRequestError, match="cook"):
        c.responses.create(model="clerk", input="three", previous_response_id=one.id)


def test_only_what_this_door_made_is_deleted_through_it(serve, client):
    served = serve(ScriptedModel(echo))
    c = client(served)
    session = served.session()
    for name in (session, f"{session}.s"):
        if name != session:
            served.session(id=name)
        served.say(name, "hello")
    with pytest.raises(openai.APIStatusError) as refused:
        c.conversations.delete(session)
    assert refused.value.code == "invalid"
    item = served.history(session)[1]["event"].get("input", 1)
    for way in (c.responses.delete, c.responses.retrieve, c.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            way(f"resp_{session}_{item}")
    other = served.session()
    done = c.responses.create(model="clerk", input="x", extra_headers={"roost-session": other})
    with pytest.raises(openai.ConflictError):
        c.responses.delete(done.id)
    assert {one["id"] for one in served.get("/sessions")["sessions"]} == {session, f"{session}.s", other}


def test_a_keyed_conversation_gets_its_items_after_a_crash(serve, client, monkeypatch):
    served = serve(ScriptedModel(echo))
    c = client(served, max_retries=0)
    body = {"metadata": {"a": "b"}, "items": [{"role": "user", "content": text} for text in ("one", "two")]}
    key = {"extra_headers": {"Idempotency-Key": "k"}}

    async def crash(*_, **__):
        raise RuntimeError("crashed")

    with monkeypatch.context() as patched:
        patched.setattr(Conversations, "add", crash)
        with pytest.raises(openai.InternalServerError):
            c.conversations.create(**body, **key)
    made = [c.conversations.create(**body, **key) for _ in range(2)]
    assert made[0].id == made[1].id
    assert [item.content[0].text for item in c.conversations.items.list(made[0].id, order="asc").data] == ["one", "two"]
    for other in ({"items": body["items"]}, {"metadata": body["metadata"]}, {**body, "items": body["items"][:1]}):
        with pytest.raises(openai.ConflictError):
            c.conversations.create(**other, **key)


@pytest.mark.parametrize("more", [[], [{"role": "user", "content": "be quick"}]])
def test_results_of_another_session_than_the_named_one_are_refused(serve, client, more):
    served = serve(ScriptedModel(forecaster))
    c = client(served)
    first = chat(c, [USER], tools=[TOOL], extra_headers=MINE)
    messages = [USER, *ran(first.choices[0].message), *more]
    with pytest.raises(openai.BadRequestError, match="yours"):
        chat(c, messages, tools=[TOOL], extra_headers={"roost-session": "yours"})
    assert chat(c, messages, tools=[TOOL], extra_headers=MINE).choices[0].message.content

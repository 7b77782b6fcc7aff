"""Responses over a kill of the daemon, and at any node: their clients go on by the protocol's own means."""

from __future__ import annotations

import httpx2
import openai
import pytest
from tests.doors.test_openai_agent_mode import SLOW, echo, sessions
from tests.doors.test_openai_killed import LONG, node
from tests.doors.test_responses_agent import ENDLESS, say

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel

__all__ = ["node"]


def texts(events):
    """The text that each item got by its deltas."""
    found = {}
    for event in events:
        if event.type == "response.output_text.delta":
            found[event.item_id] = found.get(event.item_id, "") + event.delta
    return list(found.values())


def cut_off(node, stream):
    """Hear a stream, and kill the node in the middle of it."""
    heard = []

    def listen():
        for event in stream:
            heard.append(event)
            if len("".join(texts(heard))) > 60 and node.process.returncode is None:
                node.kill()

    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        listen()
    return heard


def test_a_stream_that_a_kill_cut_off_is_taken_up_where_it_was(node, wait):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{node.port}/v1", api_key=node.token, max_retries=0) as client:
        more = {"model": "marker", "input": "mark it", "background": True, "stream": True}
        heard = cut_off(node, client.responses.create(**more, metadata={"a": "b"}))
        id, last = heard[0].response.id, heard[-1].sequence_number
        node.up()
        rest = list(client.responses.retrieve(id, stream=True, starting_after=last))
        assert texts([*heard, *rest]) == ["I mark.", LONG]
        assert rest[0].sequence_number > last
        done = rest[-1].response
        assert (rest[-1].type, done.metadata) == ("response.completed", {"a": "b"})
        assert node.marks.read_text() == "x"
        node.kill()
        node.up()
        assert client.responses.retrieve(id).output == done.output
        assert list(client.responses.retrieve(id, stream=True))[-1].response.output == done.output
        on = client.responses.create(model="marker", input="hello", previous_response_id=id)
        assert on.output_text == "You said: hello"
        begun = client.responses.create(model="marker", input="mark it", background=True, previous_response_id=on.id)
        node.kill()
        node.up()
        wait(lambda: client.responses.retrieve(begun.id).status == "completed")
        assert client.responses.retrieve(begun.id).output_text.endswith(LONG)
    (session,) = node.get("/sessions")["sessions"]
    events = node.get(f"/sessions/{session['id']}/events?limit=500")["events"]
    kinds = [event["event"]["type"] for event in events]
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (3, 3)


def test_calls_of_a_client_wait_for_it_over_a_kill(node):
    ask = {"model": "marker", "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]}
    with openai.OpenAI(base_url=f"http://127.0.0.1:{node.port}/v1", api_key=node.token) as client:
        first = client.responses.create(input="the weather?", **ask)
        node.kill()
        node.up()
        assert client.responses.create(input="the weather?", **ask).id == first.id
        assert client.responses.retrieve(first.id).output == first.output
        result = {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "rain"}
        second = client.responses.create(input=[result], previous_response_id=first.id, **ask)
        assert (second.output_text, second.status) == ("rain", "completed")
        node.kill()
        node.up()
        assert client.responses.create(input=[result], previous_response_id=first.id, **ask).id == second.id


async def test_any_node_answers_for_a_response(serve, client, database, tmp_path, wait):
    def answer(request):
        told = request.messages[-1].parts[0].text
        return ENDLESS if "endless" in told else SLOW if "slowly" in told else echo(request)

    model = ScriptedModel(answer, deltas=True)
    one, two = (
        serve(agents=[Agent("clerk", model=model)], home=tmp_path / name, store=database) for name in ("one", "two")
    )
    here, there = client(one), client(two)
    first = say(here, "hello\0", metadata={"a\0": "b"})
    second = say(there, "and then?", previous_response_id=first.id)
    third = say(here, "after that?", previous_response_id=second.id)
    assert third.output_text.startswith("hello")
    assert there.responses.retrieve(first.id).metadata == first.metadata
    left = say(there, "left", previous_response_id=first.id)
    assert left.output_text.endswith(" | left")
    assert len(sessions(one)) == 2
    stream = say(here, "slowly", stream=True, background=True)
    heard = [next(stream) for _ in range(8)]
    rest = list(there.responses.retrieve(heard[0].response.id, stream=True, starting_after=heard[-1].sequence_number))
    assert texts([*heard, *rest]) == [SLOW.text]
    conversation = here.conversations.create(items=[{"role": "user", "content": "zero\0"}]).id
    said = say(there, "hi", conversation=conversation)
    assert "zero" in said.output_text
    assert len(here.conversations.items.list(conversation).data) == 3
    begun = say(there, "endless", background=True)
    wait(lambda: here.responses.retrieve(begun.id).status == "in_progress")
    assert here.responses.cancel(begun.id).status == "cancelled"

"""Kill the daemon in the middle of a stream of messages: the client sends its request again, and nothing is doubled.
And two nodes of one PostgreSQL store."""

from __future__ import annotations

import anthropic
import httpx2
import pytest
from tests.doors.test_anthropic_agent_mode import ran, say, sdk, session_of, streamed, weather
from tests.doors.test_anthropic_gateway_mode import TOOL, text
from tests.doors.test_openai_agent_mode import echo, sessions, turns
from tests.doors.test_openai_killed import LONG, node

from roost.agent.definition import Agent
from roost.testing.scripted import ScriptedModel

__all__ = ["node", "sdk"]


def cut_off(node, client, messages):
    """Begin a stream, and kill the node in the middle of it."""
    heard: list[str] = []

    def listen():
        with client.messages.stream(model="marker", max_tokens=99, messages=messages) as stream:
            for piece in stream.text_stream:
                heard.append(piece)
                if len("".join(heard)) > 60 and node.process.returncode is None:
                    node.kill()

    with pytest.raises((anthropic.APIError, httpx2.HTTPError)):
        listen()
    return "".join(heard)


def test_a_request_sent_again_gets_the_turn_that_a_kill_cut_off(node):
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{node.port}", api_key=node.token) as client:
        done = say(client, "hello", model="marker")
        more = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": done.content}]
        for messages in ([{"role": "user", "content": "mark it"}], [*more, {"role": "user", "content": "mark it"}]):
            node.marks.unlink(missing_ok=True)
            heard = cut_off(node, client, messages)
            node.up()
            with client.messages.stream(model="marker", max_tokens=99, messages=messages) as stream:
                whole = stream.get_final_text()
            assert whole == f"I mark.{LONG}"
            assert whole.startswith(heard)
            assert node.marks.read_text() == "x"
    found = node.get("/sessions")["sessions"]
    kinds = [[e["event"]["type"] for e in node.get(f"/sessions/{s['id']}/events?limit=500")["events"]] for s in found]
    assert sorted(one.count("turn.completed") for one in kinds) == [1, 2]
    assert sorted(one.count("input.received") for one in kinds) == [1, 2]


def test_calls_of_a_client_wait_for_it_over_a_kill(node):
    given = {"model": "marker", "max_tokens": 99, "tools": [{"name": "weather", "input_schema": {"type": "object"}}]}
    messages = [{"role": "user", "content": "the weather?"}]
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{node.port}", api_key=node.token) as client:
        first = client.messages.create(messages=messages, **given)
        node.kill()
        node.up()
        assert client.messages.create(messages=messages, **given).content == first.content
        (call,) = [block for block in first.content if block.type == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        done = client.messages.create(messages=messages, **given)
        assert (done.stop_reason, text(done)) == ("end_turn", "rain")
        node.kill()
        node.up()
        assert text(client.messages.create(messages=messages, **given)) == "rain"
    assert node.marks.read_text() == "x"
    assert len(node.get("/sessions")["sessions"]) == 1


async def test_a_conversation_goes_on_at_any_node(serve, sdk, database, tmp_path):
    def answer(request):
        return weather(request) if any(tool.name == "weather" for tool in request.tools) else echo(request)

    model = ScriptedModel(answer, deltas=True)
    agents = [Agent("clerk", model=model)]
    here, there = (sdk(serve(agents=agents, home=tmp_path / name, store=database)) for name in ("one", "two"))
    served = serve(agents=agents, home=tmp_path / "three", store=database)
    first = say(here, "hello")
    second = streamed(there, "hello", first.content, "and then?")
    assert session_of(second) == session_of(first)
    assert text(second) == "hello | hello | and then?"
    left = say(there, "hello", first.content, "left")
    assert session_of(left) != session_of(first)
    given = {"model": "clerk", "max_tokens": 99, "tools": [{**TOOL, "name": "weather"}]}
    messages = [{"role": "user", "content": "the weather?"}]
    asked = here.messages.create(messages=messages, **given)
    assert asked.stop_reason == "tool_use"
    messages += ran(asked)
    answers = {c.messages.create(messages=messages, **given).id for c in (there, here, there)}
    assert len(answers) == 1
    assert len(sessions(served)) == 3
    assert len(turns(served, session_of(first))) == 2

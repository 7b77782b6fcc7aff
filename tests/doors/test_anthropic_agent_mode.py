"""Anthropic's protocol in agent mode, by the official library: a conversation is a session, an answer a turn."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anthropic
import pytest
from tests.doors.test_anthropic_gateway_mode import TOOL, kinds, sdk, text
from tests.doors.test_openai_agent_mode import SLOW, echo, sessions, turns
from tests.server.conftest import look

from roost.agent.definition import Agent, Limits
from roost.doors.anthropic.agent_mode import _own_id, client_id
from roost.log.content import ErrorData, ToolMessage
from roost.models.profile import Profile
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

__all__ = ["sdk"]
USER = {"role": "user", "content": "the weather?"}


def say(c, *messages, **more):
    given = [{"role": "assistant" if n % 2 else "user", "content": one} for n, one in enumerate(messages)]
    return c.messages.create(**{"model": "clerk", "max_tokens": 1000, "messages": given, **more})


def streamed(c, *messages, **more):
    given = [{"role": "assistant" if n % 2 else "user", "content": one} for n, one in enumerate(messages)]
    with c.messages.stream(**{"model": "clerk", "max_tokens": 1000, "messages": given, **more}) as stream:
        return stream.get_final_message()


def session_of(message):
    return message.id.removeprefix("msg_").rpartition("-")[0]


@pytest.mark.parametrize("how", [say, streamed])
def test_an_answer_is_a_turn_of_a_session(serve, sdk, how):
    look_first = Answer(text="I look. äöü 🦉", thinking="hm", calls=(Call("look", {"what": "it"}),), piece=3)
    served = serve(ScriptedModel(by_step([look_first, Answer(text="done and done", piece=4)]), deltas=True))
    done = how(sdk(served), "hello")
    assert "".join(text(done).split()) == "Ilook.äöü🦉doneanddone"
    assert kinds(done) == (["thinking", "text"] if how is say else ["thinking", "text", "text"])
    assert (done.stop_reason, done.model, done.content[0].thinking) == ("end_turn", "clerk", "hm")
    assert done.content[0].signature
    (turn,) = turns(served, session_of(done))
    assert (done.usage.input_tokens, done.usage.output_tokens) == (turn["usage"]["input"], turn["usage"]["output"])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_conversation_goes_on_in_its_session(serve, sdk, restarted):
    model = ScriptedModel(lambda r: Answer(text=echo(r).text, thinking="hm"), deltas=True)
    served = serve(model)
    one = streamed(sdk(served), "hello")
    if restarted:
        served.stop()
        served = serve(model)
    c = sdk(served)
    two = say(c, "hello", one.content, "and then?", system="Be kind.")
    three = streamed(c, "hello", one.content, "and then?", two.content, "after that?", system=[])
    assert {session_of(one), session_of(two), session_of(three)} == {sessions(served)[0]["id"]}
    edited = say(c, "hello", one.content, "something else")
    assert session_of(edited) != session_of(one)
    assert text(edited) == "hello | hmhello | something else"


def weather(request):
    """Ask the client twice, and the agent's own tool once."""
    results = [m for m in request.messages if isinstance(m, ToolMessage)]
    if not results:
        calls = (Call("look", {"what": "up"}), Call("weather", {"in": "Ghent"}), Call("weather", {"in": "Bruges"}))
        return Answer(text="I ask.", calls=calls)
    if len(results) == 3:
        return Answer(text="Once more.", calls=(Call("weather", {"in": "Ypres"}),))
    return Answer(text=" ".join("".join(p.text for p in one.parts) for one in results))


def ran(message, beside=()):
    """Run the calls of an answer as a client does."""
    calls = [block for block in message.content if block.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"rain in {call.input['in']}"} for call in calls
    ]
    return [{"role": "assistant", "content": message.content}, {"role": "user", "content": [*results, *beside]}]


@pytest.mark.parametrize("restarted", [False, True])
def test_calls_of_the_clients_tools_end_the_answer_and_results_go_on(serve, sdk, restarted):
    model = ScriptedModel(weather, deltas=True)
    served = serve(model)
    beside = [{"type": "text", "text": "<system-reminder>be quick</system-reminder>"}]
    messages: list[Any] = [USER, {"role": "system", "content": "It is Monday."}]

    def again(served):
        if not restarted:
            return served
        served.stop()
        return serve(model)

    def ask(served, how):
        c, given = sdk(served), {"model": "clerk", "max_tokens": 99, "tools": [TOOL]}
        if how == "whole":
            return c.messages.create(messages=messages, **given)
        with c.messages.stream(messages=messages, **given) as stream:
            return stream.get_final_message()

    first = ask(served, "streamed")
    assert (first.stop_reason, kinds(first)) == ("tool_use", ["text", "tool_use", "tool_use"])
    served = again(served)
    assert ask(served, "whole").content[1:] == first.content[1:]
    messages += ran(first, beside)
    served = again(served)
    second = ask(served, "whole")
    assert (second.stop_reason, text(second)) == ("tool_use", "Once more.")
    assert ask(served, "streamed").id == second.id
    messages += ran(second)
    served = again(served)
    third = ask(served, "streamed")
    said = "seen up rain in Ghent rain in Bruges<system-reminder>be quick</system-reminder> rain in Ypres"
    assert (third.stop_reason, text(third)) == ("end_turn", said)
    messages += [{"role": "assistant", "content": third.content}, {"role": "user", "content": "thanks"}]
    served = again(served)
    ask(served, "whole")
    assert len(sessions(served)) == 1


def test_results_that_no_call_waits_for_are_refused(serve, sdk):
    served = serve(ScriptedModel(weather))
    c = sdk(served)
    first = c.messages.create(model="clerk", max_tokens=99, tools=[TOOL], messages=[USER])
    answer, results = ran(first)
    odd = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": "x"}]}
    some = {"role": "user", "content": results["content"][:1]}
    for last in (odd, some):
        with pytest.raises(anthropic.BadRequestError):
            c.messages.create(model="clerk", max_tokens=99, tools=[TOOL], messages=[USER, answer, last])
    with pytest.raises(anthropic.BadRequestError, match="tools of these names itself"):
        c.messages.create(model="clerk", max_tokens=99, tools=[{**TOOL, "name": "look"}], messages=[USER])


def test_a_user_who_interrupts_an_answer_goes_on_in_its_session(serve, sdk):
    """The client did not hear the answer to its results: the next message comes beside them."""
    served = serve(ScriptedModel(weather))
    c = sdk(served)
    given = {"model": "clerk", "max_tokens": 99, "tools": [TOOL]}
    first = c.messages.create(messages=[USER], **given)
    messages = [USER, *ran(first)]
    second = c.messages.create(messages=messages, **given)
    messages += ran(second)
    ended = c.messages.create(messages=messages, **given)
    assert len({first.id, second.id, ended.id}) == 3
    stop = [{"type": "text", "text": "[Request interrupted by user]"}, {"type": "text", "text": "what now?"}]
    messages[-1] = {"role": "user", "content": [*messages[-1]["content"], *stop]}
    for _ in range(2):
        answer = c.messages.create(messages=messages, **given)
        assert answer.stop_reason == "end_turn"
    (session,) = sessions(served)
    assert len(turns(served, session["id"])) == 3
    changed = [{**messages[-1]["content"][0], "content": "sun"}]
    with pytest.raises(anthropic.ConflictError, match="has another result already"):
        c.messages.create(messages=[*messages[:-1], {"role": "user", "content": changed}], **given)


@pytest.mark.parametrize("call", ["s/1/c", "chat_x-0:y./12/call_ö/1"])
def test_an_id_of_a_call_has_letters_that_the_protocol_allows(call):
    assert _own_id(client_id(call)) == call
    assert client_id(call).replace("_", "").replace("-", "").isalnum()
    for other in ("toolu_01AbC", "call_1", "", "toolu_", "toolu_\u00f6", call):
        assert _own_id(other) == other


@pytest.mark.parametrize("how", ["header", "metadata", "old"])
def test_what_claude_code_calls_a_session_keeps_conversations_apart(serve, sdk, how):
    served = serve(ScriptedModel(lambda _: "yes"))
    c = sdk(served)

    def thread(name):
        if how == "header":
            return {"extra_headers": {"X-Claude-Code-Session-Id": name}}
        ids = {
            "metadata": f'{{"device_id":"d","account_uuid":"","session_id":"{name}"}}',
            "old": f"user_d_account__session_{name}",
        }
        return {"metadata": {"user_id": ids[how]}}

    one, other = say(c, "hello", **thread("one")), say(c, "hello", **thread("two"))
    assert session_of(one) != session_of(other)
    for restarted in (False, True):
        more = say(c, "hello", one.content, "go on", **thread("one"))
        assert session_of(more) == session_of(one)
        if not restarted:
            assert session_of(say(c, "hello", other.content, "go on", **thread("two"))) == session_of(other)
            served.stop()
            served = serve(ScriptedModel(lambda _: "yes"))
            c = sdk(served)
    helper = say(c, "hello", "other words", "go on", **thread("one"))
    assert session_of(helper) not in {session_of(one), session_of(other)}
    users = {session["labels"].get("user") for session in sessions(served)}
    assert users == ({None} if how == "header" else {"d"})


def test_a_named_session_goes_on_whatever_the_history_says(serve, sdk):
    c = sdk(serve(ScriptedModel(echo)))
    mine = {"extra_headers": {"roost-session": "mine"}}
    assert session_of(say(c, "hello", **mine)) == "mine"
    assert text(say(c, "and then?", **mine)) == "hello | hello | and then?"


def test_instructions_of_the_client_change_without_its_accounting(serve, sdk):
    served = serve(ScriptedModel(lambda request: request.instruction[-15:]))
    c = sdk(served)

    def system(number, words):
        return [{"type": "text", "text": f"x-anthropic-billing-header: {number}"}, {"type": "text", "text": words}]

    one = say(c, "hi", system=system(1, "Answer in verse."))
    two = say(c, "hi", one.content, "hi", system=system(2, "Answer in verse."))
    three = say(c, "hi", one.content, "hi", two.content, "hi", system=system(3, "Answer in prose."))
    assert (text(one), text(three)) == ("nswer in verse.", "nswer in prose.")
    events = [e["event"]["type"] for e in served.history(session_of(one))]
    assert events.count("session.moved") == 1


def test_a_repeated_request_gets_the_same_turn(serve, sdk):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    answers = []
    clients = [sdk(served) for _ in range(6)]
    threads = [threading.Thread(target=lambda c=c: answers.append(streamed(c, "hello"))) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.id for one in answers}) == 1
    assert {text(one) for one in answers} == {SLOW.text}
    assert len(sessions(served)) == 1


def test_a_client_that_leaves_stops_nothing_and_comes_back(serve, sdk):
    served = serve(ScriptedModel(lambda _: SLOW, deltas=True))
    c = sdk(served)
    given = {"model": "clerk", "max_tokens": 99, "messages": [{"role": "user", "content": "hello"}]}
    with c.messages.stream(**given) as stream:
        for piece in stream.text_stream:
            assert SLOW.text.startswith(piece)
            break
    assert text(streamed(c, "hello")) == SLOW.text
    assert len(turns(served, sessions(served)[0]["id"])) == 1


@pytest.mark.parametrize("how", [say, streamed])
def test_failures_limits_and_refusals(serve, sdk, how):
    failing = ScriptedModel(lambda _: Answer(error=ErrorData("context_overflow", "too long")))
    refusing = ScriptedModel(lambda _: Answer(error=ErrorData("refused", "no, thanks")))
    looping = ScriptedModel(by_step([Answer(text="so far", calls=(Call("look", {"what": "it"}),))] * 3))
    agents = [Agent("failing", model=failing), Agent("refusing", model=refusing)]
    c = sdk(serve(agents=[*agents, Agent("limited", model=looping, tools=[look], limits=Limits(steps=2))]))
    with pytest.raises(anthropic.APIStatusError, match="prompt is too long") as refused:
        how(c, "hello", model="failing")
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    done = how(c, "hello", model="refusing")
    assert (done.stop_reason, done.content) == ("refusal", [])
    assert "no, thanks" in done.stop_details.explanation
    assert how(c, "hello", model="limited").stop_reason == "max_tokens"


def test_an_image_and_a_document_reach_the_model(serve, sdk):
    def see(request):
        return " ".join(f"{p.media_type}:{p.data}" for p in request.messages[-1].parts if hasattr(p, "media_type"))

    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    c = sdk(serve(ScriptedModel(see, profile=Profile(images=True))))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}}
    assert text(say(c, [{"type": "text", "text": "what?"}, image])) == f"image/png:{pixel}"


async def test_twenty_clients_at_once(serve):
    served = serve(ScriptedModel(echo, deltas=True))
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key=served.token) as c:

        async def one(number):
            given = {"model": "clerk", "max_tokens": 9, "messages": [{"role": "user", "content": f"hello {number}"}]}
            async with c.messages.stream(**given) as stream:
                return await stream.get_final_text()

        assert await asyncio.gather(*map(one, range(20))) == [f"hello {n}" for n in range(20)]
    assert len(sessions(served)) == 20

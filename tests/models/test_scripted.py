from __future__ import annotations

import asyncio
import time

import pytest

from roost.log.content import AssistantMessage, ErrorData, Text, Thinking, ToolCall, ToolMessage, Usage
from roost.models.request import CallDelta, Price, Profile, TextDelta, ThinkingDelta
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step


async def test_a_list_is_answered_in_order_and_ends() -> None:
    model = ScriptedModel(["one", Answer(calls=(Call("f", {"a": 1}), Call("g", "{bad")))])
    assert (await completed(model)).parts == (Text("one"),)
    end = await completed(model)
    assert end.stop == "tool_calls"
    assert [(part.name, part.arguments) for part in end.parts] == [("f", '{"a":1}'), ("g", "{bad")]
    assert (await failed(model)).error.code == "script_over"
    assert (model.calls, len(model.requests)) == (3, 3)


async def test_a_function_sees_the_request() -> None:
    model = ScriptedModel(lambda request: f"{len(request.messages)} messages")
    assert (await completed(model, ask(user("a"), user("b")))).parts == (Text("2 messages"),)


async def test_by_step_gives_a_repeated_request_the_same_answer() -> None:
    model = ScriptedModel(by_step([Answer(calls=(Call("f"),)), "done"]))
    first = ask(user("go"))
    one, again = await completed(model, first), await completed(model, first)
    assert one == again
    call = one.parts[0]
    assert isinstance(call, ToolCall)
    after = ask(user("go"), AssistantMessage(one.parts), ToolMessage(call.id, "f", (Text("ok"),)))
    assert (await completed(model, after)).parts == (Text("done"),)
    later = (await completed(model, ask(*after.messages, AssistantMessage((Text("done"),)), user("more")))).parts[0]
    assert isinstance(later, ToolCall)
    assert later.id != call.id


async def test_deltas_come_only_when_asked() -> None:
    answer = Answer(text="hello world", thinking="hmm", calls=(Call("f", {"a": 1}),), piece=4)
    assert (await run(ScriptedModel([answer])))[0] == []
    deltas, end = await run(ScriptedModel([answer], deltas=True))
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "hello world"
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "hmm"
    assert "".join(d.arguments for d in deltas if isinstance(d, CallDelta)) == '{"a":1}'
    assert end.parts[:2] == (Thinking("hmm"), Text("hello world"))


async def test_failures_delays_and_prices() -> None:
    error = ErrorData("overloaded", "busy", True, 3.0)
    model = ScriptedModel([Answer(error=error), Answer(text="a", delay=0.05)], profile=Profile(price=Price(10, 100)))
    assert (await failed(model)).error == error
    start = time.monotonic()
    assert (await completed(model)).usage == Usage(100, 20, 0, cost=100 * 10 + 20 * 100)
    assert time.monotonic() - start >= 0.05


async def test_a_waiting_answer_can_be_cancelled() -> None:
    task = asyncio.create_task(run(ScriptedModel([Answer(text="late", delay=60)])))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import ConfigError
from roost.log.content import (
    AssistantMessage,
    ErrorData,
    Image,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from roost.models.request import Completed, Failed, ModelEvent, Notice, Profile, Request, TextDelta, ToolSpec
from roost.models.tool_arguments import mend, misfit
from roost.routing.recovery import Batching, Chains, Continuing, Degrading
from roost.routing.tool_repair import Repairing
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.transcript import check_transcript

from .test_retry import Breaks

DOWN = ErrorData("overloaded", "down", True)
FULL = ErrorData("context_overflow", "too long", False)


def _named(name: str, *answers: Answer | str, **profile: Any) -> ScriptedModel:
    return ScriptedModel(answers, name=name, profile=Profile(**profile))


def _kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events if isinstance(event, Notice)]


async def test_the_next_model_of_the_chain_answers() -> None:
    models = {"a": _named("a", Answer(error=DOWN)), "b": _named("b", Answer(error=DOWN)), "c": _named("c", "yes")}
    model = Degrading(models, Chains(default=("a", "b", "c")))
    events, end = await run(model)
    assert isinstance(end, Completed)
    assert [(e.data["from"], e.data["to"]) for e in events if isinstance(e, Notice)] == [("a", "b"), ("b", "c")]
    assert model.name == "a"


async def test_each_kind_of_task_has_its_chain() -> None:
    models = {"a": _named("a", "from a"), "b": _named("b", "from b")}
    model = Degrading(models, Chains(default=("a",), by={"plan": ("b", "a")}))
    assert (await completed(model, ask(intent="plan"))).parts == (Text("from b"),)
    assert (await completed(model, ask(intent="review"))).parts == (Text("from a"),)
    with pytest.raises(ConfigError, match="'d'"):
        Degrading(models, Chains(default=("d",)))


async def test_a_conversation_that_is_too_long_goes_to_a_larger_model_or_back_to_be_trimmed() -> None:
    models = {
        "a": _named("a", Answer(error=FULL), Answer(error=FULL), window=1000),
        "b": _named("b", "yes", window=1000),
        "c": _named("c", "yes", window=2000),
    }
    events, _ = await run(Degrading(models, Chains(default=("a", "b", "c"))))
    assert [event.data["to"] for event in events if isinstance(event, Notice)] == ["c"]
    end = await failed(Degrading(models, Chains(default=("a", "b"))))
    assert end.error == FULL


async def test_the_requests_own_fault_is_not_taken_elsewhere() -> None:
    models = {"a": _named("a", Answer(error=ErrorData("bad_request", "odd"))), "b": _named("b", "yes")}
    assert (await failed(Degrading(models, Chains(default=("a", "b"))))).error.code == "bad_request"


async def test_a_model_that_cannot_see_is_passed_over() -> None:
    models = {"blind": _named("blind", "no"), "sees": _named("sees", "yes", images=True)}
    model = Degrading(models, Chains(default=("blind", "sees")))
    picture = UserMessage((Image("image/png", "AAAA"),))
    assert (await completed(model, ask(picture))).parts == (Text("yes"),)


async def test_what_was_shown_does_not_count_when_another_model_answers() -> None:
    model = Degrading({"a": Breaks(9), "b": _named("b", "yes")}, Chains(default=("a", "b")))
    events, _ = await run(model)
    assert _kinds(events) == ["fallback", "restart"]


@pytest.mark.parametrize("code", ["connection", "overloaded", "internal"])
async def test_a_stream_that_breaks_is_asked_for_again_and_then_in_one_document(code: str) -> None:
    inner = Breaks(2, code)
    events, end = await run(Batching(inner))
    assert isinstance(end, Completed)
    assert [request.stream for request in inner.asked] == [True, True, False]
    assert _kinds(events) == ["recovery", "restart"] * 2
    assert isinstance((await run(Batching(Breaks(3))))[1], Failed)
    inner = Breaks(1)
    assert isinstance((await run(Batching(inner), ask(stream=False)))[1], Failed)
    assert len(inner.asked) == 1
    inner = Breaks(1, "quota")
    assert isinstance((await run(Batching(inner)))[1], Failed)
    assert len(inner.asked) == 1


def _cut(text: str = "", **options: Any) -> Answer:
    return Answer(text=text, stop="length", usage=Usage(10, 5, cost=7), **options)


async def test_an_answer_that_was_cut_off_goes_on_where_it_ended() -> None:
    model = ScriptedModel(
        [_cut("one, t", thinking="hm"), _cut("wo, th"), Answer(text="ree", usage=Usage(10, 5, cost=7))], deltas=True
    )
    events, end = await run(Continuing(model))
    assert isinstance(end, Completed)
    assert end.parts == (Thinking("hm"), Text("one, two, three"))
    assert (end.stop, end.usage) == ("end", Usage(30, 15, cost=21))
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "one, two, three"
    assert _kinds(events) == ["recovery"] * 2
    assert model.requests[2].messages[1] == AssistantMessage((Text("one, two, th"),))
    assert len(model.requests[2].messages) == 3


async def test_an_answer_without_end_stays_cut_off_and_a_failure_keeps_what_there_is() -> None:
    end = await completed(Continuing(ScriptedModel([_cut("a")] * 3), rounds=2))
    assert (end.parts, end.stop) == ((Text("aaa"),), "length")
    end = await completed(Continuing(ScriptedModel([_cut("a"), Answer(error=DOWN)])))
    assert (end.parts, end.stop) == ((Text("a"),), "length")


async def test_a_call_that_was_cut_off_is_made_anew_with_more_room() -> None:
    call, whole = Call("write", '{"text": "ab'), Call("write", {"text": "abc"})
    model = ScriptedModel([_cut(calls=(call,)), Answer(calls=(whole,))], profile=Profile(max_output=1000))
    events, end = await run(Continuing(model))
    assert _kinds(events) == ["recovery", "restart"]
    assert model.requests[1].max_output == 1000
    assert isinstance(end, Completed)
    assert end.stop == "tool_calls"


async def test_a_call_that_the_models_limit_cuts_off_is_to_be_made_in_pieces() -> None:
    call, whole = Call("write", '{"text": "ab'), Call("write", {"text": "abc"})
    model = ScriptedModel(
        [_cut(calls=(call,)), _cut(calls=(call,)), Answer(calls=(whole,))], profile=Profile(max_output=5)
    )
    events, end = await run(Continuing(model))
    assert [event.data["how"] for event in events if isinstance(event, Notice) and event.kind == "recovery"] == [
        "in pieces",
        "in pieces",
    ]
    _, said, result = model.requests[1].messages
    assert isinstance(said, AssistantMessage)
    assert isinstance(result, ToolMessage)
    assert said.calls[0].id == result.call
    assert "cut off at the output limit of 5 tokens" in str(result.parts)
    assert len(model.requests[2].messages) == 5
    assert isinstance(end, Completed)
    assert end.stop == "tool_calls"
    check_transcript(model.requests[2].messages)


async def test_a_bound_of_the_answer_holds_over_all_calls() -> None:
    model = ScriptedModel([_cut("a")] * 9)
    end = await completed(Continuing(model), ask(max_output=5))
    assert (model.calls, end.parts, end.stop) == (1, (Text("a"),), "length")
    # The provider's own limit was lower: what is left of the bound may still be used.
    model = ScriptedModel([_cut("a")] * 9)
    end = await completed(
        Continuing(model),
        ask(max_output=100),
    )
    assert [request.max_output for request in model.requests] == [100, 95, 90, 85]
    model = ScriptedModel([_cut(calls=(Call("write", '{"text": "ab'),))] * 9, profile=Profile(max_output=1000))
    await completed(Continuing(model), ask(max_output=5))
    assert model.calls == 1


async def test_a_lone_cut_call_that_cannot_be_made_good_is_told_in_words() -> None:
    class Cuts(ScriptedModel):
        async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            yield Completed((), "length", Usage(10, 5), cut="write_file")

    error = (await failed(Continuing(Cuts([])), ask(max_output=5))).error
    assert (error.code, error.retryable) == ("empty", False)
    assert "in the midst of a call of 'write_file'" in error.message


TOOL = ToolSpec(
    "write",
    "Writes.",
    {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}, "required": ["text"]},
)


async def _repaired(*answers: Any) -> tuple[ScriptedModel, list[str], Completed]:
    model = ScriptedModel(list(answers))
    events, end = await run(Repairing(model), ask(tools=(TOOL,)))
    assert isinstance(end, Completed)
    return model, _kinds(events), end


async def test_arguments_that_are_nearly_json_are_mended_without_asking() -> None:
    model, kinds, end = await _repaired(Answer(calls=(Call("write", "{'text': 'it',}"),)))
    assert (model.calls, kinds) == (1, ["repair"])
    assert isinstance(call := end.parts[0], ToolCall)
    assert json.loads(call.arguments) == {"text": "it"}


async def test_the_model_is_told_what_is_wrong_with_its_calls() -> None:
    bad, good = Call("write", {"n": 1}, id="x"), Call("write", {"text": "a"}, id="y")
    model, kinds, end = await _repaired(Answer(calls=(bad, good)), Answer(calls=(good,)))
    assert kinds == ["repair", "restart"]
    results = [message for message in model.requests[1].messages if isinstance(message, ToolMessage)]
    assert [result.call for result in results] == ["x", "y"]
    assert "lacks 'text'" in str(results[0].parts)
    assert end.parts == (ToolCall("y", "write", '{"text":"a"}'),)
    assert end.usage.input == 200


async def test_what_cannot_be_repaired_is_passed_on() -> None:
    bad = Answer(calls=(Call("write", '{"text": "a'),))
    model, _, end = await _repaired(bad, bad)
    assert model.calls == 2
    assert isinstance(end.parts[0], ToolCall)
    model, _, end = await _repaired(bad, Answer(error=DOWN))
    assert isinstance(end.parts[0], ToolCall)
    model, kinds, _ = await _repaired(Answer(calls=(Call("unknown", "{'"),)))
    assert kinds == []


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": [1, 2,],}\n```', {"a": [1, 2]}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ('{"a": "],}\\",}", }', {"a": '],}",}'}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('{"a": "rm -rf /tmp', None),
        ("{" * 5000, None),
        ("[1]", None),
        ("{'a': {1}}", None),
        ("", {}),
    ],
)
def test_only_what_is_beyond_doubt_is_mended(text: str, means: Any) -> None:
    found = mend(text)
    assert (None if found is None else json.loads(found or "{}")) == means


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _json, max_size=4))
def test_mending_never_changes_what_arguments_mean(value: dict[str, Any]) -> None:
    assert json.loads(mend(json.dumps(value)) or "") == value
    assert json.loads(mend(repr(value)) or "") == value


@given(st.text(max_size=60))
def test_mending_takes_any_text(text: str) -> None:
    found = mend(text)
    assert found is None or isinstance(json.loads(found or "{}"), dict)


def test_what_does_not_fit_a_schema_is_named_with_its_place() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}, "v": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": node}}, "$defs": {"n": node}}
    assert misfit({"list": [{"next": {"v": 1}}]}, schema) is None
    assert misfit({"list": [{"next": {"v": []}}]}, schema) == "arguments.list[0].next.v must be of type integer"
    assert misfit({"v": 2.0, "other": 1}, node) is None
    assert misfit({"b": 1}, {"properties": {}, "additionalProperties": False}) is not None
    either = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert misfit({"a": None}, {"properties": {"a": either}}) is None
    assert misfit({"a": []}, {"properties": {"a": either}}) is not None
    assert misfit({"a": 3}, {"properties": {"a": {"enum": [1, 2]}}}) == "arguments.a must be one of [1, 2]"
    assert misfit({"a": True}, {"properties": {"a": {"type": "integer"}}}) is not None

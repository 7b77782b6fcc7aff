from __future__ import annotations

from typing import Any

from roost.llm.ir import Request, ToolSpec
from roost.llm.local.guard import RepetitionGuard, is_stuck
from roost.llm.local.prompt import chat, cut
from roost.llm.local.schema import simplify, step_schema
from roost.log.content import AssistantMessage, Image, Message, Text, ToolCall, ToolMessage, UserMessage

READ = ToolSpec(
    "read_file",
    "Read a file.\n  All of it.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
ASK = UserMessage((Text("What is in a.txt?"),))
CALL = AssistantMessage((ToolCall("c1", "read_file", '{"path": "a.txt"}'),))
RESULT = ToolMessage("c1", "read_file", (Text("x" * 50_000),))
ANSWER = AssistantMessage((Text('It says "x".'),))


def request(*messages: Message, **more: Any) -> Request:
    return Request(**({"instruction": "Be kind.", "messages": messages, "tools": (READ,)} | more))


def test_what_was_said_stays_the_prefix_of_what_is_said_next() -> None:
    first = chat(request(ASK), cap=2000)
    second = chat(request(ASK, CALL, RESULT), cap=2000)
    third = chat(request(ASK, CALL, RESULT, ANSWER, ASK), cap=2000)
    assert second[0] == first[0]
    assert first[1]["content"].startswith(second[1]["content"])
    assert third[:3] == second[:3]
    assert second[3]["content"].startswith(third[3]["content"])
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert third[2]["content"] == '{"tool": "read_file", "args": {"path": "a.txt"}}'
    assert third[4]["content"] == '{"answer": "It says \\"x\\"."}'


def test_the_system_message_holds_everything_that_does_not_change() -> None:
    text = chat(request(ASK, constraints=("No swearing.",), context=("Today is Monday.",)), cap=100)[0]["content"]
    for part in (
        "Be kind.",
        "- No swearing.",
        "Today is Monday.",
        "- read_file(path: string): Read a file. All of it.",
    ):
        assert part in text
    assert "write_file" not in text


def test_without_tools_it_is_plain_chat() -> None:
    messages = chat(request(ASK, ANSWER, ASK, tools=()), cap=100)
    assert messages[0]["content"] == "Be kind."
    assert messages[2] == {"role": "assistant", "content": 'It says "x".'}
    assert step_schema(request(ASK, tools=())) is None


def test_long_results_lose_their_middle() -> None:
    text = chat(request(ASK, CALL, RESULT), cap=3000)[-1]["content"]
    assert len(text) < 3300
    assert "47000 characters left out" in text
    assert cut("short", 10) == "short"


def test_results_of_one_step_and_images_and_errors() -> None:
    calls = AssistantMessage((Text("Let me see."), ToolCall("c1", "read_file"), ToolCall("c2", "read_file", "")))
    results = (
        ToolMessage("c1", "read_file", (Image("image/png", "aGk="),)),
        ToolMessage("c2", "read_file", (Text("no such file"),), error=True),
    )
    messages = chat(request(ASK, calls, *results), cap=1000)
    assert len(messages) == 4
    assert "cannot see" in messages[3]["content"]
    assert "Error of read_file:\nno such file" in messages[3]["content"]


def test_the_grammar_of_a_step() -> None:
    steps = step_schema(request(ASK))
    assert steps is not None
    call, answer = steps["anyOf"]
    assert call["properties"]["tool"] == {"const": "read_file"}
    assert call["properties"]["args"]["required"] == ["path"]
    assert answer["properties"] == {"answer": {"type": "string"}}
    assert step_schema(request(ASK, tool_choice="required")) == call
    assert step_schema(request(ASK, tool_choice="none")) == answer
    data = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert step_schema(request(ASK, tools=(), output_schema=data)) == simplify(data)


def test_a_schema_is_reduced_to_what_can_be_held_to() -> None:
    schema = {
        "type": "object",
        "title": "Big",
        "properties": {
            "node": {"$ref": "#/$defs/Node"},
            "when": {"type": "string", "format": "date", "pattern": "^x$", "description": "d"},
            "maybe": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
            "many": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        },
        "required": ["node", "ghost"],
        "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
    }
    small = simplify(schema)
    assert small["required"] == ["node"]
    assert small["additionalProperties"] is False
    assert small["properties"]["when"] == {"type": "string"}
    assert small["properties"]["maybe"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert small["properties"]["many"] == {"type": "array", "items": {"enum": ["a", "b"]}}
    assert "$ref" not in str(small)


def test_the_guard_sees_circles_and_nothing_else() -> None:
    guard = RepetitionGuard()
    assert any(guard.circles("The file is a text file. ") for _ in range(40))
    guard = RepetitionGuard()
    assert any(guard.circles(" ") for _ in range(1000))
    guard = RepetitionGuard()
    assert not any(guard.circles(f"{n}: row {n * 7}\n") for n in range(2000))
    guard = RepetitionGuard()
    assert not any(guard.circles(piece) for piece in ("-" * 200, "\n", "=" * 200, "the end, really the very end " * 2))


def test_stuck_is_the_same_call_again_and_again() -> None:
    other = AssistantMessage((ToolCall("c2", "read_file", '{"path": "b.txt"}'),))
    assert not is_stuck((ASK,))
    assert not is_stuck((ASK, CALL, RESULT))
    assert is_stuck((ASK, CALL, RESULT, CALL, RESULT))
    assert not is_stuck((ASK, CALL, RESULT, other, RESULT, CALL, RESULT))
    assert is_stuck((ASK, CALL, RESULT, other, RESULT, CALL, RESULT, other, RESULT, CALL, RESULT))
    assert not is_stuck((ASK, CALL, RESULT, CALL, RESULT, ANSWER, ASK))

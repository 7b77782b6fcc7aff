from __future__ import annotations

from typing import Any

from roost.local.prompt import chat, cut, prefix
from roost.local.repetition_guard import RepetitionGuard, is_stuck
from roost.local.schema import labels, simplify, step_schema
from roost.log.content import AssistantMessage, Image, Message, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import Request, ToolSpec

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


def said(request: Request, cap: int = 2000) -> list[dict[str, str]]:
    """The messages behind the prefix."""
    fixed = prefix(request)
    messages = chat(request, cap=cap)
    assert messages[: len(fixed)] == fixed
    return messages[len(fixed) :]


def test_what_was_said_stays_the_prefix_of_what_is_said_next() -> None:
    first = said(request(ASK))
    second = said(request(ASK, CALL, RESULT))
    third = said(request(ASK, CALL, RESULT, ANSWER, ASK))
    assert second[0] == first[0]
    assert third[:2] == second[:2]
    assert second[2]["content"].startswith(third[2]["content"])
    assert [message["role"] for message in third] == ["user", "assistant", "user", "assistant", "user"]
    assert third[1]["content"] == '{"from":"files","tool":"read_file","args":{"path": "a.txt"}}'
    assert third[3]["content"] == '{"answer":"It says \\"x\\"."}'


def test_the_prefix_is_the_same_for_every_session() -> None:
    around = Text("[Now: Monday, 3 March 2025, 09:15 (UTC)\nFiles: a.txt]")
    one = request(ASK, context=("Today is Monday.",))
    other = request(UserMessage((Text("Hello"), around)), CALL, RESULT)
    assert prefix(one) == prefix(other)
    assert said(one)[0]["content"] == "Today is Monday.\n\nWhat is in a.txt?"
    assert said(other)[0]["content"] == "[Files: a.txt]\n\nHello"
    late = request(UserMessage((Text("How late is it?"), around)))
    assert said(late)[0]["content"] == f"{around.text}\n\nHow late is it?"


def test_the_prefix_holds_everything_that_does_not_change() -> None:
    messages = prefix(request(ASK, constraints=("No swearing.",)))
    text = messages[0]["content"]
    for part in ("Be kind.", "- No swearing.", "- read_file(path): the text of a file", '{"from":"files"}'):
        assert part in text
    assert "write_file" not in str(messages)
    assert "calculator" not in text.split("files, order")[0]
    assert [message["role"] for message in messages] == ["system"] + ["user", "assistant"] * (len(messages) // 2)


def test_the_prefix_stays_short() -> None:
    """Each token of it costs time at each step, also when it is restored: about four characters are one token."""
    arguments = {
        "list_files": ["path"], "glob": ["pattern"], "grep": ["pattern"], "read_file": ["path"],
        "write_file": ["path", "content"], "edit_file": ["path", "old", "new"], "shell": ["command"],
        "calculate": ["expression"], "read_history": [],
    }  # fmt: skip
    tools = tuple(
        ToolSpec(name, name, {"type": "object", "properties": {key: {} for key in wanted}, "required": wanted})
        for name, wanted in arguments.items()
    )
    messages = prefix(request(ASK, tools=tools))
    assert sum(len(message["content"]) for message in messages) < 4000
    assert len(messages) < 56


def test_an_example_may_end_at_a_call() -> None:
    messages = prefix(request(ASK, tools=(ToolSpec("grep", "g", {"type": "object", "properties": {}}),)))
    last = next(n for n, message in enumerate(messages) if "chairs" in message["content"])
    assert messages[last + 1]["content"].startswith('{"from":"files","tool":"grep"')
    assert messages[last + 2]["content"] == "Thanks!"


def test_numbers_of_lines_are_not_seen() -> None:
    numbered = ToolMessage("c1", "read_file", (Text("     1\tone\n     2\t12\ttwo"),))
    assert "read_file:\none\n12\ttwo" in said(request(ASK, CALL, numbered))[-1]["content"]
    failed = ToolMessage("c1", "read_file", (Text("1\tx"),), error=True)
    assert "1\tx" in said(request(ASK, CALL, failed))[-1]["content"]


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
    messages = said(request(ASK, calls, *results), cap=1000)
    assert len(messages) == 3
    assert "cannot see" in messages[2]["content"]
    assert "Error of read_file:\nno such file" in messages[2]["content"]


def test_the_grammar_of_a_step() -> None:
    steps = step_schema(request(ASK))
    assert steps is not None
    call, answer = steps["anyOf"]
    assert call["properties"]["tool"] == {"const": "read_file"}
    assert call["properties"]["args"]["required"] == ["path"]
    assert answer["properties"] == {"answer": {"type": "string"}}
    assert step_schema(request(ASK, tool_choice="required")) == call
    assert step_schema(request(ASK, tool_choice="none")) == answer
    first = step_schema(request(ASK), only=labels(request(ASK)))
    assert first is not None
    assert [list(step["properties"]) for step in first["anyOf"]] == [["from", "tool", "args"], ["from", "answer"]]
    assert first["anyOf"][1]["properties"]["from"] == {"enum": ["knowledge", "clock", "chat"]}
    looks = step_schema(request(ASK), only=["files"])
    assert looks is not None
    assert looks["properties"]["from"] == {"const": "files"}
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

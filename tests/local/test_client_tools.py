"""What the model sees of the requests of coding agents, and what they get back: their own tools, as they name them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roost.local.client_tools import INSTRUCTION, Translation
from roost.local.prompt import chat, prefix
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import CallDelta, Completed, Request, TextDelta, ToolSpec

ASK = UserMessage((Text("Make a.txt"),))
REMINDER = Text("<system-reminder>\nToday is Monday.\n</system-reminder>\n\n")
CONTEXT = UserMessage((Text("<environment_context>\n  <cwd>/x</cwd>\n</environment_context>"),))


def spec(name: str, *required: str, optional: tuple[str, ...] = ()) -> ToolSpec:
    properties = {key: {"type": "string"} for key in (*required, *optional)}
    description = "Switches it." if name.startswith("mcp__") else "Long. " * 1000
    return ToolSpec(name, description, {"type": "object", "properties": properties, "required": list(required)})


CLAUDE = (
    spec("Agent", "prompt"),
    spec("Bash", "command", optional=("description", "timeout")),
    spec("Edit", "file_path", "old_string", "new_string"),
    spec("Read", "file_path", optional=("offset",)),
    spec("Write", "file_path", "content"),
    spec("mcp__kit__lamp", "room"),
)
CODEX = (spec("exec_command", "cmd", optional=("workdir",)), spec("write_stdin", "session_id"), spec("get_goal"))
RAN = "Chunk ID: 1\nWall time: 0 seconds\nProcess exited with code {}\nOriginal token count: 1\nOutput:\n{}"
"""What Codex says of a command."""
OWN = (spec("read_file", "path"), spec("write_file", "path", "content"), spec("shell", "command"))


def asked(tools: tuple[ToolSpec, ...], *messages: Message, **more: Any) -> Translation:
    return Translation(Request(instruction="Be kind.", messages=messages or (ASK,), tools=tools, **more))


def called(translation: Translation, name: str, **arguments: str) -> tuple[str, dict[str, Any]]:
    """The call of the client that a call of the model becomes."""
    done = translation.back(Completed((ToolCall("c", name, json.dumps(arguments)),), "tool_calls"))
    assert isinstance(done, Completed)
    (call,) = done.parts
    assert isinstance(call, ToolCall)
    return call.name, json.loads(call.arguments)


def names(translation: Translation) -> set[str]:
    return {tool.name for tool in translation.request.tools}


@pytest.mark.parametrize(
    "tools",
    [
        OWN,
        (*OWN, *CLAUDE),
        (spec("lamp", "room"),),
        (spec("Bash", "script"),),
        (spec("Bash", "command", "reason"),),
        (),
    ],
)
def test_the_requests_of_others_stay_as_they_are(tools: tuple[ToolSpec, ...]) -> None:
    request = Request(instruction="x" * 9000, messages=(UserMessage((REMINDER, *ASK.parts)),), tools=tools)
    translation = Translation(request)
    assert translation.request is request
    delta = CallDelta(0, "{", "Bash")
    assert translation.back(delta) is delta


def test_claude_code_has_the_tools_that_the_model_knows() -> None:
    translation = asked(CLAUDE)
    own = {"read_file", "write_file", "edit_file", "shell", "list_files", "grep"}
    assert names(translation) == {*own, "mcp__kit__lamp"}
    assert called(translation, "write_file", path="a", content="b") == ("Write", {"file_path": "a", "content": "b"})
    assert called(translation, "edit_file", path="a", old="b", new="c")[1]["new_string"] == "c"
    assert called(translation, "grep", pattern="it's", ignore_case="x") == (
        "Bash",
        {"command": """grep -rnIiE -e 'it'"'"'s' ."""},
    )
    assert called(translation, "mcp__kit__lamp", room="hall") == ("mcp__kit__lamp", {"room": "hall"})
    assert translation.back(CallDelta(0, "{", "write_file")) is None
    assert translation.back(TextDelta("a")) == TextDelta("a")
    text = json.dumps(prefix(translation.request))
    assert len(text) < 8000
    assert "Make a file tea.txt" in text, "the examples fit"


def test_codex_does_by_commands_what_the_model_does_by_tools(tmp_path: Path) -> None:
    translation = asked(CODEX)
    assert names(translation) == {"shell", "list_files", "read_file", "grep", "write_file", "edit_file"}
    text = 'it\'s "50%" \\n $HOME\n'
    for name, given, said in (
        ("write_file", {"path": "a b.txt", "content": text}, ""),
        ("read_file", {"path": "a b.txt"}, text),
        ("list_files", {"path": "."}, "a b.txt\n"),
        ("grep", {"pattern": "IT'S"}, f"./a b.txt:1:{text}"),
        ("edit_file", {"path": "a b.txt", "old": "$HOME\n", "new": "it's $1 \\1"}, ""),
        ("read_file", {"path": "a b.txt"}, text.replace("$HOME\n", "it's $1 \\1")),
        ("shell", {"command": "echo x"}, "x\n"),
    ):
        tool, arguments = called(translation, name, **given)
        assert (tool, [*arguments]) == ("exec_command", ["cmd"])
        done = subprocess.run(["sh", "-c", arguments["cmd"]], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.returncode) == (said, 0), (name, done.stderr)
        call = AssistantMessage((ToolCall("c", tool, json.dumps(arguments)),))
        told = asked(CODEX, ASK, call, ToolMessage("c", tool, (Text("x"),))).request.messages[1]
        assert isinstance(told, AssistantMessage)
        assert (told.calls[0].name, json.loads(told.calls[0].arguments)) == (name, given), "read back as it was"


def test_an_edit_without_the_text_changes_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    _, arguments = called(asked(CODEX), "edit_file", path="a", old="o.e", new="two")
    done = subprocess.run(["sh", "-c", arguments["cmd"]], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (tmp_path / "a").read_text() == "one\n"
    call = AssistantMessage((ToolCall("c", "exec_command", json.dumps(arguments)),))
    told = asked(CODEX, ASK, call, ToolMessage("c", "exec_command", (Text(RAN.format(1, "")),))).request.messages[2]
    assert told == ToolMessage("c", "edit_file", (Text("the file has no such text: read it first"),), True)


@pytest.mark.parametrize(
    ("tools", "call", "result", "error", "shown"),
    [
        (CODEX, ("exec_command", {"cmd": "cat -- a"}), RAN.format(0, "hi"), False, ("read_file", "hi", False)),
        (CODEX, ("exec_command", {"cmd": "cat -- a"}), RAN.format(1, "no"), False, ("read_file", "no", True)),
        (CODEX, ("exec_command", {"cmd": "grep -rnIiE -e x ."}), RAN.format(1, ""), False, ("grep", "No match", False)),
        (CODEX, ("exec_command", {"cmd": "cat 'a"}), "odd", False, ("shell", "odd", False)),
        (CLAUDE, ("Bash", {"command": "false"}), "Exit code 1", True, ("shell", "", True)),
        (CLAUDE, ("Write", {"file_path": "a", "content": ""}), "File made", False, ("write_file", "created", False)),
        (CLAUDE, ("mcp__kit__lamp", {"room": "hall"}), "on", False, ("mcp__kit__lamp", "on", False)),
    ],
)  # fmt: skip
def test_results_are_what_the_models_own_tools_say(
    tools: tuple[ToolSpec, ...], call: tuple[str, Any], result: str, error: bool, shown: tuple[str, str, bool]
) -> None:
    made = AssistantMessage((ToolCall("c", call[0], json.dumps(call[1])),))
    told = asked(tools, ASK, made, ToolMessage("c", call[0], (Text(result),), error)).request.messages[2]
    assert isinstance(told, ToolMessage)
    assert (told.name, told.parts, told.error) == (shown[0], (Text(shown[1]),), shown[2])


def test_what_a_client_puts_around_the_words_is_no_question() -> None:
    made = AssistantMessage((ToolCall("c", "Read", '{"file_path": "a"}'),))
    result = ToolMessage("c", "Read", (Text("1\thi"),))
    late = UserMessage((REMINDER,))
    translation = asked(CLAUDE, CONTEXT, UserMessage((REMINDER, *ASK.parts)), made, result, late)
    first, *_, last = translation.request.messages
    assert first == ASK
    assert isinstance(last, ToolMessage)
    shown = chat(translation.request, cap=8000)
    assert "Make a.txt" in [one["content"] for one in shown]
    again = asked(CLAUDE, CONTEXT, UserMessage((REMINDER, *ASK.parts)), made, result, late, late).request
    assert chat(again, cap=8000) == shown, "what was read stays the beginning of what is read next"


def test_of_long_instructions_the_first_lines_are_shown() -> None:
    lines = "".join(f"line {number}\n" for number in range(1000))
    request = Request(instruction=lines, messages=(ASK,), tools=CODEX)
    shown = Translation(request).request.instruction
    assert lines.startswith(shown)
    assert INSTRUCTION - 20 < len(shown) <= INSTRUCTION
    assert shown.splitlines()[-1] in lines.splitlines()

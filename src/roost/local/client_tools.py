"""Tools of coding agents (Claude Code, Codex and others) under the names that the model knows.

The model is guided by worked examples with Roost's own tools. A coding agent brings tools that do the same under other
names, or one shell for all, two dozen that a small model cannot use, and instructions that take minutes to read. So its
request is translated before the model sees it, and the model's calls are translated back. A request without such tools
stays as it is.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    Message,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from roost.models.request import CallDelta, Completed, ModelEvent, Request, ToolSpec

INSTRUCTION = 1000
"""Characters of the instructions that the model is shown, from their beginning. They have up to 18,000, about tools
that it does not see; further down they name the folder, so that each folder would be another prefix."""
_PATHS = ("path", "file_path", "filePath")
_TOOLS: Mapping[str, tuple[frozenset[str], Mapping[str, tuple[str, ...]]]] = {
    "read_file": (frozenset({"Read", "read", "read_file"}), {"path": _PATHS}),
    "write_file": (frozenset({"Write", "write", "write_file"}), {"path": _PATHS, "content": ("content",)}),
    "edit_file": (
        frozenset({"Edit", "edit", "edit_file", "replace"}),
        {"path": _PATHS, "old": ("old_string", "oldString"), "new": ("new_string", "newString")},
    ),
    "shell": (frozenset({"Bash", "bash", "exec_command", "run_shell_command"}), {"command": ("command", "cmd")}),
}
"""Of each of Roost's tools: what clients call it, and what they call its arguments."""
_REPLACE = r"BEGIN{($o,$n)=splice@ARGV,0,2}$f=1 if s/\Q$o\E/$n/;END{$?=!$f}"
"""A program for perl, which nearly every Unix has: replaces the first piece, and fails where there is none."""
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "list_files": ("ls", "-1Ap", "--", "{path}"),
    "read_file": ("cat", "--", "{path}"),
    "grep": ("grep", "-rnIiE", "-e", "{pattern}", "."),
    "write_file": ("printf", "%s", "{content}", ">", "{path}"),
    "edit_file": ("perl", "-0777", "-pi", "-e", _REPLACE, "--", "{old}", "{new}", "{path}"),
}
"""Tools that a shell has as commands."""
_ORDER = ("path", "old", "new", "content", "pattern")
"""Of the arguments, as in the examples."""
_UNUSED = frozenset(
    """Agent CronCreate CronDelete CronList EnterPlanMode EnterWorktree ExitPlanMode ExitWorktree LSP Monitor
    NotebookEdit PushNotification RemoteTrigger ReportFindings ScheduleWakeup SendMessage Skill TaskCreate TaskGet
    TaskList TaskOutput TaskStop TaskUpdate TodoWrite ToolSearch WebFetch WebSearch Workflow AskUserQuestion
    create_goal get_goal request_user_input update_goal update_plan view_image write_stdin
    question skill task todoread todowrite webfetch websearch""".split()
)
"""Tools of these clients that plan, delegate or schedule. The model would call them in the place of a simple one."""
_WRAPPED = re.compile(r"\s*<([\w-]+)[^>]*>.*</\1>\s*", re.DOTALL)
"""A text that a client, not the user, wrote: `<system-reminder>…</system-reminder>` and the like."""
_CODEX_OUTPUT = re.compile(r"\A(?:Chunk ID|Wall time): .*?Process exited with code (-?\d+)\n.*?Output:\n?", re.DOTALL)


class _Way(NamedTuple):
    """How one of Roost's tools is called at the client. names: the client's arguments by Roost's. command: the words of
    a shell command instead, whose argument is `names["command"]`. more: arguments that the client requires besides."""

    tool: str
    names: Mapping[str, str]
    command: tuple[str, ...] = ()
    more: Mapping[str, str] = {}

    def there(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the client's arguments for Roost's."""
        if not self.command:
            return {self.names[name]: value for name, value in given.items() if name in self.names} | dict(self.more)
        words = [
            ">" if word == ">" else shlex.quote(str(given.get(word[1:-1], ".")) if word[0] == "{" else word)
            for word in self.command
        ]
        return {self.names["command"]: " ".join(words)} | dict(self.more)

    def back(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return Roost's arguments for the client's; None for a command that is not this one."""
        if not self.command:
            return {name: given[theirs] for name, theirs in self.names.items() if theirs in given}
        try:
            words = shlex.split(str(given.get(self.names["command"], "")))
        except ValueError:
            return None
        pairs = list(zip(self.command, words, strict=False))
        same = all(word[0] == "{" or word == made for word, made in pairs)
        if len(words) != len(self.command) or not same:
            return None
        return {word[1:-1]: made for word, made in pairs if word[0] == "{"}


class Translation:
    """request: what the model is asked. `back` translates its answer."""

    def __init__(self, request: Request) -> None:
        self._ways = _ways(request.tools)
        self.request = self._translated(request) if self._ways else request

    def back(self, event: ModelEvent) -> ModelEvent | None:
        """Return the event as the client understands it; None for a piece of a call, which is only known whole."""
        if not self._ways:
            return event
        if isinstance(event, CallDelta):
            return None
        if isinstance(event, Completed):
            return msgspec.structs.replace(event, parts=tuple(self._called(part) for part in event.parts))
        return event

    def _called(self, part: AssistantPart) -> AssistantPart:
        if not isinstance(part, ToolCall) or (way := self._ways.get(part.name)) is None:
            return part
        given = _decoded(part.arguments)
        return part if given is None else ToolCall(part.id, way.tool, json.dumps(way.there(given), ensure_ascii=False))

    def _translated(self, request: Request) -> Request:
        theirs = {way.tool for way in self._ways.values()}
        rest = [tool for tool in request.tools if tool.name not in theirs and tool.name not in _UNUSED]
        return msgspec.structs.replace(
            request,
            instruction=_beginning(request.instruction),
            tools=(*(_spec(name, way) for name, way in self._ways.items()), *rest),
            messages=self._told(_without_wraps(request.messages)),
        )

    def _told(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        names: dict[str, str] = {}
        found: list[Message] = []
        for message in messages:
            if isinstance(message, AssistantMessage):
                message = AssistantMessage(tuple(self._recalled(part, names) for part in message.parts))
            elif isinstance(message, ToolMessage) and message.call in names:
                message = _result(message, names[message.call])
            found.append(message)
        return tuple(found)

    def _recalled(self, part: AssistantPart, names: dict[str, str]) -> AssistantPart:
        """Translate an earlier call. names: gets Roost's name of the call."""
        given = _decoded(part.arguments) if isinstance(part, ToolCall) else None
        if not isinstance(part, ToolCall) or given is None:
            return part
        for name, way in sorted(self._ways.items(), key=lambda one: not one[1].command):
            if way.tool == part.name and (made := way.back(given)) is not None:
                names[part.id] = name
                return ToolCall(part.id, name, json.dumps(made, ensure_ascii=False))
        return part


def _ways(tools: Sequence[ToolSpec]) -> dict[str, _Way]:
    """Return how Roost's tools are called at this client, by their names; none where it is no coding agent."""
    ways: dict[str, _Way] = {}
    for name, (called, arguments) in _TOOLS.items():
        for tool in tools:
            names = _fitting(tool, arguments) if tool.name in called else None
            if names is not None and (tool.name != name or any(one != theirs for one, theirs in names.items())):
                ways[name] = _Way(tool.name, names, more=_more(tool, names.values()))
    there = {tool.name for tool in tools}
    if any(name in _TOOLS and (name not in ways or ways[name].tool != name) for name in there):
        return {}  # some are Roost's own
    if (shell := ways.get("shell")) is not None:
        for name, command in _COMMANDS.items():
            if name not in there:
                ways.setdefault(name, shell._replace(command=command))
    return ways if {"read_file", "write_file"} <= ways.keys() else {}


def _fitting(tool: ToolSpec, arguments: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """Return the tool's names of these arguments; None where it has others."""
    properties = cast("dict[str, Any]", tool.schema.get("properties") or {})
    names = {one: next((name for name in known if name in properties), "") for one, known in arguments.items()}
    needed = {name for name in tool.schema.get("required") or () if name != "description"}
    return names if all(names.values()) and needed <= set(names.values()) else None


def _more(tool: ToolSpec, names: Any) -> dict[str, str]:
    needed = tool.schema.get("required") or ()
    return {"description": "a step of the task"} if "description" in needed and "description" not in names else {}


def _spec(name: str, way: _Way) -> ToolSpec:
    words = sorted((word[1:-1] for word in way.command if word[0] == "{"), key=_ORDER.index) or list(way.names)
    properties = {word: {"type": "string"} for word in words}
    return ToolSpec(name, name, {"type": "object", "properties": properties, "required": words})


def _without_wraps(messages: Sequence[Message]) -> Sequence[Message]:
    """Leave out what the client said beside the user's words: the model would take it for what is asked, or for a
    file's text."""
    found: list[Message] = []
    for message in messages:
        if isinstance(message, UserMessage):
            kept = [part for part in message.parts if not (isinstance(part, Text) and _WRAPPED.fullmatch(part.text))]
            message = UserMessage(tuple(kept))
            if not kept:
                continue
        found.append(message)
    return found if any(isinstance(one, UserMessage) for one in found) else messages


def _result(message: ToolMessage, name: str) -> ToolMessage:
    """Return the result as the tool `name` of Roost gives it."""
    text = "\n".join(part.text for part in message.parts if isinstance(part, Text))
    error = message.error
    if head := _CODEX_OUTPUT.match(text):
        text, error = text[head.end() :], head[1] != "0"
    elif error and text.startswith("Exit code "):
        text = text.partition("\n")[2]
    if name == "grep" and not text.strip():
        return ToolMessage(message.call, name, (Text("No match"),))
    if name == "edit_file" and error and not text.strip():
        text = "the file has no such text: read it first"
    if name in ("write_file", "edit_file") and not error:
        text = "created" if name == "write_file" else "changed"
    return ToolMessage(message.call, name, (Text(text),), error)


def _beginning(text: str) -> str:
    """Return the whole lines of the beginning, or as much as fits of the first one."""
    if len(text) <= INSTRUCTION:
        return text
    return text[:INSTRUCTION].rpartition("\n")[0] or text[:INSTRUCTION]


def _decoded(arguments: str) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None

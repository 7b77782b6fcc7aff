"""Read the input of a run. A client sends the whole thread each time; the session has it already, so only what is new
counts. Unknown fields are ignored."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, cast

import msgspec

from roost.doors.media import base64_data
from roost.errors import Invalid, TooLarge
from roost.features.client_tools.events import ClientResultInput, OfferedTool
from roost.log.content import Audio, File, Image, Text, UserPart, Video

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MEDIA = {"image": Image, "audio": Audio, "video": Video, "document": File}
_TOLD_BYTES = 64 * 1024
RESULT = "/result"
"""The end of the ids of messages that tell what a tool of the agent returned."""


class Message(msgspec.Struct, rename="camel"):
    """A message of the thread. content: text, parts, or the object of an activity."""

    role: str
    id: str = ""
    content: Any = None
    tool_call_id: str | None = None
    error: str | None = None


class AppTool(msgspec.Struct):
    """A tool that the application runs. parameters: a JSON Schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class ContextEntry(msgspec.Struct):
    """Something that the application tells of its surroundings."""

    description: str
    value: str


class ResumeEntry(msgspec.Struct, rename="camel"):
    """The answer to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class RunInput(msgspec.Struct, rename="camel"):
    """The fields of `RunAgentInput` that count here."""

    thread_id: str
    run_id: str
    messages: list[Any]
    tools: list[AppTool] | None = None
    context: list[ContextEntry] | None = None
    state: Any = None
    resume: list[ResumeEntry] | None = None


class News(NamedTuple):
    """What a run's input says that the session does not know. told: what the application says of itself. own: ids of
    messages of this very run, which the client has when it sends the run again. earlier: all other messages, as they
    came."""

    parts: tuple[UserPart, ...]
    results: tuple[ClientResultInput, ...]
    instructions: str | None
    told: Text | None
    own: frozenset[str]
    earlier: tuple[Any, ...]


def news(run: RunInput) -> News:
    """Find what is new in the messages of a run. Raises `Invalid`."""
    parts: list[UserPart] = []
    results: list[ClientResultInput] = []
    system: list[str] = []
    own: set[str] = set()
    earlier: list[Any] = []
    for at, raw in enumerate(run.messages):
        message = _message(raw, at)
        if message.id.startswith(f"{run.run_id}/"):
            own.add(message.id)
            continue
        earlier.append(raw)
        match message.role:
            case "system" | "developer":
                system.append(_text(message, at))
            case "user":
                parts += _parts(message, at)
            case "assistant":
                parts, results = [], []
            case "tool":
                if not message.id.endswith(RESULT):
                    results.append(_result(message, at))
            case "reasoning" | "activity":
                pass
            case role:
                raise Invalid(f"messages[{at}].role: {role!r} is no role of AG-UI")
    instructions, told = "\n\n".join(text for text in system if text.strip()) or None, _told(run)
    if len(f"{instructions}{told}".encode(errors="replace")) > _TOLD_BYTES:
        raise TooLarge(f"system and developer messages, context and state have at most {_TOLD_BYTES} bytes together")
    return News(tuple(parts), tuple(results), instructions, told, frozenset(own), tuple(earlier))


def _told(run: RunInput) -> Text | None:
    """Return what the application tells, as a part of the user's message: it has no rank above the user's words."""
    told = [f"{one.description}:\n{one.value}" for one in run.context or ()]
    if run.state not in (None, {}, []):
        told.append(f"State of the application:\n{msgspec.json.encode(run.state).decode()}")
    return Text("\n\n".join(("[Told by the application]", *told)) + "\n\n") if told else None


def offered(tools: list[AppTool] | None) -> tuple[OfferedTool, ...]:
    """Return the application's tools. Raises `Invalid`."""
    found: dict[str, OfferedTool] = {}
    for at, tool in enumerate(tools or ()):
        if not _NAME.fullmatch(tool.name):
            raise Invalid(f"tools[{at}].name: use letters, digits, _ and - (at most 64)")
        if tool.name in found:
            raise Invalid(f"tools[{at}]: two tools are called {tool.name!r}")
        schema = tool.parameters or {"type": "object", "properties": {}}
        found[tool.name] = OfferedTool(tool.name, tool.description, schema)
    return tuple(found.values())


def _message(raw: Any, at: int) -> Message:
    try:
        return msgspec.convert(raw, Message)
    except msgspec.ValidationError as error:
        raise Invalid(f"messages[{at}]: {error}") from None


def _text(message: Message, at: int) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    raise Invalid(f"messages[{at}].content: the content of a {message.role} message is text")


def _result(message: Message, at: int) -> ClientResultInput:
    if not message.tool_call_id:
        raise Invalid(f"messages[{at}].toolCallId: say of which call this is the result")
    content: Any = message.content
    parts = _parts(message, at) if isinstance(content, list) else [Text(_text(message, at) or message.error or "")]
    return ClientResultInput(message.tool_call_id, tuple(parts), error=message.error is not None)


def _parts(message: Message, at: int) -> list[UserPart]:
    content: Any = message.content
    if isinstance(content, list):
        given = cast("list[Any]", content)
        return [_part(part, f"messages[{at}].content[{number}]") for number, part in enumerate(given)]
    text = _text(message, at)
    return [Text(text)] if text else []


class _Source(msgspec.Struct, rename="camel"):
    type: str
    value: str
    mime_type: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    source: _Source | None = None


def _part(raw: Any, where: str) -> UserPart:
    try:
        part = msgspec.convert(raw, _Part)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from None
    if part.type == "text" and part.text is not None:
        return Text(part.text)
    kind, source = _MEDIA.get(part.type), part.source
    if kind is None or source is None:
        raise Invalid(f"{where}: a part of type {part.type!r} cannot be read here")
    if source.type == "url" and source.value.startswith(("http://", "https://")):
        return kind(source.mime_type or f"{part.type}/*", url=source.value)
    if source.type != "data" or not source.mime_type:
        raise Invalid(f"{where}.source: give data in base64 with its mimeType, or an http(s) URL")
    return kind(source.mime_type, base64_data(source.value, f"{where}.source.value"))

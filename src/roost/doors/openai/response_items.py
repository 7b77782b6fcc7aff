"""Read the items of a request of the Responses API."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from roost.doors.digests import Exchange
from roost.doors.media import base64_data, data_url, image_part
from roost.errors import Invalid
from roost.log.content import Audio, File, ResultPart, Text, Thinking, ToolCall, UserPart

_FOREIGN = {
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "computer_call", "computer_call_output", "configuration_update", "file_search_call", "image_generation_call",
    "local_shell_call", "local_shell_call_output", "mcp_approval_request", "mcp_approval_response", "mcp_call",
    "mcp_list_tools", "program", "program_output", "shell_call", "shell_call_output", "tool_search_call",
    "tool_search_output", "web_search_call",
}  # fmt: skip
"""Items of tools that OpenAI runs itself. A history may hold them; no model here can read them."""
CUSTOM = "input"
"""The one argument of a custom tool, which takes a text and no JSON."""


class SystemText(NamedTuple):
    text: str


class Said(NamedTuple):
    """A message of the user."""

    parts: tuple[UserPart, ...]


class Answered(NamedTuple):
    """A message of the assistant."""

    text: str


class Reasoned(NamedTuple):
    """Reasoning that comes back. lead: it stood before all else of its answer."""

    parts: tuple[Thinking, ...]
    lead: bool


class Result(NamedTuple):
    """The outcome of a call that the client ran."""

    call: str
    parts: tuple[ResultPart, ...]


Item: TypeAlias = SystemText | Said | Answered | Reasoned | ToolCall | Result


class Dialogue(NamedTuple):
    """What the items say: what was said before, the new message, and the texts for the system. results: of calls of the
    client's tools, when the items end with them, perhaps before a new message."""

    before: list[Exchange]
    parts: tuple[UserPart, ...]
    instructions: str | None
    results: tuple[Result, ...]


def items_of(given: str | Sequence[dict[str, Any]] | None) -> list[Item]:
    """Return the items that count here. Raises `Invalid`."""
    if isinstance(given, str):
        return [Said((Text(given),))] if given else []
    found = (_item(item, f"input[{at}]") for at, item in enumerate(given or ()))
    return [item for item in found if item is not None]


def dialogue(items: Sequence[Item]) -> Dialogue:
    """Divide items into exchanges, results and the new message."""
    before: list[Exchange] = []
    system: list[str] = []
    parts: list[UserPart] = []
    results: list[Result] = []
    for item in items:
        match item:
            case SystemText(text):
                system += [text] if text.strip() else []
            case Said():
                parts += item.parts
            case Result():
                results.append(item)
            case Reasoned():
                pass
            case Answered() | ToolCall():
                text, calls = (item.text, ()) if isinstance(item, Answered) else ("", (item.id,))
                _answer(before, parts, text, calls)
                parts, results = [], []
    return Dialogue(before, tuple(parts), "\n\n".join(system) or None, tuple(results))


def _answer(before: list[Exchange], parts: list[UserPart], text: str, calls: tuple[str, ...]) -> None:
    """Add to what the assistant said last, or begin another exchange after `parts`."""
    if parts or not before:
        before.append(Exchange(tuple(parts), text, calls))
    else:
        last = before[-1]
        before[-1] = Exchange(last.parts, last.answer + "\n" + text, (*last.calls, *calls))


def sealed(parts: Sequence[Thinking], *, lead: bool) -> str:
    """Return reasoning as `encrypted_content`: opaque for the client, which sends it back."""
    body = msgspec.json.encode(Reasoned(tuple(parts), lead))
    return binascii.b2a_base64(body, newline=False).decode()


def _unsealed(text: str) -> Reasoned | None:
    """Return what `sealed` was given; None for another server's content."""
    try:
        return msgspec.json.decode(binascii.a2b_base64(text, strict_mode=True), type=Reasoned)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _item(item: dict[str, Any], where: str) -> Item | None:
    kind = item.get("type") or ("message" if "role" in item else None)
    if kind == "message":
        return _message(item, where)
    if kind == "reasoning":
        content = item.get("encrypted_content")
        return _unsealed(content) if isinstance(content, str) else None
    if kind in ("function_call", "custom_tool_call"):
        arguments = _text(item, "arguments" if kind == "function_call" else "input", where)
        if kind == "custom_tool_call":
            arguments = msgspec.json.encode({CUSTOM: arguments}).decode()
        return ToolCall(_text(item, "call_id", where), _text(item, "name", where), arguments)
    if kind in ("function_call_output", "custom_tool_call_output"):
        return Result(_text(item, "call_id", where), _output(item.get("output"), where))
    if isinstance(kind, str) and kind in _FOREIGN:
        return None
    if kind == "item_reference":
        raise Invalid(f"{where}: an item cannot be named here; send the item itself, or `previous_response_id`")
    raise Invalid(f"{where}.type: {kind!r} is no type of item")


def _message(item: dict[str, Any], where: str) -> Item:
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        raise Invalid(f"{where}.role: {role!r} is none of user, assistant, system, developer")
    if role == "user":
        return Said(tuple(_parts(content, f"{where}.content")))
    text = "".join(_texts(content, f"{where}.content"))
    return Answered(text) if role == "assistant" else SystemText(text)


def _content(content: Any, where: str) -> list[dict[str, Any]]:
    """Return content as a list of parts. Raises `Invalid`."""
    if content is None or isinstance(content, str):
        return [{"type": "input_text", "text": content}] if content else []
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in cast("list[Any]", content)):
        raise Invalid(f"{where}: give a text, or a list of parts")
    return cast("list[dict[str, Any]]", content)


def _texts(content: Any, where: str) -> list[str]:
    found: list[str] = []
    for at, part in enumerate(_content(content, where)):
        text = part.get("refusal") if part.get("type") == "refusal" else part.get("text")
        if not isinstance(text, str):
            raise Invalid(f"{where}[{at}]: {part.get('type')!r} is no text")
        found.append(text)
    return found


def _parts(content: Any, where: str) -> list[UserPart]:
    return [_part(part, f"{where}[{at}]") for at, part in enumerate(_content(content, where))]


def _output(given: Any, where: str) -> tuple[ResultPart, ...]:
    """Return the outcome of a call: a text, or a list of parts. Raises `Invalid`."""
    return tuple(_parts(given, f"{where}.output")) or (Text(""),)


def _part(part: dict[str, Any], where: str) -> UserPart:
    kind = part.get("type")
    if kind in ("input_text", "text", "output_text", "summary_text"):
        return Text(_text(part, "text", where))
    if part.get("file_id") is not None:
        raise Invalid(f"{where}.file_id: no files are kept here; send the data itself, or a URL")
    if kind == "input_image":
        return image_part(_text(part, "image_url", where), where)
    if kind == "input_file":
        return _file(part, where)
    audio: Any = part.get("input_audio")
    if kind == "input_audio" and isinstance(audio, dict):
        given = cast("dict[str, Any]", audio)
        if given.get("format") in ("wav", "mp3"):
            return Audio(f"audio/{given['format']}", base64_data(given.get("data"), where))
    raise Invalid(f"{where}: a part of type {kind!r} cannot be read here")


def _file(part: dict[str, Any], where: str) -> File:
    name = part.get("filename")
    if not isinstance(name, str | None):
        raise Invalid(f"{where}.filename: give a text")
    url = part.get("file_url")
    if isinstance(url, str):
        if not url.startswith(("http://", "https://")):
            raise Invalid(f"{where}.file_url: give an http(s) URL")
        return File("application/pdf", url=url, name=name)
    media_type, content = data_url(data := _text(part, "file_data", where)) or ("application/pdf", data)
    return File(media_type, base64_data(content, where), name=name)


def _text(item: dict[str, Any], field: str, where: str) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        raise Invalid(f"{where}.{field}: give a text")
    return value

"""Read a request of chat completions. Unknown fields are ignored: clients send more than any server knows."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from roost.doors.digests import Exchange
from roost.doors.media import base64_data, data_url, image_part
from roost.errors import Invalid
from roost.log.content import Audio, File, Text, UserPart


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatMessage(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatRequest(msgspec.Struct):
    """The fields that count here."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class Dialogue(msgspec.Struct):
    """The messages of a request: what was said before, the new message, and the texts for the system. results: of calls
    of the client's tools, by call id, that follow the last answer."""

    before: list[Exchange]
    parts: tuple[UserPart, ...]
    instructions: str | None
    results: dict[str, str]


def dialogue(messages: list[ChatMessage]) -> Dialogue:
    """Divide messages into exchanges and the new message. Earlier results of tools are no part of what was said. Raises
    `Invalid`."""
    before: list[Exchange] = []
    results: dict[str, str] = {}
    system: list[str] = []
    parts: list[UserPart] = []
    for at, message in enumerate(messages):
        if message.role in ("system", "developer"):
            system.append(text_of(message, at))
        elif message.role == "user":
            parts += user_parts(message, at)
        elif message.role == "assistant":
            text, calls = text_of(message, at), _call_ids(message)
            if parts or not before:
                before.append(Exchange(tuple(parts), text, calls))
            else:
                last = before[-1]
                before[-1] = Exchange(last.parts, last.answer + "\n" + text, (*last.calls, *calls))
            parts, results = [], {}
        elif message.role == "tool":
            results[message.tool_call_id or ""] = text_of(message, at)
        else:
            raise Invalid(f"messages[{at}].role: {message.role!r} is none of system, developer, user, assistant, tool")
    if not parts and not (results and before):
        raise Invalid("messages: the last message must be the user's, and must not be empty")
    instructions = "\n\n".join(text for text in system if text.strip()) or None
    return Dialogue(before, tuple(parts), instructions, results)


def _call_ids(message: ChatMessage) -> tuple[str, ...]:
    ids = (call.get("id") for call in message.tool_calls or ())
    return tuple(id for id in ids if isinstance(id, str))


def text_of(message: ChatMessage, at: int) -> str:
    """Return the text of a message that may have nothing else. Raises `Invalid`."""
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts: list[str] = []
    for number, part in enumerate(message.content):
        text = part.get("text") if part.get("type") == "text" else part.get("refusal")
        if not isinstance(text, str):
            raise Invalid(f"messages[{at}].content[{number}]: {part.get('type')!r} is no text")
        texts.append(text)
    return "".join(texts)


def user_parts(message: ChatMessage, at: int) -> list[UserPart]:
    """Return the parts of a user's message. Raises `Invalid`."""
    if message.content is None or isinstance(message.content, str):
        return [Text(message.content)] if message.content else []
    return [_part(part, f"messages[{at}].content[{number}]") for number, part in enumerate(message.content)]


def _part(part: dict[str, Any], where: str) -> UserPart:
    kind = part.get("type")
    value: Any = part.get(str(kind))
    if kind == "text" and isinstance(value, str):
        return Text(value)
    if isinstance(value, dict):
        given = cast("dict[str, Any]", value)
        if kind == "image_url" and isinstance(url := given.get("url"), str):
            return image_part(url, where)
        if kind == "input_audio" and given.get("format") in ("wav", "mp3"):
            return Audio(f"audio/{given['format']}", base64_data(given.get("data"), where))
        if kind == "file" and isinstance(data := given.get("file_data"), str):
            media_type, content = data_url(data) or ("application/pdf", data)
            if not isinstance(name := given.get("filename"), str | None):
                raise Invalid(f"{where}: filename is text")
            return File(media_type, base64_data(content, where), name=name)
    raise Invalid(f"{where}: a part of type {kind!r} cannot be read here")

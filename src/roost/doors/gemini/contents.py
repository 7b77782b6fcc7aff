"""Read the contents of a request as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.doors.gemini.content_request import Content, Json
from roost.doors.gemini.signatures import opened
from roost.doors.media import base64_data
from roost.errors import Invalid
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    Audio,
    File,
    Image,
    Message,
    ResultPart,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
    UserPart,
    Video,
)

_KINDS: dict[str, type[Image | Audio | Video]] = {"image": Image, "audio": Audio, "video": Video}
_WORDS = ("output", "result", "error")


def messages_of(contents: Sequence[Content], *, whole: bool = True) -> tuple[Message, ...]:
    """Return the conversation as every provider accepts it: it begins with the user, and each call has its result.
    whole: the conversation must be one that a model can answer. Raises `Invalid`."""
    found: list[Message] = []
    waiting: dict[str, str] = {}  # names of the calls that have no result yet
    known: set[str] = set()  # ids of the calls of the newest answer
    for at, content in enumerate(contents):
        if content.role == "model":
            _open_calls(waiting, whole)
            parts = _answered(content, at)
            if parts:
                _add(found, AssistantMessage(tuple(parts)))
            waiting = {part.id: part.name for part in parts if isinstance(part, ToolCall)}
            known = {*waiting}
            continue
        results, said = _said(content, at, waiting, known)
        found += results
        if said:
            _open_calls(waiting, whole)
            waiting = {}
            _add(found, UserMessage(tuple(said)))
    _open_calls(waiting, whole)
    if whole and (not found or isinstance(found[-1], AssistantMessage)):
        raise Invalid("contents: the last one must be the user's, and must not be empty")
    if whole and not isinstance(found[0], UserMessage):
        raise Invalid("contents: the first one must be the user's")
    return tuple(found)


def _open_calls(waiting: Mapping[str, str], whole: bool) -> None:
    if waiting and whole:
        names = ", ".join(waiting.values())
        raise Invalid(f"contents: function calls have no function response directly behind them: {names}")


def _add(found: list[Message], message: UserMessage | AssistantMessage) -> None:
    """Add a message, or its parts to one of the same side."""
    last = found[-1] if found else None
    if isinstance(last, UserMessage) and isinstance(message, UserMessage):
        found[-1] = UserMessage((*last.parts, *message.parts))
    elif isinstance(last, AssistantMessage) and isinstance(message, AssistantMessage):
        found[-1] = AssistantMessage((*last.parts, *message.parts))
    else:
        found.append(message)


def _answered(content: Content, at: int) -> list[AssistantPart]:
    """Return the parts of an answer. Parts of tools that Google ran are left out: the text has their results."""
    parts: list[AssistantPart] = []
    for number, part in enumerate(content.parts or ()):
        where = f"contents[{at}].parts[{number}]"
        if part.get("thought"):
            continue
        if isinstance(signature := part.get("thoughtSignature"), str):
            parts += opened(signature)
        if (given := part.get("functionCall")) is not None:
            call = _object(given, f"{where}.functionCall")
            id = call.get("id")
            arguments = msgspec.json.encode(_object(call.get("args") or {}, f"{where}.functionCall.args")).decode()
            own = id if isinstance(id, str) and id else f"call_{at}_{number}"
            parts.append(ToolCall(own, _name(call, where), arguments))
        elif isinstance(text := part.get("text"), str) and text:
            parts.append(Text(text))
        elif "inlineData" in part and not isinstance(media := _media(part, where), File):
            parts.append(media)
    return parts


def _said(
    content: Content, at: int, waiting: dict[str, str], known: set[str]
) -> tuple[list[ToolMessage], list[UserPart]]:
    """Return the results and the rest of a content of the user, and take the results' calls out of `waiting`. Gemini
    CLI tells each result twice once it has resumed a conversation: the second is left out."""
    results: list[ToolMessage] = []
    said: list[UserPart] = []
    for number, part in enumerate(content.parts or ()):
        where = f"contents[{at}].parts[{number}]"
        if (given := part.get("functionResponse")) is not None:
            response = _object(given, f"{where}.functionResponse")
            if (id := response.get("id")) not in known or id in waiting:
                results.append(_result(response, where, waiting))
        elif isinstance(text := part.get("text"), str):
            said += [Text(text)] if text else []
        elif "inlineData" in part or "fileData" in part:
            said.append(_media(part, where))
        else:
            raise Invalid(f"{where}: a part with {', '.join(part) or 'nothing'} cannot be read here")
    return results, said


def _result(given: Json, where: str, waiting: dict[str, str]) -> ToolMessage:
    """Return the result of a call: that with its id, else the first one of its name."""
    name = _name(given, where)
    call = given.get("id")
    if not isinstance(call, str) or call not in waiting:
        call = next((id for id, called in waiting.items() if called == name), None)
    if call is None:
        raise Invalid(f"{where}.functionResponse: no call of {name!r} directly before it waits for a result")
    response = _object(given.get("response") or {}, f"{where}.functionResponse.response")
    parts: list[ResultPart] = [Text(text)] if (text := _text(response)) else []
    for number, part in enumerate(given.get("parts") or ()):
        inner = f"{where}.functionResponse.parts[{number}]"
        parts.append(_media(_object(part, inner), inner))
    return ToolMessage(call, waiting.pop(call), tuple(parts), "error" in response and "output" not in response)


def _text(response: Json) -> str:
    """Return the text of a response: that of its only field, else its JSON."""
    if len(response) == 1:
        name, value = next(iter(response.items()))
        if name in _WORDS and isinstance(value, str):
            return value
    return msgspec.json.encode(response).decode() if response else ""


def _media(part: Json, where: str) -> Image | Audio | Video | File:
    if (given := part.get("fileData")) is not None:
        file = _object(given, f"{where}.fileData")
        url, media_type = file.get("fileUri"), file.get("mimeType")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise Invalid(f"{where}.fileData: no files are kept here; give an http(s) URL, or the data")
        return _kind(media_type)(media_type if isinstance(media_type, str) else "image/*", url=url)
    data = _object(part.get("inlineData"), f"{where}.inlineData")
    if not isinstance(media_type := data.get("mimeType"), str) or not media_type:
        raise Invalid(f"{where}.inlineData.mimeType: name the type of the data")
    return _kind(media_type)(media_type, base64_data(_standard(data.get("data")), f"{where}.inlineData.data"))


def _kind(media_type: Any) -> type[Image | Audio | Video | File]:
    if not isinstance(media_type, str):
        return Image
    return _KINDS.get(media_type.partition("/")[0].lower(), File)


def _standard(data: Any) -> Any:
    """Return base64 in its standard alphabet: clients may send the one for URLs, without padding."""
    if not isinstance(data, str):
        return data
    plain = data.replace("-", "+").replace("_", "/")
    return plain + "=" * (-len(plain) % 4)


def _name(given: Json, where: str) -> str:
    if not isinstance(name := given.get("name"), str) or not name:
        raise Invalid(f"{where}: name the function")
    return name


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise Invalid(f"{where}: give an object")
    return cast("Json", value)

"""Read the messages of a request as what the user and the assistant said in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from roost.doors.anthropic.message_request import InputMessage, texts_of
from roost.doors.anthropic.signatures import add_thinking
from roost.doors.media import base64_data
from roost.errors import Invalid
from roost.log.content import AssistantPart, File, Image, ResultPart, Text, ToolCall, UserPart

Json: TypeAlias = dict[str, Any]


class Result(NamedTuple):
    """The outcome of a call that the client ran."""

    call: str
    parts: tuple[ResultPart, ...]
    error: bool


class Said(NamedTuple):
    """What the user said: results of calls, then everything else."""

    results: tuple[Result, ...]
    parts: tuple[UserPart, ...]


class Answered(NamedTuple):
    parts: tuple[AssistantPart, ...]

    @property
    def calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]


Entry: TypeAlias = Said | Answered


def conversation(messages: Sequence[InputMessage]) -> list[Entry]:
    """Return what was said, one entry for successive messages of one side. Instructions in mid-conversation are parts
    of what the user said, marked as such. Raises `Invalid`."""
    found: list[Entry] = []
    for at, message in enumerate(messages):
        where = f"messages.{at}.content"
        content = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
        last = found[-1] if found else None
        if message.role == "assistant":
            answer = _answered(content, where, last.parts if isinstance(last, Answered) else ())
            found[len(found) - isinstance(last, Answered) :] = [answer]
        elif message.role in ("user", "system"):
            said = _reminded(content, where) if message.role == "system" else _said(content, where)
            if isinstance(last, Said):
                found[-1] = Said(last.results + said.results, last.parts + said.parts)
            else:
                found.append(said)
        else:
            raise Invalid(f"messages.{at}.role: {message.role!r} is none of user, assistant, system")
    return found


def _reminded(blocks: Sequence[Json], where: str) -> Said:
    text = "\n\n".join(text for text in texts_of(blocks, where) if text.strip())
    return Said((), (Text(f"<system-reminder>\n{text}\n</system-reminder>"),) if text else ())


def _said(blocks: Sequence[Json], where: str) -> Said:
    results: list[Result] = []
    parts: list[UserPart] = []
    for at, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            results.append(_result(block, f"{where}.{at}"))
        else:
            parts += _parts(block, f"{where}.{at}")
    return Said(tuple(results), tuple(parts))


def _result(block: Json, where: str) -> Result:
    call, content = block.get("tool_use_id"), block.get("content")
    if not isinstance(call, str) or not call:
        raise Invalid(f"{where}.tool_use_id: name the call")
    return Result(call, tuple(_inner(content, f"{where}.content")), bool(block.get("is_error")))


def _inner(content: Any, where: str) -> list[UserPart]:
    """Return the parts of content inside a block: a text, or blocks."""
    if content is None or isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        raise Invalid(f"{where}: give a text, or a list of blocks")
    return [
        part
        for at, block in enumerate(cast("list[Any]", content))
        for part in _parts(_object(block, f"{where}.{at}"), f"{where}.{at}")
    ]


def _parts(block: Json, where: str) -> list[UserPart]:
    read = _READERS.get(str(block.get("type")))
    if read is None:
        raise Invalid(f"{where}.type: a block of type {block.get('type')!r} cannot be read here")
    return read(block, where)


def _text(block: Json, where: str) -> list[UserPart]:
    text = _string(block, "text", where)
    return [Text(text)] if text.strip() else []


def _image(block: Json, where: str) -> list[UserPart]:
    source = _object(block.get("source"), f"{where}.source")
    if source.get("type") == "url":
        return [Image("image/*", url=_url(source, f"{where}.source"))]
    return [Image(*_base64(source, f"{where}.source"))]


def _document(block: Json, where: str) -> list[UserPart]:
    where = f"{where}.source"
    source, title = _object(block.get("source"), where), block.get("title")
    name = title if isinstance(title, str) else None
    lead: list[UserPart] = [Text(f"[{name}]\n")] if name else []
    match source.get("type"):
        case "text":
            return [*lead, Text(_string(source, "data", where))]
        case "content":
            return [*lead, *_inner(source.get("content"), f"{where}.content")]
        case "url":
            return [File("application/pdf", url=_url(source, where), name=name)]
        case _:
            return [File(*_base64(source, where), name=name)]


def _search_result(block: Json, where: str) -> list[UserPart]:
    head = "\n".join(str(block[key]) for key in ("title", "source") if block.get(key))
    return [*([Text(f"[{head}]\n")] if head else []), *_inner(block.get("content"), f"{where}.content")]


def _reference(block: Json, where: str) -> list[UserPart]:
    return [Text(f"[tool {_string(block, 'tool_name', where)}]")]


_READERS: dict[str, Callable[[Json, str], list[UserPart]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _reference,
}


def _answered(blocks: Sequence[Json], where: str, before: Sequence[AssistantPart]) -> Answered:
    """Return the parts of an answer. Blocks of tools that Anthropic ran are left out: the text has their results."""
    parts: list[Any] = [*before]
    for at, block in enumerate(blocks):
        place = f"{where}.{at}"
        match block.get("type"):
            case "text":
                parts += _text(block, place)
            case "thinking":
                add_thinking(parts, _string(block, "thinking", place), _optional(block, "signature", place))
            case "redacted_thinking":
                add_thinking(parts, "", _string(block, "data", place), redacted=True)
            case "tool_use":
                given = _object(block.get("input") or {}, f"{place}.input")
                arguments = msgspec.json.encode(given).decode()
                parts.append(ToolCall(_string(block, "id", place), _string(block, "name", place), arguments))
            case _:
                pass
    return Answered(tuple(parts))


def _object(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise Invalid(f"{where}: give an object")
    return cast("Json", value)


def _string(block: Json, key: str, where: str) -> str:
    if not isinstance(value := block.get(key), str):
        raise Invalid(f"{where}.{key}: give a text")
    return value


def _optional(block: Json, key: str, where: str) -> str | None:
    return None if block.get(key) is None else _string(block, key, where)


def _url(source: Json, where: str) -> str:
    url = _string(source, "url", where)
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{where}.url: give an http(s) URL")
    return url


def _base64(source: Json, where: str) -> tuple[str, str]:
    """Return the media type and the data."""
    if source.get("type") != "base64":
        raise Invalid(f"{where}.type: {source.get('type')!r} cannot be read here; send the data in base64, or a URL")
    data = base64_data(_string(source, "data", where), f"{where}.data")
    return _string(source, "media_type", where), data

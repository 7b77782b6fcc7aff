"""Blocks of messages and results, read and written."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias

from roost.doors.managed.requests import Asking
from roost.doors.media import base64_data
from roost.errors import Invalid, TooLarge
from roost.log.content import File, Image, Text, UserPart

_INSTRUCTION = "(instruction) "

FileOf: TypeAlias = Callable[[str], Awaitable[tuple[str, str, bytes]]]
"""Returns name, media type and content of an uploaded file. Raises `RoostError`."""


class RequestFiles:
    """The files that one request names: each is read once, and all that its blocks show of them is at most `most`
    bytes."""

    def __init__(self, file: FileOf, most: int) -> None:
        self._file, self._left = file, most
        self._read: dict[str, tuple[str, str, bytes]] = {}

    async def __call__(self, id: str) -> tuple[str, str, bytes]:
        if id not in self._read:
            self._read[id] = await self._file(id)
        self._left -= len(self._read[id][2])
        if self._left < 0:
            raise TooLarge(f"file {id[:128]!r}: the files of a request have too many bytes; mount them instead")
        return self._read[id]


class Base64Given(Asking, tag_field="type", tag="base64"):
    data: str
    media_type: str


class UrlGiven(Asking, tag_field="type", tag="url"):
    url: str


class PlainGiven(Asking, tag_field="type", tag="text"):
    data: str
    media_type: Literal["text/plain"] = "text/plain"


class UploadGiven(Asking, tag_field="type", tag="file"):
    file_id: str


class TextGiven(Asking, tag_field="type", tag="text"):
    text: str


class ImageGiven(Asking, tag_field="type", tag="image"):
    source: Base64Given | UrlGiven | UploadGiven


class DocumentGiven(Asking, tag_field="type", tag="document"):
    source: Base64Given | UrlGiven | PlainGiven | UploadGiven
    title: str | None = None
    context: str | None = None


class SourceText(Asking, tag_field="type", tag="text"):
    text: str


class SearchResultGiven(Asking, tag_field="type", tag="search_result"):
    source: str
    title: str
    content: list[SourceText]
    citations: Any = None


class RedactedGiven(Asking, tag_field="type", tag="redacted"):
    pass


BlockGiven: TypeAlias = TextGiven | ImageGiven | DocumentGiven | SearchResultGiven | RedactedGiven


async def parts_of(given: Sequence[BlockGiven], where: str, file: FileOf) -> tuple[UserPart, ...]:
    """Return what blocks say. Raises `RoostError`."""
    found: list[UserPart] = []
    for at, block in enumerate(given):
        here = f"{where}[{at}]"
        match block:
            case TextGiven():
                found.append(Text(block.text))
            case ImageGiven():
                found.append(await _image(block.source, f"{here}.source", file))
            case DocumentGiven():
                found += await _document(block, f"{here}.source", file)
            case SearchResultGiven():
                text = "\n".join(one.text for one in block.content)
                found.append(Text(f"{block.title} ({block.source})\n{text}"))
            case RedactedGiven():
                raise Invalid(f"{here}: a redacted block says nothing; leave it out")
    return tuple(found)


async def _image(source: Base64Given | UrlGiven | UploadGiven, where: str, file: FileOf) -> Image:
    match source:
        case UrlGiven():
            return Image("image/*", url=_address(source.url, where))
        case Base64Given():
            return Image(source.media_type, base64_data(source.data, f"{where}.data"))
        case UploadGiven():
            name, kind, content = await file(source.file_id)
            if not kind.startswith("image/"):
                raise Invalid(f"{where}: the file {name!r} is no image, but {kind}")
            return Image(kind, base64.b64encode(content).decode(), name=name)


async def _document(block: DocumentGiven, where: str, file: FileOf) -> list[UserPart]:
    source = block.source
    match source:
        case PlainGiven():
            part: UserPart = Text(source.data)
        case UrlGiven():
            part = File("application/pdf", url=_address(source.url, where), name=block.title)
        case Base64Given():
            part = File(source.media_type, base64_data(source.data, f"{where}.data"), name=block.title)
        case UploadGiven():
            part = _read(*await file(source.file_id))
    about = " ".join(one for one in (block.title, block.context) if one)
    return [Text(f"{about}\n"), part] if about else [part]


def _read(name: str, kind: str, content: bytes) -> UserPart:
    if kind.startswith("text/"):
        return Text(content.decode(errors="replace"))
    return File(kind, base64.b64encode(content).decode(), name=name)


def _address(url: str, where: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise Invalid(f"{where}.url: give an http(s) URL")
    return url


def blocks(parts: Sequence[UserPart]) -> list[dict[str, Any]]:
    return [_block(part) for part in parts]


def instruction(texts: Sequence[str]) -> Text:
    """Return the part by which an agent is told what a client says with the authority of the system."""
    return Text(_INSTRUCTION + "\n\n".join(texts))


def instructed(part: UserPart) -> str:
    """Return the words of a part that `instruction` made."""
    return part.text.removeprefix(_INSTRUCTION) if isinstance(part, Text) else ""


def text_blocks(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}]


def _block(part: UserPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image | File):
        kind = "image" if isinstance(part, Image) else "document"
        if part.url is not None:
            return {"type": kind, "source": {"type": "url", "url": part.url}}
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
        return {"type": kind, "source": source}
    return {"type": "text", "text": f"[{part.media_type}]"}

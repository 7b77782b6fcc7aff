"""Read `multipart/form-data` as it comes (RFC 7578): short fields first, then one file as a stream and nothing behind
it, or several files one after the other."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator

from roost.errors import Invalid

_HEAD = 16 * 1024
_FIELD = 64 * 1024
_PARTS = 50
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r'(?<!\w)(\w{1,64})(\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


class FilePart:
    """A file in a form. content: its bytes, to be read once. It raises `Invalid` in the end if the form goes on."""

    def __init__(self, field: str, name: str, media_type: str, content: AsyncIterator[bytes]) -> None:
        self.field, self.name, self.media_type, self.content = field, name, media_type, content


class Form:
    """A form. fields: the texts before its file. most: parts that it has at most."""

    def __init__(self, content_type: str, body: AsyncGenerator[bytes], *, most: int = _PARTS) -> None:
        """Raises `Invalid` for another type of content."""
        found = _BOUNDARY.search(content_type)
        if content_type.partition(";")[0].strip().lower() != "multipart/form-data" or found is None:
            raise Invalid("send a form: Content-Type: multipart/form-data, with a boundary")
        self.fields: dict[str, str] = {}
        self._body = body
        self._mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
        self._held = bytearray(b"\r\n")
        self._ended = False
        self._parts, self._most = 0, most

    async def file(self, *, last: bool = True) -> FilePart | None:
        """Read up to the next file; None if there is none. last: nothing may follow it; else read it before the next
        call. Raises `Invalid`."""
        while not self._ended:
            if (head := await self._head()) is None:
                return None
            field, name, media_type = _described(head)
            if name is not None:
                return FilePart(field, name, media_type, self._last() if last else self._content())
            text = bytearray()
            async for piece in self._content():
                text += piece
                if len(text) > _FIELD:
                    raise Invalid(f"the field {field!r} of the form has more than {_FIELD} bytes")
            self.fields[field] = text.decode("utf-8", "replace")
        return None

    async def _last(self) -> AsyncIterator[bytes]:
        """Yield the content of the file, which is the last part."""
        async for piece in self._content():
            yield piece
        if await self._head() is not None:
            raise Invalid("the form goes on behind its file: send the fields first, and one file")

    async def _head(self) -> bytes | None:
        """Read past the boundary and return the head of the next part; None behind the last one."""
        async for _ in self._content():  # a preamble, or the rest of a part
            pass
        while len(self._held) < len(self._mark) + 2:
            await self._more()
        del self._held[: len(self._mark)]
        if self._held.startswith(b"--"):
            self._ended = True
            return None
        self._parts += 1
        if self._parts > self._most:
            raise Invalid(f"the form has more than {self._most} parts")
        while (end := self._held.find(b"\r\n\r\n", 0, _HEAD)) < 0:
            if len(self._held) >= _HEAD:
                raise Invalid("the head of a part of the form is too long")
            await self._more()
        head = bytes(self._held[:end])
        del self._held[: end + 4]
        return head

    async def _content(self) -> AsyncIterator[bytes]:
        """Yield bytes up to the next boundary, which stays."""
        while True:
            at = self._held.find(self._mark)
            sure = at if at >= 0 else len(self._held) - len(self._mark)
            if sure > 0:
                yield bytes(self._held[:sure])
                del self._held[:sure]
            if at >= 0:
                return
            await self._more()

    async def _more(self) -> None:
        try:
            self._held += await anext(self._body)
        except StopAsyncIteration:
            raise Invalid("the form ends before its last boundary") from None


def _described(head: bytes) -> tuple[str, str | None, str]:
    """Return the field, the file's name and the media type of a part."""
    field, name, media_type = "", None, "application/octet-stream"
    for line in head.decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-type":
            media_type = value.strip()[:256] or media_type
        elif key.strip().lower() == "content-disposition":
            for found in _PARAMETER.finditer(value):
                text = re.sub(r"\\(.)", r"\1", found[3]) if found[3] is not None else found[4]
                if found[1].lower() == "name":
                    field = text[:256]
                elif found[1].lower() == "filename":
                    name = _unstarred(text) if found[2] else text
    return field, name, media_type


def _unstarred(text: str) -> str:
    """Decode a name of RFC 5987: `UTF-8''na%C3%AFve`."""
    from urllib.parse import unquote

    return unquote(text.rpartition("'")[2])

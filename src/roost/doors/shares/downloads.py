"""Answer a link with the copy that it shows, whole or a range of it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import NamedTuple, cast
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from roost.features.files.duties import FileDuties
from roost.features.files.records import ShareRecord
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Problem, Refused
from roost.server.request_body import header
from roost.server.responses import Header, ReplyCall
from roost.server.stream import Stream

_MOST = 32
"""Most downloads at a time: they need no token."""
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Range(NamedTuple):
    """first, last: bytes, counted from 0. part: less than the whole was asked for."""

    first: int
    last: int
    part: bool


class Downloads:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._room = asyncio.Semaphore(_MOST)

    def routes(self, root: str) -> Mapping[str, Methods]:
        methods: Methods = {"GET": self.download, "HEAD": self.head}
        return {f"{root}/{{token}}": methods, f"{root}/{{token}}/{{name}}": methods}

    @needs("read")
    async def download(self, scope: Scope, receive: Receive) -> ReplyCall:
        sharing = self._api.runtime.node.feature(FileDuties).sharing
        record = await sharing.shown(scope["path_params"]["token"])
        wanted = range_of(scope, record)
        if self._room.locked():
            raise Refused(503, "too_many_streams", "too many downloads at a time", [(b"retry-after", b"5")])
        upload = await sharing.uploads.get(record.upload)
        content = sharing.uploads.content(upload, begin=wanted.first)
        first = await anext(content, b"")  # so that what is missing is said before the head
        await sharing.note(record)  # of any part: the rest of a file tells as much
        return _Download(self._api, record, wanted, first, content, self._room)

    @needs("read")
    async def head(self, scope: Scope, receive: Receive) -> ReplyCall:
        sharing = self._api.runtime.node.feature(FileDuties).sharing
        record = await sharing.shown(scope["path_params"]["token"])
        return _Head(headers_of(record, Range(0, record.size - 1, False)))


class _Head:
    """A response without a body, with the length that it would have."""

    def __init__(self, headers: list[Header]) -> None:
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": b""})


class _Download(Stream):
    def __init__(
        self,
        api: Api,
        record: ShareRecord,
        wanted: Range,
        first: bytes,
        rest: AsyncIterator[bytes],
        room: asyncio.Semaphore,
    ) -> None:
        super().__init__(api, record.upload, api.streams)
        self.status = 206 if wanted.part else 200
        self.headers = headers_of(record, wanted)
        self._left, self._first, self._rest, self._room = wanted.last - wanted.first + 1, first, rest, room

    async def pump(self, send: Send) -> Problem | None:
        async with self._room, contextlib.aclosing(cast("AsyncGenerator[bytes]", self._rest)) as rest:
            await self._some(send, self._first)
            async for piece in rest:
                if self._left <= 0:
                    break
                await self._some(send, piece)
        return None

    async def _some(self, send: Send, piece: bytes) -> None:
        piece = piece[: self._left]
        self._left -= len(piece)
        if piece:
            await self.give(send, piece)

    def last(self, problem: Problem | None) -> bytes:
        return b""


def range_of(scope: Scope, record: ShareRecord) -> Range:
    """Return the bytes that a request asks for. Several ranges, and what is no range of bytes, count as the whole.
    Raises `Refused` (416) for a range behind the end."""
    size = record.size
    whole = Range(0, size - 1, False)
    condition = header(scope, b"if-range")
    found = _RANGE.fullmatch((header(scope, b"range") or "").strip())
    if found is None or found[0] == "bytes=-" or (condition is not None and condition != _tag(record)):
        return whole
    if not found[1]:  # the last so many bytes
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
        if found[2] and int(found[2]) < first:
            return whole
    if first >= size or first > last:
        unsatisfied: Header = (b"content-range", b"bytes */%d" % size)
        raise Refused(416, "range_not_satisfiable", f"the file has {size} bytes", [unsatisfied])
    return Range(first, last, True)


def _tag(record: ShareRecord) -> str:
    return f'"{record.digest[:32]}"'


def headers_of(record: ShareRecord, wanted: Range) -> list[Header]:
    """Return headers under which no browser shows the file, or runs what is in it."""
    plain = "".join(one if one.isascii() and one.isprintable() and one not in '"\\' else "_" for one in record.name)
    name = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(record.name, safe='')}"
    headers: list[Header] = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % (wanted.last - wanted.first + 1)),
        (b"content-disposition", name.encode()),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"private, no-store"),
        (b"accept-ranges", b"bytes"),
        (b"etag", _tag(record).encode()),
    ]
    if wanted.part:
        headers.append((b"content-range", b"bytes %d-%d/%d" % (wanted.first, wanted.last, record.size)))
    return headers

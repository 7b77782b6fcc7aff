"""Endpoints that export and import sessions as files, streamed through a temporary file."""

from __future__ import annotations

import asyncio
import json as text
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
from msgspec import Meta
from starlette.types import Receive, Scope, Send

from roost.errors import Busy
from roost.kernel.exchange.conversation_items import Brought, Format, Source
from roost.server.app_state import Api
from roost.server.problems import Problem, Refused
from roost.server.request_body import BODY_SECONDS, BodyTooLarge, answered
from roost.server.responses import Header, ReplyCall, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.stream import Stream

FILE_BYTES = 4 * 1024 * 1024 * 1024
AT_ONCE = 8
"""Most concurrent imports: each file is read several times."""
_CHUNK = 256 * 1024
LINES, MARKDOWN, TAR = "application/x-ndjson", "text/markdown", "application/x-tar"
_Name = Annotated[str, Meta(min_length=1, max_length=128)]


class ExportQuery(msgspec.Struct, forbid_unknown_fields=True):
    format: Format = "roost"


class ImportQuery(msgspec.Struct, forbid_unknown_fields=True):
    """`format`: by default detected from the file. `id`: of the new session. `agent`: by default the file's, for a
    foreign log `assistant`. `workspace`: an existing folder that it works in. `user`: its label of that name; the
    file's is ignored."""

    format: Source | None = None
    id: _Name | None = None
    agent: _Name | None = None
    title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    workspace: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    user: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


async def export(call: Call[Nothing, ExportQuery]) -> ReplyCall:
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="roost-export-")
    path = Path(folder.name) / "session"
    try:
        report = await call.api.runtime.export_session(call.session, path, format=call.query.format)
    except BaseException:
        folder.cleanup()
        raise
    kind = MARKDOWN if call.query.format == "transcript" else LINES
    return _FileStream(call.api, call.session, path, folder, f"{kind}; charset=utf-8", report)


async def files(call: Call[Nothing, Nothing]) -> ReplyCall:
    from roost.kernel.exchange.files_archive import take_files

    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="roost-export-")
    path = Path(folder.name) / "files.tar"
    try:
        count = await take_files(call.api.runtime.node, call.session, path)
    except BaseException:
        folder.cleanup()
        raise
    return _FileStream(call.api, call.session, path, folder, TAR, {"files": count})


class _FileStream(Stream):
    """Stream a file, with the conversion's report in the header `Roost-Report`."""

    def __init__(
        self,
        api: Api,
        session: str,
        path: Path,
        folder: tempfile.TemporaryDirectory[str],
        kind: str,
        report: Any,
    ) -> None:
        super().__init__(api, session, api.relays)
        self._path, self._folder = path, folder
        self.headers: Sequence[Header] = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % path.stat().st_size),
            (b"roost-report", text.dumps(msgspec.to_builtins(report)).encode()),
        ]

    async def pump(self, send: Send) -> Problem | None:
        with self._path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                await self.give(send, chunk)
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._folder.cleanup()


async def take_in(call: Call[Nothing, ImportQuery]) -> ReplyCall:
    return _Import(call, call.key)


class _Import:
    """Receive the body to its end, whatever its length, then import it."""

    coming = 0

    def __init__(self, call: Call[Nothing, ImportQuery], key: str | None) -> None:
        self._call, self._key = call, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await answered(self._reply(receive), scope)
        await reply(scope, receive, send)

    async def _reply(self, receive: Receive) -> ReplyCall:
        if _Import.coming >= AT_ONCE:
            raise Busy(f"{AT_ONCE} files are coming in: try again later", code="too_many_imports")
        _Import.coming += 1
        try:
            with tempfile.TemporaryDirectory(prefix="roost-import-") as folder:
                path = Path(folder) / "given"
                with path.open("wb") as file:
                    await _receive(receive, file)
                brought = await self._bring(path)
        finally:
            _Import.coming -= 1
        location = b"/sessions/" + brought.session.id.encode()
        return json(200 if brought.duplicate else 201, brought, headers=[(b"location", location)])

    async def _bring(self, path: Path) -> Brought:
        query = self._call.query
        return await self._call.api.runtime.import_session(
            path,
            format=query.format,
            id=query.id,
            agent=query.agent,
            title=query.title,
            workspace=query.workspace,
            user=query.user,
            key=self._key,
        )


async def _receive(receive: Receive, file: IO[bytes]) -> None:
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
        except TimeoutError:
            closing: list[Header] = [(b"connection", b"close")]
            raise Refused(408, "body_timeout", f"nothing came for {BODY_SECONDS:g} s", closing) from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete_body", "the connection was closed before the end of the body")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > FILE_BYTES:
            raise BodyTooLarge(FILE_BYTES)
        if chunk:
            await asyncio.to_thread(file.write, chunk)
        more = message.get("more_body", False)


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/sessions/{session}/export",
        summary="A session as a file: in Roost's own format, as a log of Claude Code or Codex, or as text",
        handler=export,
        body=Nothing,
        query=ExportQuery,
        answers={200: str},
        errors=(404,),
        texts=(LINES, MARKDOWN),
    ),
    Endpoint(
        method="GET",
        path="/sessions/{session}/files",
        summary="The session's files as a tar: the newest snapshot where nodes share them, else the folder",
        handler=files,
        body=Nothing,
        query=Nothing,
        answers={200: str},
        errors=(404, 409),
        texts=(TAR,),
    ),
    Endpoint(
        method="POST",
        path="/import",
        summary="Make a session of a file, which is the body: all of it or nothing, and nothing of it runs",
        handler=take_in,
        body=Nothing,
        query=ImportQuery,
        answers={200: Brought, 201: Brought},
        errors=(408, 409, 413),
        keyed=True,
        file="application/octet-stream",
    ),
]

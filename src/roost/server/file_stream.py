"""Answer with a file, in pieces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from roost.operation import Download
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Header
from roost.server.stream import Stream


class FileStream(Stream):
    """Stream a file, with its report in the header `Roost-Report`."""

    def __init__(self, api: Api, session: str, file: Download[AsyncIterator[bytes]]) -> None:
        super().__init__(api, session, api.relays)
        self._file = file
        report = json.dumps(msgspec.to_builtins(file.report)).encode()
        self.headers: Sequence[Header] = [
            (b"content-type", file.kind.encode()),
            (b"content-length", b"%d" % file.size),
            (b"roost-report", report),
        ]

    async def pump(self, send: Send) -> Problem | None:
        async for chunk in self._file.chunks:
            await self.give(send, chunk)
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.done()

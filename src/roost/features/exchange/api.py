"""Sessions as files: export, import, and the session's own files."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.features.exchange.conversation_items import Brought, Format, Source
from roost.operation import GET, POST, Download

LINES, MARKDOWN, TAR = "application/x-ndjson", "text/markdown", "application/x-tar"
_Name = Annotated[str, Meta(min_length=1, max_length=128)]


def _brought(brought: Brought, given: Mapping[str, Any]) -> int:
    return 200 if brought.duplicate else 201


class ExchangeApi(Protocol):
    @GET("/sessions/{session}/export", errors=(404,), texts=(LINES, MARKDOWN), shown="str", right="read")
    async def export(self, session: str, *, format: Format = "roost") -> Download[AsyncIterator[bytes]]:
        """A session as a file: in Roost's own format, as a log of Claude Code or Codex, or as text.

        The header `Roost-Report` has the conversion's report as JSON.
        """
        ...

    @GET("/sessions/{session}/files", errors=(404, 409), texts=(TAR,), shown="str", right="read")
    async def files(self, session: str) -> Download[AsyncIterator[bytes]]:
        """The session's files as a tar: the newest snapshot where nodes share them, else the folder."""
        ...

    @POST(
        "/import",
        (200, 201),
        status=_brought,
        query=("format", "id", "agent", "title", "workspace", "user"),
        errors=(408, 409, 413),
        keyed=True,
        content="application/octet-stream",
        location="session.id",
        right="operate",
    )
    async def load(
        self,
        content: AsyncIterable[bytes],
        *,
        format: Source | None = None,
        id: _Name | None = None,
        agent: _Name | None = None,
        title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None,
        workspace: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None,
        user: Annotated[str, Meta(min_length=1, max_length=256)] | None = None,
        key: str | None = None,
    ) -> Brought:
        """Make a session of a file, which is the body: all of it or nothing, and nothing of it runs.

        `format`: by default detected from the file. `id`: of the new session. `agent`: by default the file's, for a
        foreign log `assistant`. `workspace`: an existing folder that it works in. `user`: its label of that name; the
        file's is ignored.
        """
        ...

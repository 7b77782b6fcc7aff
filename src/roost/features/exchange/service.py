"""Export and import sessions as files, through a temporary file."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from roost.errors import Busy
from roost.features.exchange.api import LINES, MARKDOWN, TAR, ExchangeApi
from roost.features.exchange.conversation_items import Brought, Format, Report, Source
from roost.kernel.service_host import ServiceHost
from roost.operation import Download

AT_ONCE = 8
"""Most concurrent imports: each file is read several times."""
_CHUNK = 256 * 1024


class ExchangeService(ExchangeApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node = host.node
        self._coming = 0

    async def write(self, session: str, target: Path, *, format: Format = "roost") -> Report:
        """Write a session's present state to a file; it may run on meanwhile. Its files are not included. The report
        counts what a foreign `format` cannot express. Raises `NotFound`."""
        from roost.features.exchange.export_session import take

        return await take(self._node, session, format, target)

    async def read(self, path: Path, **options: Any) -> Brought:
        """Create a session from a file. Options as of `roost.features.exchange.import_session.bring`."""
        from roost.features.exchange.import_session import bring

        return await bring(self._node, path, **options)

    async def export(self, session: str, *, format: Format = "roost") -> Download[AsyncIterator[bytes]]:
        kind = MARKDOWN if format == "transcript" else LINES
        return await _download(f"{kind}; charset=utf-8", lambda path: self.write(session, path, format=format))

    async def files(self, session: str) -> Download[AsyncIterator[bytes]]:
        from roost.features.exchange.files_archive import take_files

        async def take(path: Path) -> dict[str, int]:
            return {"files": await take_files(self._node, session, path)}

        return await _download(TAR, take)

    async def load(
        self,
        content: AsyncIterable[bytes],
        *,
        format: Source | None = None,
        id: str | None = None,
        agent: str | None = None,
        title: str | None = None,
        workspace: str | None = None,
        user: str | None = None,
        key: str | None = None,
    ) -> Brought:
        if self._coming >= AT_ONCE:
            raise Busy(f"{AT_ONCE} files are coming in: try again later", code="too_many_imports")
        self._coming += 1
        try:
            with tempfile.TemporaryDirectory(prefix="roost-import-") as folder:
                path = Path(folder) / "given"
                with path.open("wb") as file:
                    async for chunk in content:
                        await asyncio.to_thread(file.write, chunk)
                return await self.read(
                    path, format=format, id=id, agent=agent, title=title, workspace=workspace, user=user, key=key
                )
        finally:
            self._coming -= 1


async def _download(kind: str, make: Callable[[Path], Awaitable[Any]]) -> Download[AsyncIterator[bytes]]:
    folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="roost-export-")
    path = Path(folder.name) / "made"
    try:
        report = await make(path)
        return Download(report, path.stat().st_size, kind, _chunks(path), folder.cleanup)
    except BaseException:
        folder.cleanup()
        raise


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


SERVICE = ExchangeService

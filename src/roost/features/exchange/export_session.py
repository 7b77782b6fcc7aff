"""Export a session: write it to a file page by page, while it may run on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import IO, Protocol

import msgspec

from roost.agent.state import State
from roost.errors import Invalid
from roost.features.exchange import claude_writer, codex_writer, native_format
from roost.features.exchange.conversation_items import Format, Report
from roost.features.exchange.events_to_items import Decomposer
from roost.features.exchange.json_lines import encoded
from roost.features.exchange.markdown import Transcript
from roost.kernel.node import Node
from roost.kernel.state_loader import load_state
from roost.log import events as ev
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo
from roost.log.store import Store

_PAGE = 500
_ROLLED_BACK = b'{"type":"session.rolled_back"'


async def take(node: Node, session: str, format: Format, target: Path) -> Report:
    """Write the session's present state. Roost's format has its whole log and its checkpoints; the others have the
    conversation without rolled back parts. Its files are not included. Raises `NotFound`."""
    store = node.tenants
    info = await store.sessions.get(session)
    report = Report(format=format)
    with target.open("wb") as out:
        if format == "roost":
            await _own(store, info, out, report)
        else:
            await _other(node, info, format, out, report)
    return report


async def _own(store: Store, info: SessionInfo, out: IO[bytes], report: Report) -> None:
    kept = [one for one in reversed(await store.logs.checkpoints(info.id)) if one.seq <= info.head][
        -native_format.CHECKPOINTS :
    ]
    header = native_format.Header(
        id=info.id,
        agent=info.agent,
        created_at=info.created_at,
        exported_at=time.time(),
        title=info.title,
        labels=info.labels,
        events=info.head,
        checkpoints=len(kept),
    )
    out.write(native_format.header_line(header))
    async for page in _pages(store, info.id, 0, info.head):
        report.events += len(page)
        await asyncio.to_thread(out.writelines, [native_format.event_line(*record) for record in page])
    for one in kept:
        out.write(
            native_format.mark_line(
                native_format.Mark(seq=one.seq, label=one.label, made_at=one.made_at, cause=one.cause)
            )
        )


class _Back(msgspec.Struct):
    to: int


class _Lines(Protocol):
    def feed(self, event: ev.Event) -> Iterable[bytes]: ...

    def end(self, at: float) -> Iterable[bytes]: ...


class _Foreign:
    def __init__(self, info: SessionInfo, folder: str, format: Format, report: Report) -> None:
        if format == "claude-code":
            self._items = Decomposer("claude-code", report)
            self._writer = claude_writer.Writer(info.id, folder, report)
        elif format == "codex":
            self._items = Decomposer("codex", report)
            self._writer = codex_writer.Writer(info.id, folder, report)
        else:
            raise Invalid(f"{format!r} is no format of a log", code="unknown_format")

    def feed(self, event: ev.Event) -> Iterable[bytes]:
        for item in self._items.feed(event):
            yield from map(encoded, self._writer.write(item))

    def end(self, at: float) -> Iterable[bytes]:
        for item in self._items.end(at):
            yield from map(encoded, self._writer.write(item))


async def _other(node: Node, info: SessionInfo, format: Format, out: IO[bytes], report: Report) -> None:
    state: State = await load_state(node.tenants, info.id)
    folder = state.workspace or str(node.resources.private(info.id))
    lines: _Lines = Transcript(info, report) if format == "transcript" else _Foreign(info, folder, format, report)
    at = info.created_at
    for first, last in await _counting(node.tenants, info, report):
        async for page in _pages(node.tenants, info.id, first - 1, last):
            report.events += len(page)
            at = await asyncio.to_thread(_write, lines, page, out)
    await asyncio.to_thread(out.writelines, list(lines.end(at)))


def _write(lines: _Lines, page: list[Record], out: IO[bytes]) -> float:
    at = 0.0
    for record in page:
        event = record.event
        at = event.at
        out.writelines(lines.feed(event))
    return at


async def _counting(store: Store, info: SessionInfo, report: Report) -> list[tuple[int, int]]:
    """Return the ranges of the log that count, found backward from the last event along its rollbacks."""
    backs: list[tuple[int, int]] = []
    async for page in _pages(store, info.id, 0, info.head):
        events = ((seq, body) for seq, body in page if body.startswith(_ROLLED_BACK))
        backs += [(seq, msgspec.json.decode(body, type=_Back).to) for seq, body in events]
    found: list[tuple[int, int]] = []
    last = info.head
    for seq, to in reversed(backs):
        if seq <= last:
            found.append((seq + 1, last))
            report.leave_out("events that were rolled back", seq - to)
            last = to
    found.append((1, last))
    return [(first, last) for first, last in reversed(found) if first <= last]


async def _pages(store: Store, session: str, after: int, last: int) -> AsyncIterator[list[Record]]:
    while after < last and (page := await store.logs.read(session, after=after, limit=min(_PAGE, last - after))):
        yield page
        after = page[-1].seq

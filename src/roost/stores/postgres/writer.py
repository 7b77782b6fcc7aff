"""Write appends in groups: all that queue during a commit form the next group, one statement and one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from roost.errors import SequenceConflict, StoreFailed
from roost.log.inputs import encode_input
from roost.log.protocols import Append
from roost.stores.postgres import append_effects
from roost.stores.postgres.append_effects import Delivered
from roost.stores.postgres.append_verdict import Again, judge
from roost.stores.postgres.database import Link, Pool

_LARGEST_GROUP = 1024
_LARGEST_BYTES = 8 * 1024 * 1024
_TRIES = 5
_KNOWN = 100_000
_APPEND = "SELECT refused, waiting FROM append_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
_APPEND_MORE = (
    "SELECT refused, waiting FROM append_more_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
    " $17, $18, $19, $20, $21, $22, $23)"
)
_APPEND_ONE = """
WITH moved AS (
    UPDATE sessions SET
        head = head + cardinality($4::bytea[]),
        updated_at = extract(epoch FROM now()),
        state = coalesce($5, state),
        phase = coalesce($6, phase)
    WHERE s = $1 AND epoch = $2 AND head = $3 AND owner IS NOT NULL RETURNING s
) INSERT INTO events SELECT s, $3 + place, body FROM moved, unnest($4::bytea[]) WITH ORDINALITY AS e (body, place)"""
"""The most common append, alone in its group: same effect as `append_1`, at half the cost."""


class _Job:
    __slots__ = ("append", "future", "sent", "tries")

    def __init__(self, append: Append, future: asyncio.Future[int]) -> None:
        self.append = append
        self.future = future
        self.tries = 0
        self.sent = 0


class _Sent(NamedTuple):
    """The result of a group: sessions whose append was refused, released sessions that have work, and deliveries to
    inboxes."""

    refused: Collection[str]
    waiting: Collection[str] = ()
    delivered: Sequence[Delivered] = ()


class GroupWriter:
    """Writes appends. on_commit: runs on the event loop, before the callers continue, with the appends of one committed
    group, the released sessions that have work, and the deliveries. numbers: row numbers of sessions in use; claims
    fill it in (`know`)."""

    def __init__(
        self,
        pool: Pool,
        writers: int,
        on_commit: Callable[[list[Append], Collection[str], Sequence[Delivered]], None],
    ) -> None:
        self.numbers: dict[str, int] = {}
        self._pool = pool
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._queue: list[_Job] = []
        self._busy: set[str] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._closed = False
        self._tasks = [self._loop.create_task(self._serve()) for _ in range(writers)]

    def submit(self, append: Append) -> asyncio.Future[int]:
        """Queue an append. The future ends after the commit; cancelling it does not undo the write."""
        if self._closed:
            raise StoreFailed("the journal is closed", code="store_closed")
        future: asyncio.Future[int] = self._loop.create_future()
        self._queue.append(_Job(append, future))
        self._wake()
        return future

    def know(self, session: str, s: int) -> None:
        if len(self.numbers) >= _KNOWN:
            self.numbers.clear()
        self.numbers[session] = s

    async def close(self) -> None:
        """Commit queued appends."""
        self._closed = True
        while self._idle:
            self._wake()
        await asyncio.gather(*self._tasks)

    def _wake(self) -> None:
        if self._idle:
            self._idle.pop().set_result(None)

    async def _serve(self) -> None:
        while True:
            jobs = self._gather()
            if jobs:
                await self._group(jobs)
                self._busy.difference_update(job.append.session for job in jobs)
                if self._queue:
                    self._wake()
            elif self._closed and not self._queue:
                return
            else:
                idle = self._loop.create_future()
                self._idle.append(idle)
                await idle

    def _gather(self) -> list[_Job]:
        """Take the next group from the queue: at most one append per session, in the order of `submit`."""
        jobs: list[_Job] = []
        later: list[_Job] = []
        size = 0
        busy = self._busy
        for place, job in enumerate(self._queue):
            session = job.append.session
            if session in busy:
                later.append(job)
                continue
            busy.add(session)
            jobs.append(job)
            for body in job.append.bodies:
                size += len(body)
            if size > _LARGEST_BYTES or len(jobs) == _LARGEST_GROUP:
                later += self._queue[place + 1 :]
                break
        self._queue = later
        return jobs

    async def _group(self, jobs: list[_Job]) -> None:
        try:
            refused, waiting, delivered = await self._pool.do(
                lambda link: self._send(link, jobs), clashes=1 if len(jobs) > 1 else 20
            )
        except Exception as error:  # any error goes to the callers, or to one of them
            if len(jobs) > 1 and (not isinstance(error, StoreFailed) or error.code == "store_failed"):
                for job in jobs:
                    await self._group([job])
                return
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
            return
        written = [job for job in jobs if not refused or job.append.session not in refused]
        told = [job.append for job in written if job.append.bodies or job.append.release]
        self._committed(told, waiting, delivered)
        for job in written:
            if not job.future.done():
                job.future.set_result(job.append.expected + len(job.append.bodies))
        for job in jobs if refused else ():
            if job.append.session in refused:
                await self._diagnose(job)

    async def _send(self, link: Link, jobs: list[_Job]) -> _Sent:
        """Write a group."""
        numbers = {job.append.session: self.numbers.get(job.append.session) for job in jobs}
        if unknown := [session for session, s in numbers.items() if s is None]:
            for session, s in await link.fetch("SELECT id, s FROM sessions WHERE id = ANY ($1)", unknown):
                self.know(session, s)
                numbers[session] = s
        writes = [(s, job.append) for job in jobs if (s := numbers[job.append.session]) is not None]
        missing = {session for session, s in numbers.items() if s is None}
        for job in jobs:
            job.sent += 1
        if not writes:
            return _Sent(missing)
        if len(writes) == 1 and _is_plain(writes[0][1]):
            return _Sent(missing if await _write_one(link, *writes[0]) else missing | {writes[0][1].session})
        writes.sort(key=_by_number)
        if any(append_effects.has_further(append) for _, append in writes):
            refused, waiting, delivered = await _write_all(link, writes)
        else:
            (refused, waiting), delivered = await _write(link, writes), ()
        if refused:
            missing |= _named(writes, refused)
        return _Sent(missing, _named(writes, waiting) if waiting else (), delivered)

    def _committed(self, appends: list[Append], waiting: Collection[str], delivered: Sequence[Delivered]) -> None:
        for append in appends:
            if append.release:
                self.numbers.pop(append.session, None)
        self._on_commit(appends, waiting, delivered)

    async def _diagnose(self, job: _Job) -> None:
        job.tries += 1
        self.numbers.pop(job.append.session, None)
        try:
            head = await self._pool.do(lambda link: judge(link, job.append, unsure=job.sent > 1))
        except Again:
            if job.tries < _TRIES:
                await self._group([job])
                return
            error: Exception = SequenceConflict(f"session {job.append.session!r} does not come to rest")
        except Exception as reason:  # any error goes to the caller
            error = reason
        else:
            released = [job.append.session] if job.append.release else ()
            self._committed([job.append], released, append_effects.perhaps_delivered(job.append))
            if not job.future.done():
                job.future.set_result(head)
            return
        if not job.future.done():
            job.future.set_exception(error)


def _by_number(write: tuple[int, Append]) -> int:
    return write[0]


def _named(writes: Sequence[tuple[int, Append]], numbers: Sequence[int]) -> set[str]:
    wanted = set(numbers)
    return {append.session for s, append in writes if s in wanted}


def _is_plain(append: Append) -> bool:
    return bool(append.bodies) and not (
        append.consume
        or append.release
        or append.snapshot
        or append.timers
        or append.clear_timers
        or append_effects.has_further(append)
    )


async def _write_one(link: Link, s: int, append: Append) -> bool:
    """Whether the append was accepted."""
    status = await link.execute(
        _APPEND_ONE, s, append.epoch, append.expected, append.bodies, append.state, append.phase
    )
    return status != "INSERT 0 0"


async def _write_all(link: Link, writes: Sequence[tuple[int, Append]]) -> tuple[Any, Any, Sequence[Delivered]]:
    """Like `_write`, including the further parts; also returns the deliveries."""
    async with link.transaction():
        await append_effects.lock(link, writes)
        refused, waiting = await _write(link, writes)
        return (
            refused,
            waiting,
            await append_effects.apply_further(link, [one for one in writes if one[0] not in refused]),
        )


async def _write(link: Link, writes: Sequence[tuple[int, Append]]) -> Any:
    """Return the row numbers of refused sessions, and of released ones that have work. The common kinds use the shorter
    statement."""
    e_s: list[int] = []
    e_seq: list[int] = []
    e_body: list[bytes] = []
    c_s: list[int] = []
    c_id: list[int] = []
    more = False
    for s, append in writes:
        bodies = append.bodies
        if bodies:
            count = len(bodies)
            e_s.extend(repeat(s, count))
            e_seq.extend(range(append.expected + 1, append.expected + count + 1))
            e_body.extend(bodies)
        if append.consume:
            c_s.extend(repeat(s, len(append.consume)))
            c_id.extend(append.consume)
        if append.snapshot is not None or append.timers or append.clear_timers:
            more = True
    values: list[Any] = [
        [s for s, _ in writes],
        [append.epoch for _, append in writes],
        [append.expected for _, append in writes],
        [len(append.bodies) for _, append in writes],
        [len(append.consume) for _, append in writes],
        [append.state for _, append in writes],
        [append.phase for _, append in writes],
        e_s,
        e_seq,
        e_body,
        c_s,
        c_id,
        [s for s, append in writes if append.release],
    ]
    if more:
        return await link.fetchrow(_APPEND_MORE, *values, *_more(writes))
    return await link.fetchrow(_APPEND, *values)


def _more(writes: Sequence[tuple[int, Append]]) -> tuple[list[Any], ...]:
    snapshots = [(s, append.snapshot) for s, append in writes if append.snapshot is not None]
    timers = [(s, timer) for s, append in writes for timer in {t.id: t for t in append.timers}.values()]
    cleared = [(s, name) for s, append in writes for name in append.clear_timers]
    return (
        [s for s, _ in snapshots],
        [snapshot.seq for _, snapshot in snapshots],
        [snapshot.version for _, snapshot in snapshots],
        [snapshot.body for _, snapshot in snapshots],
        [s for s, _ in timers],
        [timer.id for _, timer in timers],
        [timer.due for _, timer in timers],
        [encode_input(timer.input) for _, timer in timers],
        [s for s, _ in cleared],
        [name for _, name in cleared],
    )

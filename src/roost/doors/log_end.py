"""The end of a session's log, read once for all that one request asks of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import window
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo

_TAIL_BYTES = 16 * 1024
_ALL_BYTES = 8 * 1024 * 1024


class LogEnd:
    """The newest events of a log, up to the head that the session's row had. info: that row. known: the events up to
    this head that the process has just sent to a client."""

    def __init__(self, sessions: Sessions, info: SessionInfo, known: Sequence[Record] = ()) -> None:
        self.info = info
        self._sessions = sessions
        self._start, self._records = info.head - len(known), list(known)

    @property
    def known(self) -> list[Record]:
        """The events that were read already."""
        return self._records

    async def after(self, position: int) -> list[Record]:
        """Return the events behind a position. Raises `NotFound`."""
        if position < self._start:
            before = await window(self._sessions, self.info.id, position, self._start)
            self._start, self._records = position, before + self._records
        return self._records[position - self._start :]


class LogTails:
    """The ends of logs as this process has sent them to clients. The next request of a conversation then reads the
    session's row and no event. All of it may be lost at any time."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._kept = OrderedDict[str, tuple[float, list[Record], int]]()
        self._size = 0

    def end(self, info: SessionInfo) -> LogEnd:
        """Return the end of a session's log. What is known of it counts only up to the head of the row, and for the
        session that was made at the same time: a deleted session's id may be another's."""
        created, records, _ = self._kept.get(info.id, (0.0, [], 0))
        fits = records and created == info.created_at and records[-1].seq == info.head
        return LogEnd(self._sessions, info, records if fits else ())

    def begin(self, info: SessionInfo) -> LogTail:
        """Return where to note the events of a turn."""
        return LogTail(self, info.id, info.created_at)

    def keep(self, session: str, created: float, records: list[Record], size: int) -> None:
        self._size += size - self._kept.pop(session, (0.0, [], 0))[2]
        self._kept[session] = created, records, size
        while self._size > _ALL_BYTES:
            self._size -= self._kept.popitem(last=False)[1][2]


class LogTail:
    """The events of one turn, as they are sent to a client."""

    def __init__(self, tails: LogTails, session: str, created: float) -> None:
        self._tails, self._session, self._created = tails, session, created
        self._records, self._size = list[Record](), 0

    def note(self, seq: int, body: bytes) -> None:
        """Note the next event. Of a long turn only the newest are kept."""
        self._size += len(body)
        if self._size > _TAIL_BYTES or (self._records and self._records[-1].seq != seq - 1):
            self._records, self._size = [], len(body)
        self._records.append(Record(seq, body))

    def keep(self) -> None:
        """Keep the events: the turn has ended."""
        if self._size <= _TAIL_BYTES:
            self._tails.keep(self._session, self._created, self._records, self._size)

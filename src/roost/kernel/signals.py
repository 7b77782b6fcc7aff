"""What the parts of a node ask of each other without knowing each other."""

from __future__ import annotations

import asyncio


class Signals:
    """Requests between the parts of one node. Belongs to the node's event loop.

    work: look for work now. retry: also resume parked sessions then.
    beat: renew the lease soon, because this node's card has changed.
    timers: timers have changed.
    reread: read what other processes committed.
    """

    def __init__(self) -> None:
        self.work = asyncio.Event()
        self.retry = False
        self.beat = asyncio.Event()
        self.timers = asyncio.Event()
        self.reread = asyncio.Event()
        self._everything = False
        self._sessions: set[str] = set()

    def retry_parked(self) -> None:
        """Ask for the resumption of parked sessions, before the next heartbeat does it."""
        self.retry = True
        self.work.set()

    def look_again(self, session: str | None) -> None:
        """Ask for a fresh read of a session, or of all (None), after another process's commit: inboxes may have grown,
        timers may be new, the session may be gone."""
        if session is None:
            self._everything = True
            self.timers.set()
        else:
            self._sessions.add(session)
        self.reread.set()

    def take_rereads(self) -> tuple[bool, set[str]]:
        """Return whether everything is to be read again, and the sessions that are."""
        everything, self._everything = self._everything, False
        sessions, self._sessions = self._sessions, set()
        self.reread.clear()
        return everything, sessions

"""What this machine cannot run although others may: such sessions are given back, and kept away from for a while."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from roost.agent.session import LiveSession
from roost.errors import Fenced, NotFound, SequenceConflict, StoreFailed
from roost.log.protocols import Append, Claim
from roost.workspace.object_store import ObjectsFailed

if TYPE_CHECKING:
    from roost.kernel.kernel import Kernel

_WHAT = "sessions cannot be taken up on this machine"
_OTHERS_FIRST = 0.5
"""Seconds in which other nodes are left to take what was given back: more than `HEAD_START` and their way to it."""
_LONGEST = 30.0
_SEVERAL = 3
"""Sessions that fail one after the other, until it is the node that is believed to ail and not they."""
_REMEMBERED = 300.0
"""Seconds after which a session's failures are forgotten."""
_LOCAL = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOSPC, errno.EROFS}
)


def is_local(error: BaseException) -> bool:
    """Whether it may be this machine's trouble alone: neither the database's, nor the session's own, nor a defect."""
    return isinstance(error, ObjectsFailed) or (isinstance(error, OSError) and error.errno in _LOCAL)


class Ailing:
    """A session that fails here is released at once, and the node claims nothing for a moment. When it comes back to
    this node all the same, nobody else can have it: it is `held` until its time is over, which grows with each failure
    to half a minute, and then tried again. When several fail, the node offers no room and claims nothing for a growing
    while, and what waits for its files is given back too."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._failures: dict[str, tuple[int, float]] = {}
        self.held: dict[str, Claim] = {}
        self._others: frozenset[str] = frozenset()
        self._newcomers = False
        self._in_a_row: set[str] = set()
        self._rounds = 0
        self._no_room = self._away = float("-inf")
        self._last: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def reason(self) -> str | None:
        """Why the node offers no room."""
        if time.monotonic() >= self._no_room:
            return None
        return f"{_WHAT}, so it takes none for a while: {self._last}"

    @property
    def away(self) -> bool:
        """Whether the node leaves all work to others just now."""
        return time.monotonic() < max(self._away, self._no_room)

    def due(self, session: str) -> bool:
        return time.monotonic() >= self._failures.get(session, (0, 0.0))[1]

    def hold(self, claim: Claim) -> None:
        """It came back before it is due."""
        self.held[claim.info.id] = claim

    def due_again(self) -> list[str]:
        """Those held that are to be tried now."""
        return [session for session in self.held if self.due(session)]

    async def give_back(self, live: LiveSession, error: Exception) -> None:
        """Release as a crash would leave it: what was noted and not committed is done again. Raises `StoreFailed`, and
        what says that it is not ours any more."""
        self._note(live.id, error)
        files = live.means.files
        if files is not None and not files.ready:
            with contextlib.suppress(ObjectsFailed):  # its next wake restores the last snapshot
                await files.rested(live.born, live.epoch, unsaved=live.state.unsaved is not None)
        await self._release(live.id, live.epoch, live.head)

    async def refuse(self, claim: Claim, error: Exception) -> None:
        """As `give_back`, of one that could not even be woken."""
        self._note(claim.info.id, error)
        await self._release(claim.info.id, claim.epoch, claim.info.head)

    def worked(self, live: LiveSession) -> None:
        """It went to sleep. That says something of this machine when its files were read, or when it had failed."""
        files = live.means.files
        if (live.id not in self._failures) if files is None else not files.ready:
            return
        self._failures.pop(live.id, None)
        self._in_a_row.clear()
        self._rounds, self._no_room = 0, float("-inf")
        if not self._failures:
            self._kernel.trouble.worked(_WHAT)

    def see(self, others: Iterable[str]) -> None:
        """The nodes that have room, as of this beat."""
        now = frozenset(others)
        self._newcomers = self._newcomers or not now <= self._others
        self._others = now

    async def offer_held(self) -> None:
        """Release what is held when there is a node that was not there before. Raises `StoreFailed`."""
        if not self._newcomers:
            return
        for session, claim in list(self.held.items()):
            await self.let_go(session, claim)
        self._newcomers = False

    async def let_go(self, session: str, claim: Claim) -> None:
        self._look_away(_OTHERS_FIRST)
        self.held.pop(session, None)
        try:
            await self._release(session, claim.epoch, claim.info.head)
        except (Fenced, SequenceConflict, NotFound):
            return
        except StoreFailed:
            self.held.setdefault(session, claim)
            raise

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _release(self, session: str, epoch: int, head: int) -> None:
        await self._kernel.journal.append(Append(session=session, epoch=epoch, expected=head, bodies=[], release=True))

    def _note(self, session: str, error: Exception) -> None:
        now = time.monotonic()
        self._failures = {one: had for one, had in self._failures.items() if now < had[1] + _REMEMBERED}
        failures = self._failures.get(session, (0, 0.0))[0] + 1
        self._failures[session] = (failures, now + min(2.0 ** (failures - 1), _LONGEST))
        self._last = error
        self._kernel.trouble.failed(_WHAT, error)
        self._in_a_row.add(session)
        self._look_away(_OTHERS_FIRST)
        if len(self._in_a_row) >= _SEVERAL and now >= self._no_room:
            self._rounds += 1
            self._no_room = now + min(2.0**self._rounds, _LONGEST)
            self._in_a_row.clear()
            self._look_away(self._no_room - now)
            for live in self._kernel.live.values():
                if live.means.files is not None and not live.means.files.ready:
                    live.shut_down(cut=True)
            self._kernel.keeper.beat_soon()

    def _look_away(self, seconds: float) -> None:
        self._away = max(self._away, time.monotonic() + seconds)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._away - time.monotonic(), self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._kernel.keeper.beat_soon()
        self._kernel.scan()

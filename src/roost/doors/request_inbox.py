"""Put the message of a request into a session's inbox, and find the one that an earlier request has put there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from roost.doors.conversation_log import NODE, ConversationLog
from roost.doors.log_end import LogTails
from roost.doors.requested import LOST_SECONDS, gone_or_own
from roost.doors.talk import Entered, Recent, Talk
from roost.kernel.node import Node
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn
from roost.log.content import UserPart
from roost.log.protocols import Accepted
from roost.log.session_info import InputMode, SessionInfo
from roost.log.tail import Follower

REPEAT_SECONDS = 120.0
"""A request that is sent again within this time after its turn ended gets the same turn, unless this process has
delivered its answer whole: then the client wants another one. So it does `LOST_SECONDS` after the end of a turn that
another node answers, as long as that node runs."""
RETRY_SECONDS = 3600.0
"""The same for a request that says of itself that it is a repetition, delivered or not."""


class RequestInbox:
    """The messages of a door."""

    def __init__(self, sessions: Sessions, log: ConversationLog, node: Node) -> None:
        self._sessions, self._log, self._node = sessions, log, node
        self.tails = LogTails(sessions)
        self._delivered = Recent[tuple[str, int], bool]()

    def delivered(self, session: str, item: int) -> None:
        """Note that a client has got the whole answer to a message."""
        self._delivered[session, item] = True

    async def send(
        self,
        info: SessionInfo,
        parts: Sequence[UserPart],
        key: str | None,
        source: str,
        details: dict[str, Any],
        mode: InputMode = "follow_up",
    ) -> tuple[Entered, bool]:
        """Put a message into the inbox of a session. Returns whether it was there before."""
        sessions, session = self._sessions, info.id
        await sessions.demand_parts(session, info)  # else no event would ever come
        follower = sessions.listen(session)
        try:
            accepted = await sessions.send(
                session, parts, mode=mode, key=key, source=source, note=details or None, aside={NODE: self._node.id}
            )
            await self._aim(follower, session, accepted)
        except BaseException:
            follower.close()
            raise
        tail = self.tails.begin(info)
        return Entered(session, accepted.id, follower, None, created=info.created_at, tail=tail), accepted.duplicate

    async def again(self, session: str, item: int, talk: Talk) -> Entered | None:
        """Return a message that was accepted before, if the request repeats it."""
        entered = await self.reenter(session, item)
        try:
            if await self.repeats(entered, talk):
                return entered
        except BaseException:
            entered.follower.close()
            raise
        entered.follower.close()
        return None

    async def reenter(self, session: str, item: int) -> Entered:
        """Return a message that was accepted before."""
        follower = self._sessions.listen(session)
        try:
            await self._aim(follower, session, Accepted(item, True, 0))
        except BaseException:
            follower.close()
            raise
        return Entered(session, item, follower, None)

    async def repeats(self, entered: Entered, talk: Talk) -> bool:
        """Whether a message that was accepted before is this request, sent again: it names the same idempotency key, or
        its turn is open, or ended a moment ago and may not have reached the client."""
        if talk.key is not None:  # the message has the same source, so also the same key
            return True
        ended = await self._log.ended(entered.session, entered.item, entered.follower.after)
        if ended is None:
            return True
        age = time.time() - ended.at
        if talk.repeated:
            return age < RETRY_SECONDS
        if age >= REPEAT_SECONDS or (entered.session, entered.item) in self._delivered:
            return False
        return age < LOST_SECONDS or await gone_or_own(self._node, ended.node)

    async def _aim(self, follower: Follower, session: str, accepted: Accepted) -> None:
        """Set the follower to the position before the message's turn."""
        begun = await find_turn(self._sessions, session, accepted.id) if accepted.duplicate else None
        follower.after = accepted.head if begun is None else begun
        follower.behind = follower.behind or accepted.duplicate

"""Enter the session that a request names."""

from __future__ import annotations

from roost.doors.conversation_log import ConversationLog
from roost.doors.digests import beginning, source_of
from roost.doors.log_end import LogEnd
from roost.doors.request_digests import RequestDigests
from roost.doors.request_inbox import RequestInbox
from roost.doors.request_setup import RequestSetup
from roost.doors.talk import Entered, Talk, mark_of, user_label
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.state import ClientToolsTurn
from roost.ids import is_id
from roost.kernel.sessions import Sessions
from roost.log.inputs import MessageInput
from roost.log.protocols import Inboxes
from roost.log.session_info import SessionInfo


class NamedSessions:
    """Sessions that requests of the door `name` name. Such a session knows its own history: only the new message
    counts."""

    def __init__(
        self,
        name: str,
        sessions: Sessions,
        inboxes: Inboxes,
        digests: RequestDigests,
        inbox: RequestInbox,
        setup: RequestSetup,
    ) -> None:
        self._name, self._sessions, self._inboxes = f"{name}:named", sessions, inboxes
        self._log = ConversationLog(self._name, sessions)
        self._door, self._digests, self._inbox, self._setup = name, digests, inbox, setup

    async def enter(self, talk: Talk, session: str) -> Entered:
        """Put the message of a request into the session's inbox. Raises `RoostError`."""
        end = talk.end or self._inbox.tails.end(await self._open(talk, session))
        info = end.info
        if info.agent != talk.agent:
            raise Invalid(f"session {session!r} is of the agent {info.agent!r}, not of {talk.agent!r}")
        before = await self._digests.before(talk)
        said = self._digests.message(talk, before).hex() if talk.key is None else beginning(talk.key).hex()
        mark = beginning(said, mark_of(talk)).hex()
        source = source_of(self._name, mark, before if talk.told is not None else None)
        newest = await self._log.newest(end)
        same = newest is not None and newest.said.mark == mark
        if newest is not None and same and (entered := await self._inbox.again(session, newest.item, talk)) is not None:
            return entered
        await demand_free(self._sessions, info)
        if await self._setup.differs(end, talk):
            if (entered := await self._earlier(end, talk, mark)) is not None:
                return entered
            await self._demand_idle(session)
            info = await self._setup.apply(session, talk)
        parts = (talk.told, *talk.parts) if talk.told is not None else talk.parts
        once = mark if talk.key is None else said
        try:
            entered, again = await self._inbox.send(info, parts, f"{self._name}:{once}", source, talk.details)
        except Conflict as error:
            if talk.key is not None or error.code != "idempotency_mismatch":
                raise
        else:
            if not again or await self._inbox.repeats(entered, talk):
                return entered
            entered.follower.close()
        return (await self._inbox.send(info, parts, None, source, talk.details))[0]

    async def _open(self, talk: Talk, session: str) -> SessionInfo:
        """Return the session of a name, which is made if there is none. Raises `Invalid`."""
        if not is_id(session):
            raise Invalid(f"{session!r} cannot name a session: use letters, digits and ._:- (at most 128)")
        try:
            return await self._sessions.get(session)
        except NotFound:
            labels = user_label(talk) | talk.labels
            return await self._sessions.create(
                self._setup.agent(talk), id=session, key=f"{self._door}:{session}", labels=labels
            )

    async def _earlier(self, end: LogEnd, talk: Talk, mark: str) -> Entered | None:
        """Return a message to a named session that the request repeats, though others came since."""
        source, session = source_of(self._name, mark), end.info.id
        for one in await self._inboxes.pending(session):
            if isinstance(one.input, MessageInput) and (one.input.source or "").startswith(source):
                return await self._inbox.reenter(session, one.id)
        message = await self._log.newest(end, mark)
        return None if message is None else await self._inbox.again(session, message.item, talk)

    async def _demand_idle(self, session: str) -> None:
        """Check that no turn is open or about to begin, which would get this request's instructions and tools. Raises
        `Conflict`."""
        info, state = await self._sessions.state(session)
        waiting = await self._inboxes.pending(session) if info.pending else []
        if state.turn is not None or any(isinstance(one.input, MessageInput) for one in waiting):
            why = f"session {session!r} works with other instructions or tools: ask again when its turn has ended"
            raise Conflict(why, code="turn_open")


async def demand_free(sessions: Sessions, info: SessionInfo) -> None:
    """Check that a message to a session would be answered without anybody's help. Raises `Conflict`."""
    if info.state == "paused":
        raise Conflict(f"session {info.id!r} is paused: resume it, then send the message", code="session_paused")
    if info.phase != "waiting":
        return
    state = (await sessions.state(info.id))[1]
    handed = set(state.turn.part(ClientToolsTurn).called) if state.turn is not None else set[str]()
    if waiting := [one.call.id for one in state.calls if one.status == "awaiting" and one.call.id in handed]:
        why = f"session {info.id!r} waits for the results of {', '.join(waiting)}: send them first"
        raise Conflict(why, code="calls_wait")

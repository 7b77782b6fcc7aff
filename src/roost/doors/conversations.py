"""Find the session that a request of a stateless protocol continues, and put its message into the inbox, once.

Which session:
1. The request names one: that session. A name that is not taken makes one.
2. The history that it resends is what a session said through this door: that session goes on.
3. That session went on otherwise meanwhile (the client edited a message, or wants another answer): a fork of it at the
   end of that history.
4. No session said it: a new session. If there is a history, its first message tells the agent of it.

What makes this safe without state of the door: the message's key in the inbox is the digest of the history before it,
so of two continuations of one history the store accepts the first. A new session's id is the digest of the request,
with the hour and a number, so that a repeated request finds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from roost.agent.definition import Agent
from roost.authority import current
from roost.doors.call_results import CallResults
from roost.doors.conversation_log import After, ConversationLog
from roost.doors.digests import answered, asked, beginning, source_of, told_before
from roost.doors.named_sessions import NamedSessions, demand_free
from roost.doors.request_digests import RequestDigests, text_size
from roost.doors.request_inbox import RequestInbox
from roost.doors.request_setup import RequestSetup
from roost.doors.talk import HALTED, Entered, Recent, Talk, mark_of, turn_of, user_label
from roost.errors import Conflict, Invalid, NotFound, TooLarge
from roost.kernel.sessions import TEXT_BYTES, check_message
from roost.kernel.turn_watch import find_turn
from roost.log.content import UserPart
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.runtime import Runtime

_HOUR = 3600
_CANDIDATES, _PAGES = 50, 20


class _Place(NamedTuple):
    """The end of a turn, at position `end` of the session's log. own: the session was made for this very request.
    created: wall time at which the session was made; 0 where it does not matter."""

    session: str
    end: int
    own: bool = False
    created: float = 0.0


_DOUBTFUL = _Place("", 0)
"""Several sessions have said the same."""


class Conversations:
    """The conversations of one door. `name`: the source of its messages.

    What it remembers of earlier requests only saves reading the store: all of it may be lost at any time."""

    def __init__(self, name: str, runtime: Runtime, agents: Callable[[str], Agent]) -> None:
        sessions = runtime.sessions
        self._name, self._sessions, self._checkpoints = name, sessions, runtime.checkpoints
        self._log = log = ConversationLog(name, sessions)
        self._digests = digests = RequestDigests(name, sessions)
        self._inbox = inbox = RequestInbox(sessions, log, runtime.node)
        self.tails = inbox.tails
        self._setup = setup = RequestSetup(name, runtime, agents)
        self._named = NamedSessions(name, sessions, runtime.node.tenants.inboxes, digests, inbox, setup)
        self._results = CallResults(name, sessions, log, digests, inbox, setup)
        self._places = Recent[bytes, _Place]()
        self._prepared = Recent[str, tuple[float, bytes, str]]()
        self._seats = Recent[str, int]()
        self._ends = Recent[tuple[str, int], tuple[float, int]]()

    async def enter(self, talk: Talk) -> Entered:
        """Put the message of a request into the inbox of its session. Raises `RoostError`."""
        if talk.session is not None:
            talk.session = current().session_id(talk.session)
        turn = turn_of(talk.results) if talk.results and talk.session is not None else None
        if turn is not None and turn[0] != talk.session:
            raise Invalid(f"messages: these results are of calls of another session than {talk.session!r}")
        if talk.results and not talk.parts:
            return await self._results.resume(talk)
        check_message(talk.parts)  # before a session is made for it
        if talk.results and (entered := await self._results.interject(talk)) is not None:
            return entered
        if talk.session is not None:
            return await self._named.enter(talk, talk.session)
        if talk.previous is not None:
            return await self._follow(talk, *talk.previous)
        if text_size(talk) > TEXT_BYTES:
            await self._demand_begun(talk)
        before, root = await self._digests.history(talk)
        if talk.repeated and (entered := await self._seated(talk, before)) is not None:
            return entered
        place, info = await self._find(before, talk, root) if talk.before else (None, None)
        entered = None if place is None else await self._accept(place, talk, before, talk.parts, info)
        return entered or await self._branch(talk, before, root, place)

    def ended(self, entered: Entered, answer: str, end: int, *, failed: bool) -> None:
        """Note that the turn of a message has ended, at position `end` of the log."""
        if not entered.created:  # another session may have this id by now
            return
        self._ends[entered.session, entered.item] = entered.created, end
        if entered.digest is None or failed:
            return
        digest = answered(entered.digest, (entered.said or "") + answer, entered.calls)
        known = self._places.get(digest)
        several = known is not None and known.session != entered.session and not entered.owner
        self._places[digest] = _DOUBTFUL if several else _Place(entered.session, end, created=entered.created)

    def delivered(self, entered: Entered) -> None:
        """Note that the client has got the whole answer."""
        self.fetched(entered.session, entered.item)

    def fetched(self, session: str, item: int) -> None:
        """Note that a client has got the whole answer to a message."""
        self._inbox.delivered(session, item)

    async def _follow(self, talk: Talk, session: str, item: int) -> Entered:
        """Go on from a turn: in its session if nothing was said after it, else in a fork. Raises `NotFound`."""
        info = await self._sessions.get(session)
        end = await self._end_of(talk, info, item)
        before = beginning(self._name, "turn", session, str(item))
        entered = await self._seated(talk, before) if talk.repeated else None
        place = _Place(session, end)
        entered = entered or await self._accept(place, talk, before, talk.parts, info)
        entered = entered or await self._branch(talk, before, before.hex(), place)
        return entered._replace(digest=None)

    async def _end_of(self, talk: Talk, info: SessionInfo, item: int) -> int:
        session = info.id
        if info.agent != talk.agent:
            raise Invalid(f"the turn before is of the agent {info.agent!r}, not of {talk.agent!r}")
        known = self._ends.get((session, item))
        if known is not None and known[0] == info.created_at:  # else another session had this id
            return known[1]
        begun = await find_turn(self._sessions, session, item)
        ended = None if begun is None else await self._log.ended(session, item, begun)
        if ended is None:
            why = f"the turn before has not ended in session {session!r}: it works, or waits for results of calls"
            raise Conflict(why, code="turn_open")
        self._ends[session, item] = info.created_at, ended.seq
        return ended.seq

    async def _demand_begun(self, talk: Talk) -> None:
        """Check that a session began as this history does, which is too long to be told to a new one. Raises
        `TooLarge`."""
        query = SessionQuery(agent=talk.agent, label=(self._name, await self._digests.root(talk)), limit=1)
        if not await self._sessions.find(query):
            why = f"no session had this conversation, and at most {TEXT_BYTES} bytes of its text can be told to one"
            raise TooLarge(f"messages: {why}")

    async def _find(self, digest: bytes, talk: Talk, root: str) -> tuple[_Place | None, SessionInfo | None]:
        """Return where a history ends, by what this process remembers, else by the logs, with the session's row if it
        was read. None where several sessions said it, and no `owner` tells whose they are."""
        known, info = self._places.get(digest), None
        if known is not None and known is not _DOUBTFUL:
            info = await self._known(known.session)
            if info is None or info.created_at != known.created:  # deleted; its id may be another session's by now
                del self._places[digest]
                known, info = None, None
        if known is None:
            known = await self._search(digest, talk, root)
            if known is not None:
                self._places[digest] = known
        return (None if known is _DOUBTFUL else known), info

    async def _search(self, digest: bytes, talk: Talk, root: str) -> _Place | None:
        start, own, brought, last = self._digests.start(talk), None, None, None
        for _ in range(_PAGES):
            query = SessionQuery(agent=talk.agent, label=(self._name, root), limit=_CANDIDATES, before=last)
            found = await self._sessions.find(query)
            for info in found:
                end = (await self._log.turns(info.id, start)).get(digest)
                if end is not None and end.own:
                    if own is not None:
                        return _DOUBTFUL
                    own = _Place(info.id, end.end, created=info.created_at)
                    if talk.owner:
                        return own
                elif end is not None:
                    brought = brought or _Place(info.id, end.end, created=info.created_at)
            if len(found) < _CANDIDATES:
                break
            last = found[-1].id
        return own or brought

    async def _accept(
        self, place: _Place, talk: Talk, before: bytes, parts: Sequence[UserPart], info: SessionInfo | None = None
    ) -> Entered | None:
        """Continue a session with the message. Returns None when it has gone on from there with another one, or with
        this one long ago, when it was rolled back since, is halted or gone, and when another's turn would get this
        client's tools or instructions. info: the session's row, if it was just read. Raises `Conflict`
        (`session_paused`)."""
        digest = self._digests.message(talk, before)
        try:
            info = info or await self._sessions.get(place.session)
            followed = info.head > place.end
            message, back = await self._log.after(place.session, place.end) if followed else After(None, False)
            if message is not None:
                same = message.said.mark == mark_of(talk) and asked(before, message.said.parts) == digest
                entered = await self._inbox.again(place.session, message.item, talk) if same and not back else None
            else:
                entered = None if back else await self._put(info, place, talk, before, parts)
        except NotFound:
            return None
        except Conflict as error:
            if error.code in HALTED:
                return None
            raise
        return entered and entered._replace(digest=digest, owner=talk.owner, created=info.created_at)

    async def _put(
        self, info: SessionInfo, place: _Place, talk: Talk, before: bytes, parts: Sequence[UserPart]
    ) -> Entered | None:
        """Put the message into the inbox of a session in which nothing followed. Returns None as `_accept` does."""
        await demand_free(self._sessions, info)
        if (ready := await self._prepare(info, place, talk, before)) is None:
            return None
        source = source_of(self._name, mark_of(talk), before if parts is not talk.parts else None)
        entered, again = await self._inbox.send(ready, parts, f"{self._name}:{before.hex()}", source, talk.details)
        if again and not await self._inbox.repeats(entered, talk):
            entered.follower.close()
            return None
        return entered

    async def _prepare(self, info: SessionInfo, place: _Place, talk: Talk, before: bytes) -> SessionInfo | None:
        """Let the session have this client's instructions and tools, and return its row as it is then. Returns None
        while it works on something else, which goes on with those that it has."""
        session, now = info.id, (info.created_at, before, mark_of(talk))
        if self._prepared.get(session) == now or not await self._setup.differs(self.tails.end(info), talk):
            return info
        newest, state = await self._sessions.state(session)
        if (state.turn is not None or newest.pending) and not place.own:
            return None
        info = await self._setup.apply(session, talk)
        self._prepared[session] = now
        return info

    async def _branch(self, talk: Talk, before: bytes, root: str, place: _Place | None) -> Entered:
        """Enter a new session: a fork at `place`, or one that begins with this request. A repeated request enters the
        one that it made."""
        told = place is None and bool(talk.before)
        parts = (told_before(talk.before), *talk.parts) if told else talk.parts
        check_message(parts)
        start = 0 if place is None else place.end
        asks = self._digests.request(talk, before)
        while True:
            old, new = await self._seat(asks, talk)
            seat = None if old is None else _Place(old, start, True)
            if seat is not None and (entered := await self._accept(seat, talk, before, parts)) is not None:
                return entered
            if new is None:
                why = "the session that this Idempotency-Key made was rolled back, or is halted"
                raise Conflict(why, code="idempotency_mismatch")
            try:
                await self._make(new, talk, root, place, asks)
            except NotFound:  # the source was deleted meanwhile
                if talk.previous is not None:
                    raise
                return await self._branch(talk, before, root, None)
            except Conflict as error:
                if error.code != "session_exists":  # else the same request came twice at once
                    raise
                continue
            if (entered := await self._accept(_Place(new, start, True), talk, before, parts)) is not None:
                return entered

    async def _seated(self, talk: Talk, before: bytes) -> Entered | None:
        """Return the turn of the newest session that this request has made; None if it has made none."""
        old, _ = await self._seat(self._digests.request(talk, before), talk)
        if old is None:
            return None
        message = await self._log.first(old)
        if message is None or message.said.mark != mark_of(talk):
            return None
        digest = self._digests.message(talk, before)
        if asked(before, message.said.parts) != digest:
            return None
        entered = await self._inbox.again(old, message.item, talk)
        return None if entered is None else entered._replace(digest=digest, owner=talk.owner)

    async def _make(self, session: str, talk: Talk, root: str, place: _Place | None, asks: bytes) -> None:
        labels = {self._name: root, f"{self._name}.request": asks.hex(), **user_label(talk)}
        if place is not None:
            await self._checkpoints.fork(place.session, place.end, id=session, labels=labels)
        else:
            self._setup.made(await self._sessions.create(self._setup.agent(talk), id=session, labels=labels))

    async def _seat(self, asks: bytes, talk: Talk) -> tuple[str | None, str | None]:
        """Return the newest session that this request has made, if it may still be it, and the id for a new one. With
        an idempotency key there is but one."""
        if talk.key is not None:
            name = current().session_id(f"chat_{beginning(self._name, talk.agent, talk.owner, talk.key).hex()}")
            if (made := await self._known(name)) is None:
                return None, name
            if made.labels.get(f"{self._name}.request") != asks.hex():
                raise Conflict("the Idempotency-Key was used for another request", code="idempotency_mismatch")
            return name, None
        hour = int(time.time()) // _HOUR
        base = current().session_id(f"chat_{asks.hex()}")
        now, last = f"{base}-{hour:x}", f"{base}-{hour - 1:x}"
        count = await self._count(now)
        if count:
            return f"{now}-{count - 1}", f"{now}-{count}"
        earlier = await self._count(last)
        return (f"{last}-{earlier - 1}" if earlier else None), f"{now}-0"

    async def _count(self, seat: str) -> int:
        """Return how many sessions have this id, but for the number."""
        count = self._seats.get(seat) or 0
        while await self._known(f"{seat}-{count}") is not None:
            count += 1
        if count:
            self._seats[seat] = count
        return count

    async def _known(self, session: str) -> SessionInfo | None:
        try:
            return await self._sessions.get(session)
        except NotFound:
            return None

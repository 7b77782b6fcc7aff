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

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from roost.agent.definition import Agent
from roost.doors.conversation_log import ConversationLog
from roost.doors.digests import answered, asked, beginning, source_of, told_before
from roost.doors.talk import Entered, Recent, Talk, mark_of, turn_of, user_label
from roost.errors import Conflict, Invalid, NotFound, TooLarge
from roost.features.client_tools.events import ClientOfferInput
from roost.features.client_tools.state import ClientToolsState, ClientToolsTurn
from roost.ids import is_id
from roost.kernel.sessions import TEXT_BYTES, check_message
from roost.kernel.turn_watch import find_turn
from roost.log.content import Text, UserPart
from roost.log.inputs import MessageInput
from roost.log.protocols import Accepted, SessionQuery
from roost.log.session_info import InputMode, SessionInfo
from roost.log.tail import Follower
from roost.runtime import Runtime

REPEAT_SECONDS = 120.0
"""A request that is sent again within this time after its turn ended gets the same turn, unless this process has
delivered its answer whole: then the client wants another one."""
RETRY_SECONDS = 3600.0
"""The same for a request that says of itself that it is a repetition, delivered or not."""
_HOUR = 3600
_CANDIDATES, _PAGES = 50, 20
_LARGE, _LARGE_TEXT = 200, 100_000
"""Messages, and characters, of a history that is digested beside the event loop."""
_ELSEWHERE = {"idempotency_mismatch", "session_stopped", "session_error"}


class _Place(NamedTuple):
    """The end of a turn, at position `end` of the session's log. own: the session was made for this very request."""

    session: str
    end: int
    own: bool = False


_DOUBTFUL = _Place("", 0)
"""Several sessions have said the same."""


class _Offer(NamedTuple):
    """What is offered in a session that was made at wall time `created`, at position `head` of its log."""

    created: float
    head: int
    offer: ClientOfferInput


class Conversations:
    """The conversations of one door. `name`: the source of its messages.

    What it remembers of earlier requests only saves reading the store: all of it may be lost at any time."""

    def __init__(self, name: str, runtime: Runtime, agents: Callable[[str], Agent]) -> None:
        self._name, self._agents = name, agents
        self._sessions, self._upgrades = runtime.sessions, runtime.upgrades
        self._checkpoints = runtime.checkpoints
        self._log = ConversationLog(name, runtime.sessions)
        self._named_log = ConversationLog(f"{name}:named", runtime.sessions)
        self._places = Recent[bytes, _Place]()
        self._inboxes = runtime.node.store.inboxes
        self._prepared = Recent[str, tuple[float, bytes, str]]()
        self._seats = Recent[str, int]()
        self._delivered = Recent[tuple[str, int], bool]()
        self._offers = Recent[str, _Offer]()
        self._ends = Recent[tuple[str, int], tuple[float, int]]()
        self._variants = Recent[tuple[str, str, str], Agent]()

    async def enter(self, talk: Talk) -> Entered:
        """Put the message of a request into the inbox of its session. Raises `RoostError`."""
        turn = turn_of(talk.results) if talk.results and talk.session is not None else None
        if turn is not None and turn[0] != talk.session:
            raise Invalid(f"messages: these results are of calls of another session than {talk.session!r}")
        if talk.results and not talk.parts:
            return await self._resume(talk)
        check_message(talk.parts)  # before a session is made for it
        if talk.results and (entered := await self._interject(talk)) is not None:
            return entered
        if talk.session is not None:
            return await self._named(talk, talk.session)
        if talk.previous is not None:
            return await self._follow(talk, *talk.previous)
        if _text_size(talk) > TEXT_BYTES:
            await self._demand_begun(talk)
        before, root = await self._digests(talk)
        if talk.repeated and (entered := await self._seated(talk, before)) is not None:
            return entered
        place = await self._find(before, talk, root) if talk.before else None
        entered = None if place is None else await self._accept(place, talk, before, talk.parts)
        return entered or await self._branch(talk, before, root, place)

    def ended(self, entered: Entered, answer: str, end: int, *, failed: bool) -> None:
        """Note that the turn of a message has ended, at position `end` of the log."""
        if entered.created:
            self._ends[entered.session, entered.item] = entered.created, end
        if entered.digest is None or failed:
            return
        digest = answered(entered.digest, (entered.said or "") + answer, entered.calls)
        known = self._places.get(digest)
        several = known is not None and known.session != entered.session and not entered.owner
        self._places[digest] = _DOUBTFUL if several else _Place(entered.session, end)

    def delivered(self, entered: Entered) -> None:
        """Note that the client has got the whole answer."""
        self.fetched(entered.session, entered.item)

    def fetched(self, session: str, item: int) -> None:
        """Note that a client has got the whole answer to a message."""
        self._delivered[session, item] = True

    async def _follow(self, talk: Talk, session: str, item: int) -> Entered:
        """Go on from a turn: in its session if nothing was said after it, else in a fork. Raises `NotFound`."""
        end = await self._end_of(talk, session, item)
        before = beginning(self._name, "turn", session, str(item))
        entered = await self._seated(talk, before) if talk.repeated else None
        place = _Place(session, end)
        entered = entered or await self._accept(place, talk, before, talk.parts)
        entered = entered or await self._branch(talk, before, before.hex(), place)
        return entered._replace(digest=None)

    async def _end_of(self, talk: Talk, session: str, item: int) -> int:
        info = await self._sessions.get(session)
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

    async def _digests(self, talk: Talk) -> tuple[bytes, str]:
        """Return the digest of the history, and the label that all sessions with its first message have."""
        large = len(talk.before) > _LARGE or _text_size(talk) > _LARGE_TEXT
        return await asyncio.to_thread(self._digested, talk) if large else self._digested(talk)

    async def _demand_begun(self, talk: Talk) -> None:
        """Check that a session began as this history does, which is too long to be told to a new one. Raises
        `TooLarge`."""
        query = SessionQuery(agent=talk.agent, label=(self._name, await asyncio.to_thread(self._root, talk)), limit=1)
        if not await self._sessions.find(query):
            why = f"no session had this conversation, and at most {TEXT_BYTES} bytes of its text can be told to one"
            raise TooLarge(f"messages: {why}")

    def _root(self, talk: Talk) -> str:
        first = talk.before[0].parts if talk.before else talk.parts
        return asked(beginning(self._name, talk.agent, talk.owner), first, self._sessions.scrubbed).hex()

    def _digested(self, talk: Talk) -> tuple[bytes, str]:
        scrub, root = self._sessions.scrubbed, self._root(talk)
        at = beginning(self._name, talk.agent, talk.owner)
        for exchange in talk.before:
            at = answered(asked(at, exchange.parts, scrub), exchange.answer, exchange.calls)
        return at, root

    async def _find(self, digest: bytes, talk: Talk, root: str) -> _Place | None:
        """Return where a history ends, by what this process remembers, else by the logs. None where several sessions
        said it, and no `owner` tells whose they are."""
        if (known := self._places.get(digest)) is None:
            known = await self._search(digest, talk, root)
            if known is not None:
                self._places[digest] = known
        return None if known is _DOUBTFUL else known

    async def _search(self, digest: bytes, talk: Talk, root: str) -> _Place | None:
        start, own, brought, last = beginning(self._name, talk.agent, talk.owner), None, None, None
        for _ in range(_PAGES):
            query = SessionQuery(agent=talk.agent, label=(self._name, root), limit=_CANDIDATES, before=last)
            found = await self._sessions.find(query)
            for info in found:
                end = (await self._log.turns(info.id, start)).get(digest)
                if end is not None and end.own:
                    if own is not None:
                        return _DOUBTFUL
                    own = _Place(info.id, end.end)
                    if talk.owner:
                        return own
                elif end is not None:
                    brought = brought or _Place(info.id, end.end)
            if len(found) < _CANDIDATES:
                break
            last = found[-1].id
        return own or brought

    async def _accept(self, place: _Place, talk: Talk, before: bytes, parts: Sequence[UserPart]) -> Entered | None:
        """Continue a session with the message. Returns None when it has gone on from there with another one, or with
        this one long ago, when it was rolled back since, is halted or gone, and when another's turn would get this
        client's tools or instructions. Raises `Conflict` (`session_paused`)."""
        source = source_of(self._name, mark_of(talk), before if parts is not talk.parts else None)
        digest = asked(before, talk.parts, self._sessions.scrubbed)
        try:
            message, back = await self._log.after(place.session, place.end)
            if message is not None:
                same = message.said.mark == mark_of(talk) and asked(before, message.said.parts) == digest
                entered = await self._again(place.session, message.item, talk) if same and not back else None
            elif back:
                return None
            else:
                info = await self._sessions.get(place.session)
                await self._demand_free(info)
                if not await self._prepare(info, place, talk, before):
                    return None
                key = f"{self._name}:{before.hex()}"
                entered, again = await self._send(place.session, parts, key, source, talk.details)
                if again and not await self._repeats(entered, talk):
                    entered.follower.close()
                    return None
                entered = entered._replace(created=info.created_at)
        except NotFound:
            return None
        except Conflict as error:
            if error.code in _ELSEWHERE:
                return None
            raise
        return None if entered is None else entered._replace(digest=digest, owner=talk.owner)

    async def _again(self, session: str, item: int, talk: Talk) -> Entered | None:
        """Return a message that was accepted before, if the request repeats it."""
        entered = await self._reenter(session, item)
        try:
            if await self._repeats(entered, talk):
                return entered
        except BaseException:
            entered.follower.close()
            raise
        entered.follower.close()
        return None

    async def _reenter(self, session: str, item: int) -> Entered:
        """Return a message that was accepted before."""
        follower = self._sessions.listen(session)
        try:
            await self._aim(follower, session, Accepted(item, True, 0))
        except BaseException:
            follower.close()
            raise
        return Entered(session, item, follower, None)

    async def _prepare(self, info: SessionInfo, place: _Place, talk: Talk, before: bytes) -> bool:
        """Let the session have this client's instructions and tools. Returns False while it works on something else,
        which goes on with those that it has."""
        session, now = info.id, (info.created_at, before, mark_of(talk))
        if self._prepared.get(session) == now or not await self._differs(info, talk):
            return True
        info, state = await self._sessions.state(session)
        if (state.turn is not None or info.pending) and not place.own:
            return False
        await self._instruct(session, talk)
        await self._offer(session, talk)
        self._prepared[session] = now
        return True

    async def _send(
        self,
        session: str,
        parts: Sequence[UserPart],
        key: str | None,
        source: str,
        details: dict[str, Any],
        mode: InputMode = "follow_up",
    ) -> tuple[Entered, bool]:
        """Put a message into an inbox. Returns whether it was there before."""
        sessions = self._sessions
        await sessions.demand_parts(session)  # else no event would ever come
        follower = sessions.listen(session)
        try:
            accepted = await sessions.send(session, parts, mode=mode, key=key, source=source, note=details or None)
            await self._aim(follower, session, accepted)
        except BaseException:
            follower.close()
            raise
        return Entered(session, accepted.id, follower, None), accepted.duplicate

    async def _differs(self, info: SessionInfo, talk: Talk) -> bool:
        """Whether a session has other instructions or tools than a request. A choice holds for one answer."""
        instruct = talk.instructions is not None and info.version != self._agent(talk).version
        return instruct or bool(talk.offer.choice) or talk.offer != (await self._offered(info)).offer

    async def _offered(self, info: SessionInfo) -> _Offer:
        """Return what is offered in a session. Another door or node may have changed it since this one looked."""
        known = self._offers.get(info.id)
        if known is None or known.created != info.created_at:
            info, state = await self._sessions.state(info.id)
            part = state.part(ClientToolsState)
            known = _Offer(info.created_at, info.head, ClientOfferInput(part.tools, part.answer, part.choice))
        elif known.head != info.head:
            head, offer = await self._log.offered(info.id, known.head)
            known = _Offer(known.created, head, offer or known.offer)
        self._offers[info.id] = known
        return known

    async def _offer(self, session: str, talk: Talk) -> None:
        """Offer the client's tools in the session instead of those that are offered there."""
        known = await self._offered(await self._sessions.get(session))
        if talk.offer.choice or talk.offer != known.offer:
            await self._sessions.put(session, talk.offer)
            self._offers[session] = known._replace(offer=talk.offer)

    async def _resume(self, talk: Talk) -> Entered:
        """Give the session of these calls their results. Raises `Invalid` when they do not wait for them."""
        if (turn := turn_of(talk.results)) is None:
            raise Invalid("messages: these results are not of calls that one answer of an agent here asked for")
        session, item = turn
        follower = self._sessions.listen(session)
        try:
            step = await self._put_results(session, item, talk, follower)
        except BaseException:
            follower.close()
            raise
        if not talk.before:
            return Entered(session, item, follower, None, "", step=step)
        before, _ = await self._digests(msgspec.structs.replace(talk, before=talk.before[:-1]))
        now = talk.before[-1]
        digest = asked(before, now.parts, self._sessions.scrubbed)
        return Entered(session, item, follower, digest, now.answer + "\n", now.calls, talk.owner, step)

    async def _interject(self, talk: Talk) -> Entered | None:
        """Give a session the results that its turn waits for, with a message that the agent hears in the same turn.
        Returns None when no call waits for them and the message is no repetition."""
        if (turn := turn_of(talk.results)) is None:
            return None
        session, item = turn
        before, _ = await self._digests(talk)
        digest = asked(before, talk.parts, self._sessions.scrubbed)
        try:
            if await self._log.waiting(session, talk) is None:
                entered = await self._heard(session, item, talk, before, digest)
            else:
                await self._offer(session, talk)
                # First the message, which does not wake the turn: else the turn could end without it.
                entered = await self._steer(session, talk, before)
                try:
                    await self._give(session, item, talk)
                except BaseException:
                    entered.follower.close()
                    raise
        except (NotFound, Conflict) as error:
            if isinstance(error, Conflict) and error.code not in _ELSEWHERE:
                raise
            return None
        return None if entered is None else entered._replace(digest=digest, owner=talk.owner)

    async def _steer(self, session: str, talk: Talk, before: bytes) -> Entered:
        place = before if talk.session is None else self._asks(talk, before)
        key, source = f"{self._name}:{place.hex()}", source_of(self._name, mark_of(talk))
        return (await self._send(session, talk.parts, key, source, talk.details, "steer"))[0]

    async def _heard(self, session: str, item: int, talk: Talk, before: bytes, digest: bytes) -> Entered | None:
        """Return the message that came with results before, if the request repeats it: a turn does not go on from its
        midst in another way. If none came, the turn hears this one while it is open. Raises `NotFound`."""
        try:
            after, _ = await self._log.results_before(
                session, item, {one.call.split("/", 2)[2] for one in talk.results}
            )
        except Invalid:
            return None
        message, back = await self._log.after(session, after)
        if message is None and not back:
            begun = await find_turn(self._sessions, session, item) or 0
            open_ = await self._log.ended(session, item, begun) is None
            return await self._steer(session, talk, before) if open_ else None
        if message is None or back or message.said.mark != mark_of(talk):
            return None
        same = asked(before, message.said.parts) == digest
        return await self._reenter(session, message.item) if same else None

    async def _put_results(self, session: str, item: int, talk: Talk, follower: Follower) -> int:
        """Returns the model call that asked for them."""
        try:
            waiting = await self._log.waiting(session, talk)
        except NotFound:
            raise Invalid(f"messages: the session of these calls, {session!r}, is gone") from None
        if waiting is not None:
            follower.after, step = waiting
        else:  # they came before, or are of no call here
            calls = {one.call.split("/", 2)[2] for one in talk.results}
            follower.after, step = await self._log.results_before(session, item, calls)
        follower.behind = True
        if talk.details:
            data = {**talk.details, "results": f"{item}.{step}"}
            with contextlib.suppress(Conflict):  # a repetition with other details
                await self._sessions.emit(
                    session, f"{self._name}.request", data, key=f"{self._name}:request:{item}.{step}"
                )
        if waiting is not None:
            await self._offer(session, talk)
        await self._give(session, item, talk)
        return step

    async def _give(self, session: str, item: int, talk: Talk) -> None:
        """Put results into the inbox."""
        for result in talk.results:
            call = result.call.split("/", 2)[2]
            given = msgspec.structs.replace(result, call=call)
            try:
                await self._sessions.put(session, given, key=f"{self._name}:result:{item}:{call}"[:255])
            except Conflict as error:
                if error.code != "idempotency_mismatch":
                    raise
                why = f"messages: the call {result.call!r} has another result already, which cannot be changed"
                raise Conflict(why, code=error.code) from None

    async def _aim(self, follower: Follower, session: str, accepted: Accepted) -> None:
        """Set the follower to the position before the message's turn."""
        begun = await find_turn(self._sessions, session, accepted.id) if accepted.duplicate else None
        follower.after = accepted.head if begun is None else begun
        follower.behind = follower.behind or accepted.duplicate

    async def _repeats(self, entered: Entered, talk: Talk) -> bool:
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
        return age < REPEAT_SECONDS and (entered.session, entered.item) not in self._delivered

    async def _branch(self, talk: Talk, before: bytes, root: str, place: _Place | None) -> Entered:
        """Enter a new session: a fork at `place`, or one that begins with this request. A repeated request enters the
        one that it made."""
        told = place is None and bool(talk.before)
        parts = (told_before(talk.before), *talk.parts) if told else talk.parts
        check_message(parts)
        start = 0 if place is None else place.end
        asks = self._asks(talk, before)
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

    def _asks(self, talk: Talk, before: bytes) -> bytes:
        """Return the digest of the request."""
        return beginning(asked(before, talk.parts, self._sessions.scrubbed).hex(), mark_of(talk))

    async def _seated(self, talk: Talk, before: bytes) -> Entered | None:
        """Return the turn of the newest session that this request has made; None if it has made none."""
        old, _ = await self._seat(self._asks(talk, before), talk)
        if old is None:
            return None
        message = await self._log.first(old)
        if message is None or message.said.mark != mark_of(talk):
            return None
        digest = asked(before, talk.parts, self._sessions.scrubbed)
        if asked(before, message.said.parts) != digest:
            return None
        entered = await self._again(old, message.item, talk)
        return None if entered is None else entered._replace(digest=digest, owner=talk.owner)

    async def _make(self, session: str, talk: Talk, root: str, place: _Place | None, asks: bytes) -> None:
        labels = {self._name: root, f"{self._name}.request": asks.hex(), **user_label(talk)}
        if place is not None:
            await self._checkpoints.fork(place.session, place.end, id=session, labels=labels)
        else:
            info = await self._sessions.create(self._agent(talk), id=session, labels=labels)
            self._offers[session] = _Offer(info.created_at, 0, ClientOfferInput())

    async def _seat(self, asks: bytes, talk: Talk) -> tuple[str | None, str | None]:
        """Return the newest session that this request has made, if it may still be it, and the id for a new one. With
        an idempotency key there is but one."""
        if talk.key is not None:
            name = f"chat_{beginning(self._name, talk.agent, talk.owner, talk.key).hex()}"
            if (made := await self._known(name)) is None:
                return None, name
            if made.labels.get(f"{self._name}.request") != asks.hex():
                raise Conflict("the Idempotency-Key was used for another request", code="idempotency_mismatch")
            return name, None
        hour = int(time.time()) // _HOUR
        now, last = f"chat_{asks.hex()}-{hour:x}", f"chat_{asks.hex()}-{hour - 1:x}"
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

    async def _named(self, talk: Talk, session: str) -> Entered:
        """Enter the session that the request names. It knows its own history: only the new message counts."""
        if not is_id(session):
            raise Invalid(f"{session!r} cannot name a session: use letters, digits and ._:- (at most 128)")
        info = await self._known(session)
        if info is None:
            agent, key = self._agent(talk), f"{self._name}:{session}"
            info = await self._sessions.create(agent, id=session, key=key, labels=user_label(talk))
        if info.agent != talk.agent:
            raise Invalid(f"session {session!r} is of the agent {info.agent!r}, not of {talk.agent!r}")
        before, _ = await self._digests(talk)
        said = asked(before, talk.parts, self._sessions.scrubbed).hex() if talk.key is None else _short(talk.key)
        mark = beginning(said, mark_of(talk)).hex()
        source = source_of(f"{self._name}:named", mark, before if talk.told is not None else None)
        newest = await self._named_log.newest(session)
        same = newest is not None and newest.said.mark == mark
        if newest is not None and same and (entered := await self._again(session, newest.item, talk)) is not None:
            return entered
        await self._demand_free(info)
        if await self._differs(info, talk):
            if (entered := await self._earlier(session, talk, mark)) is not None:
                return entered
            await self._demand_idle(session)
            await self._instruct(session, talk)
            await self._offer(session, talk)
        parts = (talk.told, *talk.parts) if talk.told is not None else talk.parts
        once = mark if talk.key is None else said
        try:
            entered, again = await self._send(session, parts, f"{self._name}:named:{once}", source, talk.details)
        except Conflict as error:
            if talk.key is not None or error.code != "idempotency_mismatch":
                raise
        else:
            if not again or await self._repeats(entered, talk):
                return entered
            entered.follower.close()
        return (await self._send(session, parts, None, source, talk.details))[0]

    async def _earlier(self, session: str, talk: Talk, mark: str) -> Entered | None:
        """Return a message to a named session that the request repeats, though others came since."""
        source = source_of(f"{self._name}:named", mark)
        for one in await self._inboxes.pending(session):
            if isinstance(one.input, MessageInput) and (one.input.source or "").startswith(source):
                return await self._reenter(session, one.id)
        message = await self._named_log.newest(session, mark)
        return None if message is None else await self._again(session, message.item, talk)

    async def _demand_idle(self, session: str) -> None:
        """Check that no turn is open or about to begin, which would get this request's instructions and tools. Raises
        `Conflict`."""
        info, state = await self._sessions.state(session)
        waiting = await self._inboxes.pending(session) if info.pending else []
        if state.turn is not None or any(isinstance(one.input, MessageInput) for one in waiting):
            why = f"session {session!r} works with other instructions or tools: ask again when its turn has ended"
            raise Conflict(why, code="turn_open")

    async def _demand_free(self, info: SessionInfo) -> None:
        """Check that a message to a session would be answered without anybody's help. Raises `Conflict`."""
        if info.state == "paused":
            raise Conflict(f"session {info.id!r} is paused: resume it, then send the message", code="session_paused")
        if info.phase != "waiting":
            return
        state = (await self._sessions.state(info.id))[1]
        handed = set(state.turn.part(ClientToolsTurn).called) if state.turn is not None else set[str]()
        if waiting := [one.call.id for one in state.calls if one.status == "awaiting" and one.call.id in handed]:
            why = f"session {info.id!r} waits for the results of {', '.join(waiting)}: send them first"
            raise Conflict(why, code="calls_wait")

    def _agent(self, talk: Talk) -> Agent:
        """Return the agent, with the instructions of the request added to its own."""
        agent = self._agents(talk.agent)
        if talk.instructions is None:
            return agent
        key = agent.name, agent.version, talk.instructions
        if (known := self._variants.get(key)) is None:
            text = f"{agent.instructions}\n\n{talk.instructions}"
            known = agent.replace(instructions=text)
            self._variants[key] = known
        return known

    async def _instruct(self, session: str, talk: Talk) -> None:
        """Let the session go on with the instructions of the request, if it has others."""
        if talk.instructions is not None and await self._version(session) != (agent := self._agent(talk)).version:
            await self._upgrades.move_to(session, agent, by=self._name)

    async def _version(self, session: str) -> str:
        return (await self._sessions.get(session)).version


def _text_size(talk: Talk) -> int:
    """Return the characters of the history's texts."""
    texts = (part.text for one in talk.before for part in one.parts if isinstance(part, Text))
    return sum(len(one.answer) for one in talk.before) + sum(map(len, texts))


def _short(key: str) -> str:
    return beginning(key).hex()

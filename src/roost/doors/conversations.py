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
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from roost.agent.definition import Agent
from roost.doors.digests import ConversationReader, Exchange, answered, asked, beginning, told_before
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.events import ClientOfferInput, ClientResultInput
from roost.features.client_tools.state import ClientToolsState, ClientToolsTurn
from roost.ids import is_id
from roost.kernel.sessions import check_message
from roost.kernel.turn_watch import find_turn
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.protocols import Accepted, SessionQuery
from roost.log.tail import Follower
from roost.runtime import Runtime

REPEAT_SECONDS = 120.0
"""A request that is sent again within this time after its turn ended gets the same turn, unless this process has
delivered its answer whole: then the client wants another one."""
RETRY_SECONDS = 3600.0
"""The same for a request that says of itself that it is a repetition, delivered or not."""
_HOUR = 3600
_CANDIDATES = 50
_KEPT = 10_000
_PAGE = 1000
_COMPLETED = b'{"type":"turn.completed"'
_OUTCOME = b'{"type":"tool.completed"'
_RECEIVED = b'{"type":"input.received"'
K = TypeVar("K")
V = TypeVar("V")


class Talk(msgspec.Struct, kw_only=True):
    """What a request says.

    agent: a name. user: keeps the conversations of one end user apart from others'. before: the history that it
    resends. parts: the new message. instructions: added to the agent's. session: the session that it names. key: its
    idempotency key. repeated: the client says that it sends the request again. offer: the tools that the client runs,
    and the form of the answer. results: of calls that it ran; then there is no new message.
    """

    agent: str
    user: str = ""
    before: Sequence[Exchange] = ()
    parts: tuple[UserPart, ...]
    instructions: str | None = None
    session: str | None = None
    key: str | None = None
    repeated: bool = False
    offer: ClientOfferInput = ClientOfferInput()
    results: tuple[ClientResultInput, ...] = ()


class Entered(NamedTuple):
    """An accepted message, and the follower of its session's log, which the caller closes. digest: of the conversation
    up to this message; None in a named session. said: what the agent said in its turn before the results of calls that
    came now; None if they are not results."""

    session: str
    item: int
    follower: Follower
    digest: bytes | None
    said: str | None = None


class _Place(NamedTuple):
    """The end of a turn, at position `end` of the session's log. last: no later turn of the door is known."""

    session: str
    end: int
    last: bool = True


class Conversations:
    """The conversations of one door. `name`: the source of its messages.

    What it remembers of earlier requests only saves reading the store: all of it may be lost at any time."""

    def __init__(self, name: str, runtime: Runtime, agents: Callable[[str], Agent]) -> None:
        self._name, self._agents = name, agents
        self._sessions, self._upgrades = runtime.sessions, runtime.upgrades
        self._places = _Recent[bytes, _Place]()
        self._seats = _Recent[str, int]()
        self._delivered = _Recent[tuple[str, int], bool]()
        self._offers = _Recent[str, ClientOfferInput]()
        self._variants = _Recent[tuple[str, str, str], Agent]()

    async def enter(self, talk: Talk) -> Entered:
        """Put the message of a request into the inbox of its session. Raises `RoostError`."""
        if talk.results:
            return await self._resume(talk)
        check_message(talk.parts)  # before a session is made for it
        if talk.session is not None:
            return await self._named(talk, talk.session)
        before, root = self._digests(talk)
        place = await self._find(before, talk, root) if talk.before else None
        entered = await self._accept(place.session, talk, before) if place is not None and place.last else None
        return entered or await self._branch(talk, before, root, place)

    def ended(self, entered: Entered, answer: str, end: int, *, failed: bool) -> None:
        """Note that the turn of a message has ended, at position `end` of the log."""
        if entered.digest is not None and not failed:
            self._places[answered(entered.digest, (entered.said or "") + answer)] = _Place(entered.session, end)

    def delivered(self, entered: Entered) -> None:
        """Note that the client has got the whole answer."""
        self._delivered[entered.session, entered.item] = True

    def _digests(self, talk: Talk) -> tuple[bytes, str]:
        """Return the digest of the history, and the label that all sessions with its first message have."""
        scrub = self._sessions.scrubbed
        at = beginning(self._name, talk.agent, talk.user)
        root = asked(at, talk.before[0].parts if talk.before else talk.parts, scrub).hex()
        for exchange in talk.before:
            at = answered(asked(at, exchange.parts, scrub), exchange.answer)
        return at, root

    async def _find(self, digest: bytes, talk: Talk, root: str) -> _Place | None:
        """Return where a history ends, by what this process remembers, else by the logs."""
        if (known := self._places.get(digest)) is not None:
            return known
        query = SessionQuery(agent=talk.agent, label=(self._name, root), limit=_CANDIDATES)
        start, branched = beginning(self._name, talk.agent, talk.user), None
        for info in await self._sessions.find(query):
            turns = await self._read(info.id, start)
            if digest in turns:
                place = _Place(info.id, turns[digest], next(reversed(turns)) == digest)
                if place.last:
                    self._places[digest] = place
                    return place
                branched = branched or place
        return branched

    async def _read(self, session: str, start: bytes) -> dict[bytes, int]:
        """Return the ends of the door's turns in a session, by digest, in order."""
        reader, after = ConversationReader(start, self._name), 0
        try:
            while page := await self._sessions.history(session, after=after, limit=_PAGE):
                for record in page:
                    reader.follow(record)
                after = page[-1].seq
        except NotFound:  # deleted under way
            return {}
        return dict(reader.turns)

    async def _accept(
        self, session: str, talk: Talk, before: bytes, parts: tuple[UserPart, ...] | None = None
    ) -> Entered | None:
        """Continue the session with the message. Returns None when it has gone on from there with another one, or with
        this one long ago, and when it is gone."""
        try:
            if talk.instructions is not None:
                await self._instruct(session, talk)
            entered, again = await self._send(session, talk, parts or talk.parts, f"{self._name}:{before.hex()}")
        except NotFound:
            return None
        except Conflict as error:
            if error.code == "idempotency_mismatch":
                return None
            raise
        entered = entered._replace(digest=asked(before, talk.parts, self._sessions.scrubbed))
        if again and not await self._repeats(entered, talk):
            entered.follower.close()
            return None
        return entered

    async def _send(
        self, session: str, talk: Talk, parts: Sequence[UserPart], key: str | None, source: str = ""
    ) -> tuple[Entered, bool]:
        """Put a message into an inbox. Returns whether it was there before."""
        sessions = self._sessions
        await sessions.demand_parts(session)  # else no event would ever come
        await self._offer(session, talk)
        follower = sessions.listen(session)
        try:
            source = source or (self._name if talk.key is None else f"{self._name}#{_short(talk.key)}")
            accepted = await sessions.send(session, parts, key=key, source=source)
            await self._aim(follower, session, accepted)
        except BaseException:
            follower.close()
            raise
        return Entered(session, accepted.id, follower, None), accepted.duplicate

    async def _offer(self, session: str, talk: Talk) -> None:
        """Offer the client's tools in the session instead of those that are offered there."""
        known = self._offers.get(session)
        if known is None:  # another node, or an earlier process, may have offered some
            part = (await self._sessions.state(session))[1].part(ClientToolsState)
            known = ClientOfferInput(part.tools, part.answer)
        if talk.offer != known:
            await self._sessions.put(session, talk.offer)
        self._offers[session] = talk.offer

    async def _resume(self, talk: Talk) -> Entered:
        """Give the session of these calls their results. Raises `Invalid` when they do not wait for them."""
        places = {tuple(result.call.split("/", 2)[:2]) for result in talk.results}
        session, item = next(iter(places))[0], next(iter(places))[-1]
        if len(places) != 1 or not item.isdigit() or any(one.call.count("/") < 2 for one in talk.results):
            raise Invalid("messages: these results are not of calls that one answer of an agent here asked for")
        follower = self._sessions.listen(session)
        try:
            await self._put_results(session, int(item), talk, follower)
        except BaseException:
            follower.close()
            raise
        before, _ = self._digests(msgspec.structs.replace(talk, before=talk.before[:-1]))
        now = talk.before[-1]
        return Entered(
            session, int(item), follower, asked(before, now.parts, self._sessions.scrubbed), now.answer + "\n"
        )

    async def _put_results(self, session: str, item: int, talk: Talk, follower: Follower) -> None:
        calls = {one.call.split("/", 2)[2]: one for one in talk.results}
        try:
            info, state = await self._sessions.state(session)
        except NotFound:
            raise Invalid(f"messages: the session of these calls, {session!r}, is gone") from None
        if info.agent != talk.agent:
            raise Invalid(f"messages: these calls are of the agent {info.agent!r}, not of {talk.agent!r}")
        waiting = {one.call.id for one in state.calls if one.status == "awaiting"}
        handed = set(state.turn.part(ClientToolsTurn).called) if state.turn is not None else set[str]()
        waiting &= handed
        if waiting & calls.keys():
            if missing := waiting - calls.keys():
                raise Invalid(f"messages: the results of {', '.join(sorted(missing))} are missing")
            follower.after = info.head
        else:  # they came before, or are of no call here
            follower.after = await self._results_before(session, item, set(calls))
        follower.behind = True
        await self._offer(session, talk)
        for call, result in calls.items():
            given = msgspec.structs.replace(result, call=call)
            await self._sessions.put(session, given, key=f"{self._name}:result:{item}:{call}"[:255])

    async def _results_before(self, session: str, item: int, calls: set[str]) -> int:
        """Return the position before the outcomes of calls. Raises `Invalid` when there are none."""
        after = await find_turn(self._sessions, session, item)
        while after is not None and (page := await self._sessions.history(session, after=after, limit=_PAGE)):
            for record in page:
                if record.body.startswith(_OUTCOME):
                    event = record.event
                    if isinstance(event, ev.ToolCompleted) and event.call in calls:
                        return record.seq - 1
            after = page[-1].seq
        raise Invalid("messages: no call waits for these results")

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
        ended = await self._ended_at(entered)
        if ended is None:
            return True
        age = time.time() - ended
        if talk.repeated:
            return age < RETRY_SECONDS
        return age < REPEAT_SECONDS and (entered.session, entered.item) not in self._delivered

    async def _ended_at(self, entered: Entered) -> float | None:
        """Return when the turn of a message ended (wall time, seconds); None if it has not."""
        after, received = entered.follower.after, False
        while page := await self._sessions.history(entered.session, after=after, limit=_PAGE):
            for record in page:
                if record.body.startswith(_RECEIVED):
                    event = record.event
                    received = received or (isinstance(event, ev.InputReceived) and event.input == entered.item)
                elif received and record.body.startswith(_COMPLETED):
                    return record.event.at
            after = page[-1].seq
        return None

    async def _branch(self, talk: Talk, before: bytes, root: str, place: _Place | None) -> Entered:
        """Enter a new session: a fork at `place`, or one that begins with this request. A repeated request enters the
        one that it made."""
        parts = talk.parts if place is not None or not talk.before else (told_before(before, talk.before), *talk.parts)
        check_message(parts)
        asks = asked(before, talk.parts, self._sessions.scrubbed)
        while True:
            old, new = await self._seat(asks, talk)
            if old is not None and (entered := await self._accept(old, talk, before, parts)) is not None:
                return entered
            if new is None:
                raise Conflict("the Idempotency-Key was used for another request", code="idempotency_mismatch")
            try:
                await self._make(new, talk, root, place)
            except NotFound:  # the source was deleted meanwhile
                return await self._branch(talk, before, root, None)
            except Conflict as error:
                if error.code != "session_exists":  # else the same request came twice at once
                    raise
                continue
            if (entered := await self._accept(new, talk, before, parts)) is not None:
                return entered

    async def _make(self, session: str, talk: Talk, root: str, place: _Place | None) -> None:
        labels = {self._name: root}
        if place is not None:
            await self._sessions.fork(place.session, place.end, id=session, labels=labels)
        else:
            await self._sessions.create(self._agent(talk), id=session, labels=labels)
            self._offers[session] = ClientOfferInput()

    async def _seat(self, asks: bytes, talk: Talk) -> tuple[str | None, str | None]:
        """Return the newest session that this request has made, if it may still be it, and the id for a new one. With
        an idempotency key there is but one."""
        if talk.key is not None:
            name = f"chat_{beginning(self._name, talk.agent, talk.user, talk.key).hex()}"
            return (name, None) if await self._exists(name) else (None, name)
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
        while await self._exists(f"{seat}-{count}"):
            count += 1
        if count:
            self._seats[seat] = count
        return count

    async def _exists(self, session: str) -> bool:
        try:
            await self._sessions.get(session)
        except NotFound:
            return False
        return True

    async def _named(self, talk: Talk, session: str) -> Entered:
        """Enter the session that the request names. It knows its own history: only the new message counts."""
        if not is_id(session):
            raise Invalid(f"{session!r} cannot name a session: use letters, digits and ._:- (at most 128)")
        try:
            agent = (await self._sessions.get(session)).agent
        except NotFound:
            agent = (await self._sessions.create(self._agent(talk), id=session, key=f"{self._name}:{session}")).agent
        if agent != talk.agent:
            raise Invalid(f"session {session!r} is of the agent {agent!r}, not of {talk.agent!r}")
        if talk.instructions is not None:
            await self._instruct(session, talk)
        before, _ = self._digests(talk)
        said = asked(before, talk.parts, self._sessions.scrubbed).hex()
        key = f"{self._name}:named:{said if talk.key is None else _short(talk.key)}"
        source = f"{self._name}:named" if talk.key is None else f"{self._name}#{_short(talk.key)}"
        entered, again = await self._send(session, talk, talk.parts, key, source)
        if not again or await self._repeats(entered, talk):
            return entered
        entered.follower.close()
        return (await self._send(session, talk, talk.parts, None, source))[0]

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
        agent = self._agent(talk)
        if (await self._sessions.get(session)).version != agent.version:
            await self._upgrades.move_to(session, agent, by=self._name)


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """The newest entries of a mapping."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > _KEPT:
            self.popitem(last=False)


def call_id(session: str, item: int, call: str) -> str:
    """Return the id of a call for its client: it comes back with the result."""
    return f"{session}/{item}/{call}"


def _short(key: str) -> str:
    return beginning(key).hex()

"""Give a session the results of calls that the client ran."""

from __future__ import annotations

import contextlib

import msgspec

from roost.doors.conversation_log import ConversationLog
from roost.doors.digests import asked, source_of
from roost.doors.request_digests import RequestDigests
from roost.doors.request_inbox import RequestInbox
from roost.doors.request_setup import RequestSetup
from roost.doors.talk import HALTED, Entered, Talk, mark_of, turn_of
from roost.errors import Conflict, Invalid, NotFound
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn
from roost.log.tail import Follower


class CallResults:
    """Results that come through the door `name`."""

    def __init__(
        self,
        name: str,
        sessions: Sessions,
        log: ConversationLog,
        digests: RequestDigests,
        inbox: RequestInbox,
        setup: RequestSetup,
    ) -> None:
        self._name, self._sessions, self._log = name, sessions, log
        self._digests, self._inbox, self._setup = digests, inbox, setup

    async def resume(self, talk: Talk) -> Entered:
        """Give the session of these calls their results. Raises `Invalid` when they do not wait for them."""
        if (turn := turn_of(talk.results)) is None:
            raise Invalid("messages: these results are not of calls that one answer of an agent here asked for")
        session, item = turn
        follower = self._sessions.listen(session)
        try:
            created, step = await self._put_results(session, item, talk, follower)
        except BaseException:
            follower.close()
            raise
        if not talk.before:
            return Entered(session, item, follower, None, "", step=step, created=created)
        before, _ = await self._digests.history(msgspec.structs.replace(talk, before=talk.before[:-1]))
        now = talk.before[-1]
        digest = asked(before, now.parts, self._sessions.scrubbed)
        return Entered(session, item, follower, digest, now.answer + "\n", now.calls, talk.owner, step, created)

    async def interject(self, talk: Talk) -> Entered | None:
        """Give a session the results that its turn waits for, with a message that the agent hears in the same turn.
        Returns None when no call waits for them and the message is no repetition."""
        if (turn := turn_of(talk.results)) is None:
            return None
        session, item = turn
        before, _ = await self._digests.history(talk)
        digest = self._digests.message(talk, before)
        try:
            if await self._log.waiting(session, talk) is None:
                entered = await self._heard(session, item, talk, before, digest)
            else:
                await self._setup.offer(await self._sessions.get(session), talk)
                # First the message, which does not wake the turn: else the turn could end without it.
                entered = await self._steer(session, talk, before)
                try:
                    await self._give(session, item, talk)
                except BaseException:
                    entered.follower.close()
                    raise
        except (NotFound, Conflict) as error:
            if isinstance(error, Conflict) and error.code not in HALTED:
                raise
            return None
        return None if entered is None else entered._replace(digest=digest, owner=talk.owner)

    async def _steer(self, session: str, talk: Talk, before: bytes) -> Entered:
        info = await self._sessions.get(session)
        place = before if talk.session is None else self._digests.request(talk, before)
        key, source = f"{self._name}:{place.hex()}", source_of(self._name, mark_of(talk))
        return (await self._inbox.send(info, talk.parts, key, source, talk.details, "steer"))[0]

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
        return await self._inbox.reenter(session, message.item) if same else None

    async def _put_results(self, session: str, item: int, talk: Talk, follower: Follower) -> tuple[float, int]:
        """Return when the session was made (0 for a repetition), and the model call that asked for the results."""
        try:
            waiting = await self._log.waiting(session, talk)
        except NotFound:
            raise Invalid(f"messages: the session of these calls, {session!r}, is gone") from None
        if waiting is not None:
            info, step = waiting
            follower.after = info.head
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
            await self._setup.offer(await self._sessions.get(session), talk)
        await self._give(session, item, talk)
        return (0.0 if waiting is None else waiting[0].created_at), step

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

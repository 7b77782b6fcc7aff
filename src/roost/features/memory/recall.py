"""A session's access to its memory: changes and searches by its tools, and recall at the start of a turn."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from roost.agent.session import Session
from roost.authority import account_of
from roost.errors import Invalid, NotFound, RoostError
from roost.features.memory.events import MemoryChanged, MemoryRecalled
from roost.features.memory.state import MemoryTurn
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.log.fact_rows import no_session, session_of
from roost.log.facts import Category, EndFact, Fact, FactChange, NewFact, PutFact, RecalledFact
from roost.memory.dedup import Learned, as_fact, check_key, check_text, fact_id, learn, supersede
from roost.memory.rights import Memory, Rights
from roost.memory.search import Found, FoundFact, Search, distinct
from roost.memory.spaces import beginning_of, check_space, own_spaces, scope_of
from roost.tools.base import ToolContext

log = logging.getLogger("roost.memory")
_QUERY = 2000
"""Characters of a message used as the search query."""
_BESIDE_BEST = 0.8
"""Minimal fit of a recalled fact, as a fraction of the best one's."""
_SPACES = 64
"""Spaces that one recall searches, besides the session's own."""


class CallMemory:
    """Memory of one call. tainted: a recalled fact may be untrusted content.

    Changes take effect if the call succeeds, in the commit of its outcome. Scopes are `turn`, `session`, `agent`,
    `user`, or a full space name that the agent has a right to. All methods raise `Invalid` and `NotFound` with messages
    for the model, and `StoreFailed`."""

    def __init__(self, session: Session, search: Search, context: ToolContext) -> None:
        self._session, self._search, self._context = session, search, context
        self._staged: list[tuple[MemoryChanged, list[FactChange]]] = []
        self.tainted = False

    async def remember(
        self, text: str, scope: str | None, category: Category, key: str | None, confidence: float
    ) -> Learned:
        """Store a fact. Without a scope it goes to the user's space, or to the agent's if there is no user."""
        fact = NewFact(
            id=self._new_id(),
            space=self._space(scope),
            text=check_text(self._session.means.scrubbed(text)),
            category=category,
            key=None if key is None else check_key(self._session.means.scrubbed(key)),
            confidence=confidence,
            tainted=self._session.state.tainted is not None,
        )
        if fact.space.startswith("turn:"):
            known = [one for one in self._of_turn() if key is not None and one.key == key]
            return self._stage(supersede(fact, known))
        if (of := session_of(fact.space)) not in (None, self._session.id):
            await self._check_session(of)
        return self._stage(await learn(self._search, fact, meta=self._session.about))

    async def update(self, id: str, text: str, confidence: float | None) -> Learned:
        former = await self._writable(id)
        fact = NewFact(
            id=self._new_id(),
            space=former.space,
            text=check_text(self._session.means.scrubbed(text)),
            category=former.category,
            key=former.key,
            confidence=former.confidence if confidence is None else confidence,
            tainted=self._session.state.tainted is not None,
        )
        if (fact.text, fact.confidence) == (former.text, former.confidence):
            return Learned("known", fact, (former,))
        return self._stage(supersede(fact, [former]))

    async def forget(self, id: str) -> Fact:
        fact = await self._writable(id)
        changes: list[FactChange] = [] if fact.space.startswith("turn:") else [EndFact(id)]
        self._staged.append((MemoryChanged(at=time.time(), op="remove", ended=(id,)), changes))
        return fact

    async def recall(self, query: str, scope: str | None, category: Category | None, limit: int) -> Found:
        if scope is None:
            spaces = await readable(self._search, rights_of(self._session))
        else:
            spaces = [] if scope == "turn" else [self._space(scope, read=True)]
        found = await self._search.find(spaces, query, limit=limit * (4 if category else 2), meta=self._session.about)
        own = [FoundFact(fact, 1.0) for fact in self._of_turn()] if scope in (None, "turn") else []
        facts = [one for one in distinct((*own, *found.facts)) if category in (None, one.fact.category)][:limit]
        self.tainted = self.tainted or any(one.fact.tainted for one in facts)
        return msgspec.structs.replace(found, facts=facts)

    async def _check_session(self, session: str) -> None:
        """Raise `Invalid` if there is no such session."""
        try:
            await self._session.means.read(session, after=0, limit=1)
        except NotFound:
            raise no_session(session) from None

    def _new_id(self) -> str:
        """Return a fact id: the same when the call is retried, another one in a later session with the same id."""
        return fact_id(self._context.key, repr(self._session.born), str(len(self._staged)))

    def settle(self, *, ok: bool) -> None:
        """Note the staged changes in the commit of the call's outcome; drop them if it failed. A speculative call has
        its real id by now."""
        staged, self._staged = self._staged, []
        for event, changes in staged if ok else ():
            self._session.log.note(msgspec.structs.replace(event, call=self._context.call), facts=changes)
        if self.tainted and self._session.state.tainted is None:
            self._session.log.note(ev.SessionTainted(at=time.time(), by="recall"))

    def _stage(self, learned: Learned) -> Learned:
        if learned.op != "known":
            fact = learned.fact
            event = MemoryChanged(at=time.time(), op=learned.op, facts=(fact,), ended=fact.supersedes)
            self._staged.append((event, [] if fact.space.startswith("turn:") else [PutFact(fact)]))
        return learned

    def _space(self, scope: str | None, *, read: bool = False) -> str:
        """Return the space that `scope` names. Raises `Invalid`."""
        rights = rights_of(self._session)
        if scope == "turn":
            return f"turn:{self._session.state.turns}"
        space = rights.own[-1] if scope is None else scope_of(scope, rights.own)
        if space is None:
            known = ", ".join(name.partition(":")[0] for name in rights.own)
            raise Invalid(f"there is no memory {scope!r} here; there are: turn, {known}")
        if not (rights.may_read if read else rights.may_write)(check_space(space)):
            raise Invalid(f"this agent may not {'read' if read else 'write'} the memory {space!r}")
        return space

    async def _writable(self, id: str) -> Fact:
        """Return a current fact that the agent may change. Raises `NotFound` if there is none or the agent may not read
        it, `Invalid` if it may only read it."""
        own = next((fact for fact in self._of_turn() if fact.id == id), None)
        if own is not None:
            return own
        rights, missing = rights_of(self._session), f"there is no fact {id!r}; recall shows the ids"
        try:
            fact = await self._search.facts.get(id)
        except NotFound:
            raise NotFound(missing) from None
        if fact.ended is not None or fact.proposed or not rights.may_read(fact.space):
            raise NotFound(missing)
        if not rights.may_write(fact.space):
            raise Invalid(f"this agent may not change the memory {fact.space!r}")
        return fact

    def _of_turn(self) -> list[Fact]:
        turn = self._session.state.turn
        if turn is None:
            return []
        return [as_fact(fact, turn.started_at) for fact in turn.part(MemoryTurn).facts]


async def recall_at_turn(session: Session) -> None:
    """Recall facts once, before the first model call of a turn. A failing search is logged and does not block the turn.
    Raises `Interrupted`."""
    settings, search, turn = session.spec.memory, session.means.find(Search), session.state.turn
    if settings is None or search is None or turn is None or settings.recall != "auto":
        return
    query = _asked(session)
    if turn.part(MemoryTurn).recalled or turn.steps or not query:
        return
    try:
        spaces = await session.interrupts.interruptible(lambda: readable(search, rights_of(session)), steer=False)
        if not spaces:
            return
        found = await session.interrupts.interruptible(
            lambda: search.find(spaces, query, limit=4 * settings.limit, meta=session.about), steer=False
        )
    except RoostError as error:
        log.warning("session %s: nothing is recalled: %s", session.id, error)
        return
    facts = fitting(found, settings)
    if not facts and found.why is None:
        return
    session.log.note(
        MemoryRecalled(
            at=time.time(), turn=turn.number, facts=facts, how=found.how, why=found.why, seconds=round(found.seconds, 4)
        )
    )
    if session.state.tainted is None and any(fact.tainted for fact in facts):
        session.log.note(ev.SessionTainted(at=time.time(), by="memory"))


def fitting(found: Found, settings: Memory) -> tuple[RecalledFact, ...]:
    """Return the facts worth showing unasked: those that fit well enough, and not much worse than the best one."""
    enough = max([settings.least, *(_BESIDE_BEST * one.fit for one in found.facts)])
    kept = [one for one in distinct(found.facts) if found.how == "words" or one.fit >= enough]
    return tuple(
        RecalledFact(
            id=one.fact.id,
            space=one.fact.space,
            text=one.fact.text,
            category=one.fact.category,
            created=one.fact.created,
            score=round(one.score, 5),
            tainted=one.fact.tainted,
        )
        for one in kept[: settings.limit]
    )


def rights_of(session: Session) -> Rights:
    settings = session.spec.memory or Memory()
    user = session.about.get("user")
    own = own_spaces(session.id, session.spec.name, user)
    return Rights(own, settings.read, settings.write, account_of(user))


async def readable(search: Search, rights: Rights) -> list[str]:
    """Return the readable spaces that hold facts."""
    found: dict[str, None] = {}
    for name in rights.own:
        found |= {space.name: None for space in await search.facts.spaces(name) if space.name == name and space.facts}
    others: list[str] = []
    for pattern in (*rights.read, *rights.write):
        spaces = await search.facts.spaces(beginning_of(pattern))
        others += [space.name for space in spaces if space.facts and rights.may_read(space.name)]
    return list(found | dict.fromkeys(others[:_SPACES]))


def _asked(session: Session) -> str:
    entry = next((one for one in reversed(session.state.entries) if one.turn == session.state.turns), None)
    if entry is None or not isinstance(entry.message, UserMessage):
        return ""
    return _text(entry.message.parts)[:_QUERY].strip()


def _text(parts: Sequence[object]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, Text))

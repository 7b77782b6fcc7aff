"""What becomes of a new fact beside those that are known: nothing, a place of its own, or the place of others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from roost.errors import Invalid, TooLarge
from roost.ids import is_storable
from roost.log.memory import FACT_BYTES, Fact, FactQuery, NewFact
from roost.log.words import words
from roost.memory.search import Search

SAME = 0.92
"""The likeness from which on two texts of a category say something of the same matter, so that the newer one counts.
With all-MiniLM-L6-v2 sentences that differ in one value lie above it, those about different things far below."""
KEY_CHARACTERS = 200
_WAITING = 1000
"""Of a space's proposals, those that a new one is compared with; word by word alone beyond `_COMPARED`."""
_COMPARED = 50
"""Facts that are not in the index, the newest, whose likeness is worked out."""

Op: TypeAlias = Literal["add", "update", "merge", "known"]


class Learned(msgspec.Struct, frozen=True):
    """`known`: nothing is to be done, `former` says it already. Else `fact` takes the place of `former`, if any."""

    op: Op
    fact: NewFact
    former: tuple[Fact, ...] = ()


def fact_id(*parts: str) -> str:
    """The same for the same parts: what is done again makes no second fact."""
    return "fct_" + hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def check_text(text: str) -> str:
    """Without what cannot be stored, and white space around it. Raises `Invalid`, `TooLarge`."""
    clean = text.replace("\0", "").encode("utf-8", "replace").decode().strip()
    if not clean:
        raise Invalid("the fact is empty", code="empty_fact")
    if len(clean.encode()) > FACT_BYTES:
        raise TooLarge(f"a fact has at most {FACT_BYTES} bytes; put more into a file and remember where it is")
    return clean


def check_key(key: str | None) -> str | None:
    if key is not None and not (1 <= len(key) <= KEY_CHARACTERS and is_storable(key)):
        raise Invalid(f"a key has 1 to {KEY_CHARACTERS} characters, none of them NUL", code="bad_key")
    return key


async def learn(search: Search, fact: NewFact, *, beside: Sequence[NewFact] = ()) -> Learned:
    """Where the fact goes. One with the same key or, without a key, of the same category and nearly the same meaning is
    superseded. What is only proposed is compared with the proposals that wait, too. `beside`: facts of the same space
    that are to be kept with it, before it. Raises `StoreFailed`."""
    gone = {id for one in beside for id in one.supersedes}
    fresh = [as_fact(one) for one in reversed(beside) if one.id not in gone]
    if fact.proposed:
        query = FactQuery(spaces=(fact.space,), key=fact.key, proposed=True, limit=_WAITING)
        fresh += [one for one in await search.facts.facts(query) if one.id not in gone]
    if fact.key is not None:
        known = await search.facts.facts(FactQuery(spaces=(fact.space,), key=fact.key, limit=1))
        found = [one for one in fresh if one.key == fact.key] or known
    else:
        found = await _alike(search, fact, fresh)
    found = [one for one in found if one.id not in gone]
    if any(_same(one.text, fact.text) and one.category == fact.category for one in found):
        return Learned("known", fact, tuple(found[:1]))
    return supersede(fact, found)


def supersede(fact: NewFact, former: Sequence[Fact]) -> Learned:
    op: Op = "add" if not former else "update" if len(former) == 1 else "merge"
    ids = tuple(one.id for one in former)
    return Learned(op, msgspec.structs.replace(fact, supersedes=ids), tuple(former))


async def _alike(search: Search, fact: NewFact, fresh: Sequence[Fact]) -> list[Fact]:
    fresh = [one for one in fresh if one.category == fact.category]
    likeness = await search.likeness(fact.text, [one.text for one in fresh[:_COMPARED]])
    likeness += [0.0] * (len(fresh) - len(likeness))
    found = (await search.find([fact.space], fact.text, limit=5)).facts
    every = [*zip(fresh, likeness, strict=True), *((one.fact, one.likeness or 0.0) for one in found)]
    same = [(one, like) for one, like in every if one.category == fact.category]
    exact = [one for one, _ in same if _same(one.text, fact.text)]
    return exact or [one for one, like in same if one.key is None and like >= SAME]


def as_fact(fact: NewFact, at: float = 0.0) -> Fact:
    """One that is not in the store."""
    return Fact(**msgspec.structs.asdict(fact), created=at, version=0)


def _same(one: str, other: str) -> bool:
    return one == other or (words(one) == words(other) != [])

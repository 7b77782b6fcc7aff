"""Decide the effect of a new fact on existing ones: none, an addition, or the end of those that it supersedes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from roost.errors import Invalid, TooLarge
from roost.ids import is_storable
from roost.log.facts import FACT_BYTES, Fact, FactQuery, NewFact
from roost.memory.comparison import Relation, compare
from roost.memory.search import Search

KEY_CHARACTERS = 200
_WAITING = 1000
"""Proposals of a space that a new one is compared with; beyond `_COMPARED` word by word only."""
_COMPARED = 50
"""Facts outside the index, the newest, that are compared by likeness too."""
_NEAREST = 20
"""Stored facts that a new one is compared with."""

Op: TypeAlias = Literal["add", "update", "merge", "known"]


class Learned(msgspec.Struct, frozen=True):
    """Decision on a new fact. op: "known" writes nothing, because `former` is equal; otherwise `fact` supersedes
    `former`, if any. unsure: facts that stay although they may contradict `fact` or mean the same; the caller may end
    them."""

    op: Op
    fact: NewFact
    former: tuple[Fact, ...] = ()
    unsure: tuple[Fact, ...] = ()


def fact_id(*parts: str) -> str:
    """Return an id that depends on the parts alone, so that a retry adds no second fact."""
    return "fct_" + hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def check_text(text: str) -> str:
    """Return the text without characters that cannot be stored, stripped. Raises `Invalid`, `TooLarge`."""
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


async def learn(
    search: Search, fact: NewFact, *, beside: Sequence[NewFact] = (), meta: Mapping[str, str] | None = None
) -> Learned:
    """Decide what `fact` supersedes: the fact with its key or, without a key, those of its category that it corrects
    (`roost.memory.comparison`). A proposal is compared with waiting proposals too. beside: facts of the same space that
    are written before it in the same commit. meta: of the calls of the embedder. Raises `StoreFailed`."""
    gone = {id for one in beside for id in one.supersedes}
    fresh = [as_fact(one) for one in reversed(beside) if one.id not in gone]
    if fact.proposed:
        query = FactQuery(spaces=(fact.space,), key=fact.key, proposed=True, limit=_WAITING)
        fresh += [one for one in await search.facts.find(query) if one.id not in gone]
    if fact.key is not None:
        known = await search.facts.find(FactQuery(spaces=(fact.space,), key=fact.key, limit=1))
        found = [one for one in fresh if one.key == fact.key] or known
        judged = [(one, compare(fact.text, one.text)) for one in found if one.id not in gone]
        former = [one for one, _ in judged]
    else:
        judged = [(one, told) for one, told in await _judged(search, fact, fresh, meta) if one.id not in gone]
        former = [one for one, told in judged if told == "corrects" and _replaceable(fact, one)]
    same = [one for one, told in judged if told == "same" and one.category == fact.category]
    if same:
        return Learned("known", fact, tuple(same[:1]))
    unsure = [one for one, told in judged if told != "other" and one not in former]
    return msgspec.structs.replace(supersede(fact, former), unsure=tuple(unsure))


def supersede(fact: NewFact, former: Sequence[Fact]) -> Learned:
    op: Op = "add" if not former else "update" if len(former) == 1 else "merge"
    ids = tuple(one.id for one in former)
    return Learned(op, msgspec.structs.replace(fact, supersedes=ids), tuple(former))


async def _judged(
    search: Search, fact: NewFact, fresh: Sequence[Fact], meta: Mapping[str, str] | None
) -> list[tuple[Fact, Relation]]:
    """Return the relations of `fact` to the facts nearest to it."""
    likeness = await search.likeness(fact.text, [one.text for one in fresh[:_COMPARED]], meta=meta)
    likeness += [0.0] * (len(fresh) - len(likeness))
    found = (await search.find([fact.space], fact.text, limit=_NEAREST, meta=meta)).facts
    every = [*zip(fresh, likeness, strict=True), *((one.fact, one.likeness or 0.0) for one in found)]
    return [(one, compare(fact.text, one.text, like)) for one, like in every]


def _replaceable(fact: NewFact, former: Fact) -> bool:
    """Whether `fact` may supersede `former`: one with a key is superseded by its key alone."""
    return former.key is None and former.category == fact.category


def as_fact(fact: NewFact, at: float = 0.0) -> Fact:
    """Convert a fact that is not in the store."""
    return Fact(**msgspec.structs.asdict(fact), created=at, version=0)

"""Facts: what is remembered beyond one conversation, and how a store keeps it.

A fact stands in one space (`roost.memory.spaces`). Nothing is changed in place: what takes a fact's place supersedes
it, and the former one is ended and stays readable. Every change of a space raises its version by one, so that the space
can be read as it was at any of them. `roost.testing.facts` is the conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

Category: TypeAlias = Literal["identity", "preference", "fact", "project", "user_profile"]

FACT_BYTES = 4096
"""Of a fact's text."""


class NewFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`key`: in its space there is at most one current fact with it. `tainted`: it was learned while what came from
    outside could have led the model. `supersedes`: ids of the facts whose place it takes. `proposed`: it counts once
    somebody has accepted it, and supersedes nothing until then."""

    id: str
    space: str
    text: str
    category: Category = "fact"
    key: str | None = None
    confidence: float = 1.0
    tainted: bool = False
    supersedes: tuple[str, ...] = ()
    proposed: bool = False


class Fact(NewFact, frozen=True, kw_only=True, omit_defaults=True):
    """A fact as it is kept. `source`: the session and the place in its log that it comes from, as `SESSION:SEQ`. `by`:
    who made it. `created` and `ended`: wall time, seconds. `version` and `ended_version`: of its space, when it came
    and when it went."""

    created: float
    version: int
    source: str | None = None
    by: str = ""
    ended: float | None = None
    ended_version: int | None = None


class RecalledFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact as the model was shown it. `score`: how well it fits, of no use but to compare those of one search."""

    id: str
    space: str
    text: str
    category: Category = "fact"
    created: float = 0.0
    score: float = 0.0
    tainted: bool = False


class PutFact(msgspec.Struct, frozen=True, tag="put"):
    """A fact comes. What it supersedes ends, and so does the one with its key, and what proposed the same; where it is
    only proposed, just the proposals among them. One with this id that is there already stays as it is.

    Where the space says the same already, with this category and, if it has one, this key (a proposal says so to a
    proposal alone), the fact does not come. Nor does it where a proposal that it supersedes was answered, or a fact
    that it supersedes and that has not its key is gone. Then `change_facts` refuses all of it, while in a session's
    append, whose events tell of the fact, it comes and goes at once.

    In a session's private space (`session:ID`) nothing comes where there is no such session: `change_facts` refuses all
    of it, an append goes on without."""

    fact: NewFact


class EndFact(msgspec.Struct, frozen=True, tag="end"):
    """A fact goes. Nothing happens when it is gone."""

    id: str


class MemoryRevert(msgspec.Struct, frozen=True, tag="revert"):
    """What a session's log did to facts after event `since`, up to and with `until`, is undone: what came goes, what
    went comes again under its id, unless its key was given to another since. `session` None: the one that appends."""

    since: int
    until: int | None = None
    session: str | None = None


FactChange: TypeAlias = PutFact | EndFact | MemoryRevert


class FactWrite(NamedTuple):
    """A change of an append. `event`: the event that tells of it, counted from 1 among those of the append; its place
    in the log is the change's."""

    event: int
    change: FactChange


class FactQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter. Facts come newest first; `before` continues from the last id of a page. `at`: as it was at this
    version, of one space. `proposed` None: both kinds. `ended`: also those that are gone."""

    spaces: tuple[str, ...]
    category: Category | None = None
    key: str | None = None
    text: str | None = None
    at: int | None = None
    proposed: bool | None = False
    ended: bool = False
    ids: tuple[str, ...] | None = None
    before: str | None = None
    limit: int = 100


class Space(NamedTuple):
    """`facts`: how many are current, proposed ones not counted."""

    name: str
    version: int
    facts: int


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """`facts`: rows whose text was erased. `logs`: sessions whose logs made or ended them and still tell of them.
    `left`: what else may still hold the texts, each with what to do."""

    facts: int
    logs: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Hit(NamedTuple):
    fact: Fact
    score: float


class Facts(Protocol):
    async def change_facts(self, changes: Sequence[FactChange], *, by: str) -> int:
        """Write all or nothing, without a session. Returns how many facts came or went. Raises `StoreFailed`; as of
        `PutFact`, `Conflict` with code `fact_ended` when something superseded is gone, and `Invalid` with code
        `no_session` for the space of a session that is not there."""
        ...

    async def purge_facts(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        """Erase the text and the key of facts that have ended, in the rows, the indexes and the free space of the
        files. The rows stay, empty, so that versions and logs still agree. Nothing brings such a fact back. Blocks
        other writers for as long as rewriting the tables takes. Raises `StoreFailed`."""
        ...

    async def fact(self, id: str) -> Fact:
        """The newest row of this id. Raises `NotFound`."""
        ...

    async def facts(self, query: FactQuery) -> list[Fact]: ...

    async def search_facts(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        """Current facts that share words with the query, the best first (`roost.log.search_terms`)."""
        ...

    async def spaces(self, prefix: str = "") -> list[Space]:
        """Of this beginning, by name. A space that was never written to is not there."""
        ...

    async def fact_changes(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        """Rows that came or went after a version of the space, in the order of their last change: first those with the
        lowest `ended_version`, or `version` where they are current. Proposed ones are left out."""
        ...

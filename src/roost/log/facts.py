"""Facts: memory beyond one conversation, and how a store keeps it.

Each fact belongs to one space (`roost.memory.spaces`). Nothing is changed in place: a replacement supersedes a fact,
and the old row ends and stays readable. Every change of a space raises its version by one, so the space can be read as
of any version. `roost.testing.facts` is the conformance suite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

Category: TypeAlias = Literal["identity", "preference", "fact", "project", "user_profile"]

FACT_BYTES = 4096
"""Limit of a fact's text."""


class NewFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact to add. key: a space has at most one current fact with it. tainted: learned while untrusted content could
    have influenced the model. supersedes: ids of the facts that it replaces. proposed: it waits for a person's
    approval, and supersedes no fact until then."""

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
    """A stored fact. source: its origin in a log, as `SESSION:SEQ`. by: its author. created, ended: wall time, seconds.
    version, ended_version: versions of its space when it was added and when it ended."""

    created: float
    version: int
    source: str | None = None
    by: str = ""
    ended: float | None = None
    ended_version: int | None = None


class RecalledFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact as it was shown to the model. score: relevance, comparable only within one search."""

    id: str
    space: str
    text: str
    category: Category = "fact"
    created: float = 0.0
    score: float = 0.0
    tainted: bool = False


class PutFact(msgspec.Struct, frozen=True, tag="put"):
    """Add a fact. This ends the facts that it supersedes, the current fact with its key, and proposals with the same
    text, category and key. A proposal ends only proposals: those that it supersedes and those with its key. If the id
    exists already, nothing changes.

    The fact is a duplicate if the space has a current fact with this text, category and, if given, key; an existing
    proposal makes only a proposal a duplicate. The fact is too late if it supersedes a proposal that was answered, or
    an ended fact whose key is not its own; a proposal is never too late. A duplicate is not added. For a late fact,
    `Facts.change` refuses all changes. In a session's append, whose events describe the fact, a duplicate or late fact
    is added and ended at once.

    In the private space (`session:ID`) of a session that does not exist nothing is added: `Facts.change` refuses all
    changes, an append ignores this one.
    """

    fact: NewFact


class EndFact(msgspec.Struct, frozen=True, tag="end"):
    """End a fact. Does nothing if it has ended."""

    id: str


class MemoryRevert(msgspec.Struct, frozen=True, tag="revert"):
    """Undo what a session's log did to facts after event `since`, up to and including `until`. Facts that it added end.
    Facts that it ended are added again under their ids, unless another fact has taken their key. session: None means
    the appending session."""

    since: int
    until: int | None = None
    session: str | None = None


FactChange: TypeAlias = PutFact | EndFact | MemoryRevert


class FactWrite(NamedTuple):
    """A change within an append. event: the append's event that describes it, counted from 1; the change gets that
    event's position in the log."""

    event: int
    change: FactChange


class FactQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter. Facts are returned newest first; `before` continues after the last id of a page. at: the space (one
    only) as of this version. proposed: None means both kinds. ended: include ended facts."""

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
    """A space and its size. facts: number of current facts, proposals excluded."""

    name: str
    version: int
    facts: int


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a purge. facts: rows whose text was erased. logs: sessions whose logs made or ended these facts and
    still contain them. left: other places that may still hold the texts, each with what to do."""

    facts: int
    logs: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Hit(NamedTuple):
    """A fact found by a search. score: relevance, comparable only within one search."""

    fact: Fact
    score: float


class Facts(Protocol):
    """The part of a store that keeps facts."""

    async def change(self, changes: Sequence[FactChange], *, by: str) -> int:
        """Write all changes or none, without a session. Returns how many facts were added or ended. Raises
        `StoreFailed`; as described in `PutFact`, `Conflict` with code `fact_ended` when a superseded fact has ended,
        and `Invalid` with code `no_session` for the space of a session that does not exist."""
        ...

    async def purge(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        """Erase the text and the key of ended facts, in the rows, the indexes and the free space of the files. The
        empty rows stay, so that versions and logs still agree. This cannot be undone. Blocks other writers while the
        tables are rewritten. Raises `StoreFailed`."""
        ...

    async def get(self, id: str) -> Fact:
        """Return the newest row of this id. Raises `NotFound`."""
        ...

    async def find(self, query: FactQuery) -> list[Fact]: ...

    async def search(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        """Return current facts that share search terms with the query, best first (`roost.log.search_terms`)."""
        ...

    async def spaces(self, prefix: str = "") -> list[Space]:
        """Return the spaces whose names start with `prefix`, by name. A space that was never written does not exist."""
        ...

    async def history(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        """Return rows added or ended after version `after` of the space, ordered by their last change: `ended_version`,
        or `version` if current. Proposals are left out."""
        ...

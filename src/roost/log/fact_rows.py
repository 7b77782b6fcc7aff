"""A fact's row, the same in every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from roost.errors import Invalid
from roost.log.facts import Fact, Hit, NewFact
from roost.log.search_terms import words

CANDIDATES = 100
"""Facts that a search finds by their rarest words, before it scores them by all words."""
COMMON = 2000
"""A word in more facts than this is not searched for, only counted in scores, unless every word of the query is so
common."""


RESTORING = "restoring:"
"""Prefix of the name of a space whose restore is not complete."""

LATE = "a fact whose place it was to take is gone: look at what is there now"


def session_of(space: str) -> str | None:
    """Return the session of a private space, None for another space."""
    kind, _, name = space.partition(":")
    return name if kind == "session" else None


def no_session(session: str) -> Invalid:
    return Invalid(
        f"there is no session {session!r}, so nothing can be kept in its memory: `roost ps --all` lists them",
        code="no_session",
    )


class Origin(NamedTuple):
    """The source of a change of facts. by, at: the author and the time. session, seq: the log event of the change, if
    any."""

    by: str
    at: float
    session: str | None = None
    seq: int | None = None

    @property
    def source(self) -> str | None:
        return None if self.session is None else f"{self.session}:{self.seq}"


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """Columns of a fact that no query filters by."""

    confidence: float = 1.0
    tainted: bool = False
    supersedes: tuple[str, ...] = ()
    source: str | None = None
    by: str = ""


class StoredFact(NamedTuple):
    """A row. session, seq: the log event that made it. ended_session, ended_seq: the log event that ended it. changed:
    the version of its space at its last change (made or ended)."""

    id: str
    key: str | None
    category: str
    text: str
    about: bytes
    proposed: bool
    created: float
    ended: float | None
    version: int
    ended_version: int | None
    changed: int
    session: str | None
    seq: int | None
    ended_session: str | None
    ended_seq: int | None


COLUMNS = ", ".join(StoredFact._fields)
FACT_COLUMNS = "id, key, category, text, about, proposed, created, ended, version, ended_version"
_encode = msgspec.json.Encoder().encode
_about = msgspec.json.Decoder(About)


def about_of(fact: NewFact, origin: Origin) -> bytes:
    return _encode(About(fact.confidence, fact.tainted, fact.supersedes, origin.source, origin.by))


def words_of(text: str, key: str | None) -> str:
    """Return the search terms for the index, joined by spaces."""
    return " ".join(words(text if key is None else f"{text} {key}"))


def best_first(hits: Sequence[Hit]) -> list[Hit]:
    """Sort by score, best first; among equal scores the newest first."""
    return sorted(hits, key=lambda hit: (-hit.score, -hit.fact.version, hit.fact.id))


def fact_of(space: str, row: Any) -> Fact:
    """Make a `Fact` from a row of `FACT_COLUMNS`."""
    id, key, category, text, about, proposed, created, ended, version, ended_version = row
    more = _about.decode(about)
    return Fact(
        id=id,
        space=space,
        text=text,
        category=category,
        key=key,
        confidence=more.confidence,
        tainted=more.tainted,
        supersedes=more.supersedes,
        proposed=bool(proposed),
        created=created,
        version=version,
        source=more.source,
        by=more.by,
        ended=ended,
        ended_version=ended_version,
    )

"""Write facts, in the transaction of the change that makes them."""

from __future__ import annotations

from collections.abc import Sequence

from roost.errors import Conflict
from roost.log.fact_rows import LATE, Origin, about_of, no_session, session_of, words_of
from roost.log.facts import EndFact, FactChange, MemoryRevert, PutFact
from roost.log.protocols import Append
from roost.stores.postgres.database import Link

_PUT = "SELECT put_fact_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
_KEEP = "SELECT 1 FROM sessions WHERE id = $1 FOR KEY SHARE"
"""Locks the session against deletion until the facts are committed; a later deletion then removes them."""
_END = "SELECT end_fact_1($1, $2, $3)"
_REVERT = "SELECT revert_facts_1($1, $2, $3, $4, $5)"


async def write_facts(link: Link, appends: Sequence[Append]) -> None:
    """Write the fact changes of appends, in their transaction."""
    for append in appends:
        for event, change in append.facts:
            origin = Origin(f"session:{append.session}", 0.0, append.session, append.expected + event)
            await apply(link, change, origin)


async def apply(link: Link, change: FactChange, origin: Origin) -> int:
    session, seq = origin.session, origin.seq
    match change:
        case PutFact(fact=new):
            of = session_of(new.space)
            if of not in (None, session) and await link.fetchval(_KEEP, of) is None:
                if session is None:
                    raise no_session(of)
                return 0
            values = (new.space, new.id, new.key, new.category, new.text, words_of(new.text, new.key))
            about = about_of(new, origin)
            done = await link.fetchval(_PUT, *values, about, new.proposed, list(new.supersedes), session, seq)
            if done < 0:
                raise Conflict(LATE, code="fact_ended")
            return done
        case EndFact(id=id):
            return await link.fetchval(_END, id, session, seq)
        case MemoryRevert():
            until = change.until if change.until is not None else (seq or 1 << 62) - 1
            return await link.fetchval(_REVERT, change.session or session, change.since, until, session, seq)

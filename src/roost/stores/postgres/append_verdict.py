"""Find out why an append was refused."""

from __future__ import annotations

from roost.errors import Fenced, NotFound, SequenceConflict
from roost.log.protocols import Append
from roost.stores.postgres.database import Link


class Again(Exception):
    """No reason to refuse the append remains: the state has changed since. Write it again."""


async def judge(link: Link, append: Append, *, unsure: bool) -> int:
    """Return the head after the append if it is in the log already, else raise the reason for the refusal, or `Again`.
    unsure: the answer to an earlier attempt was lost, so it may have been committed before the session changed
    owner."""
    row = await link.fetchrow(
        "SELECT s, epoch, base, head, owner IS NOT NULL FROM sessions WHERE id = $1", append.session
    )
    if row is None:
        raise NotFound(f"there is no session {append.session!r}")
    s, epoch, base, head, owned = row
    after = append.expected + len(append.bodies)
    ours = base <= append.expected if epoch == append.epoch else unsure and epoch > append.epoch and base >= after
    if append.bodies and ours and head >= after:
        found = await link.fetch(
            "SELECT body FROM events WHERE s = $1 AND seq > $2 AND seq <= $3 ORDER BY seq", s, append.expected, after
        )
        if [body for (body,) in found] == list(append.bodies):
            return after
    if epoch != append.epoch:
        raise Fenced(f"session {append.session!r} is at epoch {epoch}; the writer holds {append.epoch}")
    if not owned:
        if unsure and append.release and head == after:
            return head
        raise Fenced(f"nobody holds session {append.session!r} any more; the writer did at epoch {append.epoch}")
    if head != append.expected:
        raise SequenceConflict(f"session {append.session!r} is at {head}; the writer expected {append.expected}")
    if append.consume:
        there = await link.fetchval(
            "SELECT count(*) FROM inbox WHERE s = $1 AND id = ANY ($2) AND NOT taken", s, list(append.consume)
        )
        if there != len(append.consume):
            raise SequenceConflict(f"inputs {list(append.consume)} of {append.session!r} are not pending any more")
    raise Again

"""Write the rarer parts of an append, beside its events, inbox items, snapshot and timers.

A group with such parts is a transaction of a few statements instead of a single statement, so the common append pays
nothing for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from roost.log.inputs import encode_input, input_digest
from roost.log.protocols import Append, Change, CheckpointRow, Delivery, InboxItem
from roost.stores.postgres.database import Link
from roost.stores.postgres.fact_writes import write_facts

DELIVER = """
CREATE FUNCTION deliver_2(
    d_session text[], d_key text[], d_digest bytea[], d_urgency int[], d_body bytea[]
) RETURNS TABLE (place bigint, id bigint, at float8, owner text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    d record;
    x record;
BEGIN
    FOR d IN
        SELECT * FROM unnest(d_session, d_key, d_digest, d_urgency, d_body) WITH ORDINALITY
            AS w (session, key, digest, urgency, body, place)
    LOOP
        SELECT n.s, n.state, n.owner INTO x FROM sessions n WHERE n.id = d.session;
        CONTINUE WHEN NOT FOUND OR d.urgency = 0 AND x.state IN ('stopped', 'error')
            OR EXISTS (SELECT FROM inbox i WHERE i.s = x.s AND i.key = d.key);
        SELECT p.id, p.at INTO id, at FROM put_1(x.s, d.key, d.digest, d.urgency, d.body) p;
        place := d.place;
        owner := x.owner;
        RETURN NEXT;
    END LOOP;
END $$;
"""
_LOCK = """
SELECT FROM sessions WHERE s = ANY ($1::bigint[] || ARRAY(SELECT s FROM sessions WHERE id = ANY ($2::text[])))
ORDER BY s FOR NO KEY UPDATE"""
_KEEP = """
INSERT INTO checkpoints (s, seq, label, made_at, cause, files, memory, version, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (s, seq) DO UPDATE SET
    label = excluded.label, made_at = excluded.made_at, cause = excluded.cause, files = excluded.files,
    memory = excluded.memory, version = excluded.version, body = excluded.body"""


class Delivered(NamedTuple):
    """A delivery that was made. change: reports it. owner: of the target session."""

    change: Change
    owner: str | None


def has_further(append: Append) -> bool:
    written = append.checkpoint is not None or append.moved is not None
    return bool(written or append.deliver or append.facts or append.drop_checkpoints)


async def lock(link: Link, writes: Sequence[tuple[int, Append]]) -> None:
    """Lock all rows that will be written, in one fixed order, so that two groups never deadlock."""
    targets = {delivery.session for _, append in writes for delivery in append.deliver}
    await link.execute(_LOCK, [s for s, _ in writes], sorted(targets))


async def apply_further(link: Link, writes: Sequence[tuple[int, Append]]) -> list[Delivered]:
    """Write the further parts of the accepted appends (with their row numbers), in the transaction of their events."""
    checkpoints = [(s, append.checkpoint) for s, append in writes if append.checkpoint is not None]
    dropped = [(s, seq) for s, append in writes for seq in append.drop_checkpoints]
    delivered = await _deliver(link, [delivery for _, append in writes for delivery in append.deliver])
    await write_facts(link, [append for _, append in writes])
    await keep(link, checkpoints)
    moved = [(s, *append.moved) for s, append in writes if append.moved is not None]
    if moved:
        await link.executemany("UPDATE sessions SET version = $2, needs = $3 WHERE s = $1", moved)
    if dropped:
        await link.executemany("DELETE FROM checkpoints WHERE s = $1 AND seq = $2", dropped)
    return delivered


async def keep(link: Link, checkpoints: Sequence[tuple[int, CheckpointRow]]) -> None:
    """Write checkpoints, each with the row number of its session."""
    if checkpoints:
        await link.executemany(
            _KEEP, [(s, *row[:6], row.snapshot.version, row.snapshot.body) for s, row in checkpoints]
        )


def perhaps_delivered(append: Append) -> list[Delivered]:
    """Return unspecific changes for the deliveries of an append, when only its commit is known."""
    return [Delivered(Change(delivery.session, None, None), None) for delivery in append.deliver]


async def _deliver(link: Link, deliveries: Sequence[Delivery]) -> list[Delivered]:
    if not deliveries:
        return []
    rows: list[Any] = await link.fetch(
        "SELECT place, id, at, owner FROM deliver_2($1, $2, $3, $4, $5)",
        [delivery.session for delivery in deliveries],
        [delivery.key for delivery in deliveries],
        [input_digest(delivery.input) for delivery in deliveries],
        [delivery.input.urgency for delivery in deliveries],
        [encode_input(delivery.input) for delivery in deliveries],
    )
    delivered: list[Delivered] = []
    for place, id, at, owner in rows:
        to = deliveries[int(place) - 1]
        delivered.append(Delivered(Change(to.session, inbox=(InboxItem(id, to.input, at),)), owner))
    return delivered

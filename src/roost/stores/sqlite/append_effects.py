"""Write the rarer parts of an append, beside its events, inbox items, snapshot and timers."""

from __future__ import annotations

import sqlite3
import time

import msgspec

from roost.log.inputs import admits, encode_input, input_digest
from roost.log.protocols import Append, Change, CheckpointRow, Delivery, InboxItem
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.fact_writes import apply_facts
from roost.stores.sqlite.work import put


def apply_further(group: Group, s: int, write: Append) -> None:
    """Write the further parts for session `s`, in the transaction of its append, after all checks that can refuse
    it."""
    connection = group.connection
    for delivery in write.deliver:
        _deliver(group, delivery)
    if write.facts:
        apply_facts(connection, write.session, write.expected, write.facts)
    if write.checkpoint is not None:
        keep(connection, s, write.checkpoint)
    if write.moved is not None:
        needs = msgspec.json.encode(write.moved.needs).decode()
        row = (write.moved.version, needs, s)
        connection.execute("UPDATE sessions SET version = ?, needs = ? WHERE s = ?", row)
    for seq in write.drop_checkpoints:
        connection.execute("DELETE FROM checkpoints WHERE s = ? AND seq = ?", (s, seq))


def _deliver(group: Group, delivery: Delivery) -> None:
    connection = group.connection
    session, item, key = delivery
    row = connection.execute("SELECT s, state, phase FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        return
    s, state, phase = row
    level = item.urgency
    if state in ("stopped", "error") and level == 0:
        return
    if connection.execute("SELECT 1 FROM inbox WHERE s = ? AND key = ?", (s, key)).fetchone():
        return
    now, ready = time.time(), level >= admits(state, phase)
    place = put(connection, s, encode_input(item), level, now, ready=ready, key=key, digest=input_digest(item))
    group.changes.append(Change(session, inbox=(InboxItem(place, item, now),)))


def keep(connection: sqlite3.Connection, s: int, row: CheckpointRow) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO checkpoints (s, seq, label, made_at, cause, files, memory, version, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (s, *row[:6], row.snapshot.version, row.snapshot.body),
    )

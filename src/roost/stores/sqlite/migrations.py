"""The tables of the SQLite store, layout by layout. A released layout never changes; a change is a new layout."""

from __future__ import annotations

import sqlite3

from roost.stores.sqlite.fact_tables import FACT_TABLES

VERSION = 7

_FIRST = """
CREATE TABLE sessions (
    s INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    create_key TEXT UNIQUE,
    agent TEXT NOT NULL,
    version TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'created',
    phase TEXT NOT NULL DEFAULT 'idle',
    head INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    ready INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    workspace TEXT,
    title TEXT,
    parent TEXT,
    labels TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX sessions_ready ON sessions (s) WHERE ready = 1 AND owner IS NULL;
CREATE INDEX sessions_owner ON sessions (owner) WHERE owner IS NOT NULL;
CREATE TABLE events (id INTEGER PRIMARY KEY, s INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX events_position ON events (s, seq);
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    s INTEGER NOT NULL,
    key TEXT,
    digest BLOB,
    urgency INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
CREATE INDEX inbox_pending ON inbox (s, id) WHERE taken = 0;
CREATE UNIQUE INDEX inbox_key ON inbox (s, key) WHERE key IS NOT NULL;
CREATE TABLE timers (
    s INTEGER NOT NULL, id TEXT NOT NULL, due REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (s, id)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (due);
CREATE TABLE snapshots (s INTEGER PRIMARY KEY, seq INTEGER NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE nodes (id TEXT PRIMARY KEY, alive_until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE garbage (s INTEGER PRIMARY KEY);
"""

# Inputs are numbered per session, so that a copy of a session in another store keeps the numbers.
_SECOND = """
ALTER TABLE sessions ADD COLUMN needs TEXT NOT NULL DEFAULT '[]';
ALTER TABLE sessions ADD COLUMN home TEXT;
ALTER TABLE sessions ADD COLUMN format INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN ready_at REAL;
ALTER TABLE sessions ADD COLUMN inputs INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET ready_at = updated_at, inputs = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'inbox'), 0);
DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (needs, ready_at) WHERE ready = 1 AND owner IS NULL;
ALTER TABLE inbox RENAME TO inbox_1;
CREATE TABLE inbox (
    s INTEGER NOT NULL,
    id INTEGER NOT NULL,
    key TEXT,
    digest BLOB,
    urgency INTEGER NOT NULL,
    accepted_at REAL NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
INSERT INTO inbox SELECT s, id, key, digest, urgency, accepted_at, taken, body FROM inbox_1;
DROP TABLE inbox_1;
CREATE UNIQUE INDEX inbox_pending ON inbox (s, id) WHERE taken = 0;
CREATE UNIQUE INDEX inbox_key ON inbox (s, key) WHERE key IS NOT NULL;
DROP TABLE nodes;
CREATE TABLE nodes (
    id TEXT PRIMARY KEY, alive_until REAL NOT NULL, beat_at REAL NOT NULL, card BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE restores (id TEXT PRIMARY KEY, s INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE holds (name TEXT PRIMARY KEY, node TEXT, fence INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE budgets (
    name TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, reserved INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE reservations (
    id TEXT NOT NULL, budget TEXT NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (id, budget)
) WITHOUT ROWID;
CREATE TABLE buckets (name TEXT PRIMARY KEY, level REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
"""

# The first `shared` events of a fork are rows of other logs. Its `lineage` row names the log that has the last of them,
# event `upto`; earlier ones are found by that log's own lineage, and so on. A deleted session keeps what forks need:
# rows, lineage, and its number in `garbage`.
_THIRD = (
    """
ALTER TABLE sessions ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;
CREATE TABLE lineage (s INTEGER PRIMARY KEY, base INTEGER NOT NULL, upto INTEGER NOT NULL);
CREATE INDEX lineage_base ON lineage (base, upto);
CREATE INDEX sessions_parent ON sessions (parent, s) WHERE parent IS NOT NULL;
CREATE TABLE checkpoints (
    s INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    label TEXT,
    made_at REAL NOT NULL,
    cause TEXT NOT NULL,
    files TEXT,
    memory INTEGER,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX checkpoints_position ON checkpoints (s, seq);
"""
    + FACT_TABLES
)

# The cost so far of a call with a reservation, and the settled cost of a lost call.
_FOURTH = """
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    beat_at REAL NOT NULL,
    cost INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    lost_at REAL,
    charged INTEGER,
    settled TEXT,
    told INTEGER NOT NULL DEFAULT 0,
    note BLOB NOT NULL
) WITHOUT ROWID;
"""

# The provider's id of an answer, to ask for its cost later; an index finds lost calls by start time.
_FIFTH = """
ALTER TABLE calls ADD COLUMN provider_id TEXT;
ALTER TABLE calls ADD COLUMN started REAL;
UPDATE calls SET started = json_extract(CAST(note AS TEXT), '$.started') WHERE lost_at IS NOT NULL;
CREATE INDEX calls_lost ON calls (started) WHERE lost_at IS NOT NULL;
"""

# An index of the labels of sessions, newest session first.
_SIXTH = """
CREATE TABLE session_labels (
    key TEXT NOT NULL, value TEXT NOT NULL, s INTEGER NOT NULL, PRIMARY KEY (key, value, s)
) WITHOUT ROWID;
INSERT INTO session_labels SELECT key, value, s FROM sessions, json_each(labels) WHERE labels <> '{}';
CREATE TRIGGER labels_made AFTER INSERT ON sessions WHEN NEW.labels <> '{}'
    BEGIN INSERT INTO session_labels SELECT key, value, NEW.s FROM json_each(NEW.labels); END;
CREATE TRIGGER labels_gone AFTER DELETE ON sessions WHEN OLD.labels <> '{}'
    BEGIN DELETE FROM session_labels
    WHERE (key, value, s) IN (SELECT key, value, OLD.s FROM json_each(OLD.labels)); END;
"""

# Documents, and by which keys they are found. `document_changes` counts the changes of each kind, so that other
# processes notice them.
_SEVENTH = """
CREATE TABLE documents (
    d INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    keys TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX documents_id ON documents (kind, id);
CREATE INDEX documents_owner ON documents (kind, owner, id);
CREATE TABLE document_keys (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (kind, id, name)
) WITHOUT ROWID;
CREATE INDEX document_keys_value ON document_keys (kind, name, value, id);
CREATE INDEX document_keys_owner ON document_keys (kind, name, value, owner, id);
CREATE TABLE document_changes (kind TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""

_LAYOUTS = (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH, _SEVENTH)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade from layout `version` (0: an empty file) to the newest, inside the caller's transaction."""
    for layout in _LAYOUTS[version:]:
        for statement in layout.split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")

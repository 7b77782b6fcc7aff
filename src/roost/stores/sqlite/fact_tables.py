"""The tables of memory, part of the third layout. `fact_words` indexes `facts.words` of current facts. There are no
triggers: inside a trigger, FTS5 writes its index out after every row."""

from __future__ import annotations

FACT_TABLES = """
CREATE TABLE spaces (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL DEFAULT 0,
    facts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE facts (
    f INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    id TEXT NOT NULL,
    key TEXT,
    category TEXT NOT NULL,
    text TEXT NOT NULL,
    place TEXT NOT NULL,
    words TEXT NOT NULL,
    about BLOB NOT NULL,
    proposed INTEGER NOT NULL,
    created REAL NOT NULL,
    ended REAL,
    version INTEGER NOT NULL,
    ended_version INTEGER,
    changed INTEGER NOT NULL,
    session TEXT,
    seq INTEGER,
    ended_session TEXT,
    ended_seq INTEGER
);
CREATE UNIQUE INDEX facts_current ON facts (id) WHERE ended_version IS NULL;
CREATE UNIQUE INDEX facts_key ON facts (n, key) WHERE ended_version IS NULL AND key IS NOT NULL AND proposed = 0;
CREATE INDEX facts_id ON facts (id, f);
CREATE INDEX facts_space ON facts (n, f);
CREATE INDEX facts_version ON facts (n, version);
CREATE INDEX facts_changed ON facts (n, changed);
CREATE INDEX facts_proposed ON facts (n, key) WHERE ended_version IS NULL AND proposed = 1;
CREATE INDEX facts_text ON facts (n, substr(text, 1, 64)) WHERE ended_version IS NULL;
CREATE INDEX facts_made ON facts (session, seq) WHERE session IS NOT NULL;
CREATE INDEX facts_ended ON facts (ended_session, ended_seq) WHERE ended_session IS NOT NULL;
CREATE VIRTUAL TABLE fact_words USING fts5(place, words, content='facts', content_rowid='f', tokenize='ascii');
CREATE VIRTUAL TABLE fact_vocab USING fts5vocab(fact_words, row);
"""

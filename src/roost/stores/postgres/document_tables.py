"""The sixth migration: documents, and by which keys they are found."""

from __future__ import annotations

DOCUMENTS = """
CREATE TABLE documents (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    created float8 NOT NULL,
    changed float8 NOT NULL,
    keys text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX documents_owner ON documents (kind, owner, id);
CREATE TABLE document_keys (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, id, name)
);
CREATE INDEX document_keys_value ON document_keys (kind, name, value, id);
CREATE INDEX document_keys_owner ON document_keys (kind, name, value, owner, id);
"""

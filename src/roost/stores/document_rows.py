"""A document's row, the same in every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.log.documents import Document, DocumentQuery
from roost.stores.conditions import Conditions

PLACES = ("kind", "id", "owner", "revision", "created", "changed")
COLUMNS = ", ".join((*PLACES, "keys", "body"))
_keys: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(dict[str, str])
_encode = msgspec.json.Encoder(order="sorted").encode


def document(row: Sequence[Any]) -> Document:
    """Make a document from a row of `COLUMNS`."""
    return Document(**dict(zip(PLACES, row, strict=False)), keys=_keys.decode(row[6]), body=bytes(row[7]))


def document_row(one: Document) -> tuple[Any, ...]:
    """Make a row of `COLUMNS`."""
    return (*(getattr(one, name) for name in PLACES), encode_keys(one), one.body)


def encode_keys(one: Document) -> str:
    return _encode(dict(one.keys)).decode()


def key_rows(one: Document) -> list[tuple[str, ...]]:
    """Return the rows of `document_keys`: kind, id, name, value, owner."""
    return [(one.kind, one.id, name, value, one.owner) for name, value in one.keys.items()]


ALL = f"SELECT {COLUMNS} FROM documents WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?"
"""A page of all documents, for a copy."""


UNINDEXED = """
SELECT kind, id FROM documents d WHERE keys <> '{}'
    AND NOT EXISTS (SELECT 1 FROM document_keys k WHERE k.kind = d.kind AND k.id = d.id AND k.owner = d.owner)
UNION SELECT kind, id FROM document_keys k
WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.kind = k.kind AND d.id = k.id AND d.owner = k.owner) LIMIT 100"""
"""Documents that their keys do not find, and keys of no document."""
UNINDEXED_DETAIL = "the keys of {kind} {id!r} are not those that it is found by"
UNINDEXED_FIX = "write it again; or restore a backup"


def documents_sql(query: DocumentQuery, where: Conditions) -> str:
    """Return the query for a page of `COLUMNS`. Each filter leads to the page by one index. The last place is the limit
    of rows."""
    source, table = "documents", "documents"
    if query.key is not None:
        columns = ", ".join(f"d.{name}" for name in COLUMNS.split(", "))
        source, table = "document_keys k JOIN documents d ON d.kind = k.kind AND d.id = k.id", "k"
        where.add("k.name = ? AND k.value = ?", *query.key)
    else:
        columns = COLUMNS
    where.add(f"{table}.kind = ?", query.kind)
    if query.owner is not None:
        where.add(f"{table}.owner = ?", query.owner)
    if query.after:
        where.add(f"{table}.id {'<' if query.newest else '>'} ?", query.after)
    order = "DESC" if query.newest else "ASC"
    return f"SELECT {columns} FROM {source} WHERE {where} ORDER BY {table}.id {order} LIMIT ?"

"""Documents: small durable records that belong to no session, such as accounts, versions of definitions, environments,
subscriptions, tokens of a remote server.

What an agent does is never a document: that is an event of its session's log. A document is what somebody has
set up. `roost.testing.documents` is the conformance suite.

A process that keeps what it has read watches the kind (`Documents.watch`), and reads again after a change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from roost.errors import Conflict, Invalid, TooLarge

DOCUMENT_BYTES = 1 << 20
"""The largest body. Larger things (files of a package, uploads) are stored by digest, and a document names them."""
BATCH_WRITES = 1000
"""The most writes at once."""
BATCH_BYTES = 16 << 20
"""The largest sum of bodies written at once."""
PAGE_BYTES = 4 << 20
"""A page ends early once its bodies pass this many bytes."""
FIND_LIMIT = 1000
"""The largest `limit` of a query."""
NAME_BYTES = 100
"""The longest kind, and the longest name of a key, in UTF-8."""
ID_BYTES = 256
"""The longest id, and the longest owner."""
VALUE_BYTES = 1024
"""The longest value of a key. What may be longer is found by a digest of it."""
KEYS = 16
"""The most keys of a document."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One record.

    kind: what it is, in the words of the feature or door that has it (`account`, `openai.agent`). It alone reads it.
    id: unique within its kind.
    owner: the account that it belongs to; empty for what belongs to the whole home.
    keys: names and values by which `find` finds it. At most 16.
    revision: 1 when it was made, one more with every change.
    created, changed: seconds since 1970.
    """

    kind: str
    id: str
    body: bytes
    revision: int
    created: float
    changed: float
    owner: str = ""
    keys: Mapping[str, str] = {}


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Make or replace a document, with its owner and keys.

    revision: the one that it must have now: 0 if it must be new, None if any will do.
    """

    kind: str
    id: str
    body: bytes
    owner: str = ""
    keys: Mapping[str, str] = {}
    revision: int | None = None


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a document. revision: the one that it must have now, so that of several callers only one deletes it; None
    if any will do, also if there is none."""

    kind: str
    id: str
    revision: int | None = None


Write: TypeAlias = Put | Remove


class DocumentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter. Documents are returned in order of id, which for ids of `roost.ids` is the order in which they were
    made; `newest` reverses it. `after` continues behind the last id of a page. key: a name and its value. limit: at
    most `FIND_LIMIT`."""

    kind: str
    owner: str | None = None
    key: tuple[str, str] | None = None
    after: str = ""
    newest: bool = False
    limit: int = 100


class Documents(Protocol):
    """The part of a store that keeps documents."""

    async def write(self, writes: Sequence[Write]) -> list[Document | None]:
        """Make, replace and delete, all or nothing, and durably before it returns. Return each document as it is now
        (None: deleted).

        Raises `Conflict` (`document_changed`) when one has another revision than its write names, `TooLarge` for a body
        above `DOCUMENT_BYTES` or a batch above `BATCH_BYTES`, `Invalid` for a name that no store can keep, for too many
        keys or writes, and for two writes of one document. After `StoreUnreachable` nothing or all may be written:
        read, then decide."""
        ...

    async def get(self, kind: str, id: str) -> Document | None:
        """Return the document, or None."""
        ...

    async def find(self, query: DocumentQuery) -> list[Document]:
        """Return a page of those that match. The cost is that of the page, not of all documents. A page ends
        early after `PAGE_BYTES`: only an empty page says that no more follow (`find_all` pages). What others write
        meanwhile may or may not be in later pages; no document is returned twice. Raises `Invalid`."""
        ...

    def watch(self, kind: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` on the event loop after a document of this kind was written: before `write` returns when this
        process wrote it, about 0.2 s after the commit when another did, and when the database answers again after it
        was away. It may be called without a change. Watch first, then read. Returns a function that removes the
        listener."""
        ...


async def find_all(documents: Documents, query: DocumentQuery) -> AsyncIterator[Document]:
    """Yield every document that matches, page by page."""
    while page := await documents.find(query):
        for document in page:
            yield document
        query = msgspec.structs.replace(query, after=page[-1].id)


def changed(write: Write, revision: int) -> Conflict:
    """The error of a write that names another revision than the present one. revision: 0 if there is no document."""
    now = f"has revision {revision}" if revision else "does not exist"
    return Conflict(
        f"{write.kind} {write.id!r} {now}, not {write.revision}: read it again, then decide", code="document_changed"
    )


def check_writes(writes: Sequence[Write]) -> None:
    """Check the arguments of `Documents.write`. Raises `Invalid` and `TooLarge`."""
    if len(writes) > BATCH_WRITES:
        raise Invalid(f"{len(writes)} writes of documents at once: at most {BATCH_WRITES} are possible")
    if len({(one.kind, one.id) for one in writes}) < len(writes):
        raise Invalid("two writes at once name the same document: join them")
    total = 0
    for one in writes:
        _check_name("kind", one.kind, NAME_BYTES)
        _check_name("id", one.id, ID_BYTES)
        if isinstance(one, Put):
            _check_put(one)
            total += len(one.body)
    if total > BATCH_BYTES:
        raise TooLarge(f"{total} bytes of documents at once: at most {BATCH_BYTES} are possible")


def check_query(query: DocumentQuery) -> None:
    """Check the arguments of `Documents.find`. Raises `Invalid`."""
    if not 1 <= query.limit <= FIND_LIMIT:
        raise Invalid(f"limit {query.limit} of a query for documents: it is from 1 to {FIND_LIMIT}")
    for name in (query.kind, query.owner or "", query.after, *(query.key or ())):
        _check_text("query", name)


def _check_put(put: Put) -> None:
    if len(put.body) > DOCUMENT_BYTES:
        raise TooLarge(f"{put.kind} {put.id!r} has {len(put.body)} bytes: a document has at most {DOCUMENT_BYTES}")
    if len(put.keys) > KEYS:
        raise Invalid(f"{put.kind} {put.id!r} has {len(put.keys)} keys: a document has at most {KEYS}")
    if put.owner:
        _check_name("owner", put.owner, ID_BYTES)
    for name, value in put.keys.items():
        _check_name("key", name, NAME_BYTES)
        if value:
            _check_name(f"key {name!r}", value, VALUE_BYTES)


def _check_name(what: str, name: str, most: int) -> None:
    if not name:
        raise Invalid(f"the {what} of a document is empty")
    size = _check_text(what, name)
    if size > most:
        raise Invalid(f"the {what} of a document has {size} bytes ({name[:40]!r}…): it has at most {most}")


def _check_text(what: str, text: str) -> int:
    """Return its length in bytes. Raises `Invalid` for text that a database cannot keep."""
    if "\0" in text:
        raise Invalid(f"the {what} of a document holds a NUL character: {text[:40]!r}")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Invalid(f"the {what} of a document is no Unicode text: {text[:40]!r}") from None

"""A store that is gone for its runtime from a chosen commit on, as if the process had died there.

    store = CutStore(await open_store(path), session="s", at=3, when="after")

Abandon the runtime around it (`await runtime.stop(grace=0.0)`), and open the same path with a new one. The locks of a
process and its programs are not covered: those need a process that is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

from roost.errors import StoreFailed
from roost.log.protocols import Append
from roost.log.store import Store

When: TypeAlias = Literal["before", "after"]
_PLAIN = frozenset({"dispatch.on_work", "dispatch.close", "portable.sessions", "documents.watch", "changes.watch"})
"""Methods that are no coroutines."""


class CutStore(Store):
    """Wraps a store. session: whose appends are counted, from 1. at: the append before or after which the store is
    gone; None: none. Every method raises `StoreFailed` (`store_closed`) from then on."""

    def __init__(self, inner: Store, *, session: str, at: int | None, when: When = "after") -> None:
        parts: dict[str, Any] = {field.name: getattr(inner, field.name) for field in dataclasses.fields(inner)}
        database = parts.pop("database")
        wrapped: dict[str, Any] = {name: _Part(self, name, part) for name, part in parts.items()}
        super().__init__(**wrapped, database=database)
        self._session, self._at, self._when = session, at, when
        self.count = 0
        self.lost = asyncio.Event()
        """Set when the store is gone."""

    def cut(self) -> None:
        """Be gone from now on."""
        self.lost.set()

    def refuse(self) -> None:
        """Raise `StoreFailed` if the store is gone."""
        if self.lost.is_set():
            raise StoreFailed("this store was cut off: open it anew", code="store_closed")

    async def call(self, method: str, work: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
        """Call a method of the store inside."""
        self.refuse()
        mine = method == "logs.append" and isinstance(given[0], Append) and given[0].session == self._session
        self.count += mine
        strikes = mine and self.count == self._at
        if strikes and self._when == "before":
            self.cut()
        self.refuse()
        result = await work(*given, **named)
        if strikes:
            self.cut()
        self.refuse()
        return result


class _Part:
    """Stands before one object of a store."""

    def __init__(self, store: CutStore, name: str, inner: object) -> None:
        self._store, self._name, self._inner = store, name, inner

    def __getattr__(self, method: str) -> Any:
        full = f"{self._name}.{method}"
        work: Any = getattr(self._inner, method)
        return work if full in _PLAIN else functools.partial(self._store.call, full, work)

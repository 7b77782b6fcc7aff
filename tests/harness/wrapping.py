"""Stand before the objects of a store."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from roost.log.store import Store


class Passing:
    """Passes on to `inner` what a subclass does not do itself."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def each_method(store: Store, wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Store:
    """The store with every method replaced by what `wrap` makes of its name (`logs.append`) and itself."""

    class Wrapped:
        def __init__(self, part: str) -> None:
            self._part = part

        def __getattr__(self, name: str) -> Any:
            return wrap(f"{self._part}.{name}", getattr(getattr(store, self._part), name))

    parts = [field.name for field in dataclasses.fields(store) if field.name != "database"]
    wrapped: dict[str, Any] = {part: Wrapped(part) for part in parts}
    return Store(**wrapped, database=store.database)

"""Listeners for changes of documents. Every store uses this on its event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

log = logging.getLogger("roost.journal")


class DocumentWatchers:
    """The listeners of one store, by kind."""

    def __init__(self) -> None:
        self._of: dict[str, dict[int, Callable[[], None]]] = {}
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._of)

    def watch(self, kind: str, listener: Callable[[], None]) -> Callable[[], None]:
        self._next += 1
        token = self._next
        self._of.setdefault(kind, {})[token] = listener

        def remove() -> None:
            group = self._of.get(kind, {})
            group.pop(token, None)
            if not group:
                self._of.pop(kind, None)

        return remove

    def changed(self, kinds: Iterable[str] | None = None) -> None:
        """Call the listeners of these kinds, each once. None: any kind may have changed."""
        for kind in list(self._of) if kinds is None else set(kinds):
            for listener in list(self._of.get(kind, {}).values()):
                try:
                    listener()
                except Exception:  # a defect of one must not keep the others from the change
                    log.exception("a listener failed on a change of documents of the kind %r", kind)

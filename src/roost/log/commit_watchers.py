"""Listeners for commits. Every store uses this on its event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from roost.log.protocols import Change

log = logging.getLogger("roost.journal")


class Watchers:
    """The listeners of one store."""

    def __init__(self) -> None:
        self._all: dict[int, Callable[[Change], None]] = {}
        self._one: dict[str, dict[int, Callable[[Change], None]]] = {}
        self._everybody: tuple[Callable[[Change], None], ...] = ()
        """The values of `_all`, kept as a tuple for `publish`."""
        self._next = 0

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        self._next += 1
        token = self._next
        group = self._all if session is None else self._one.setdefault(session, {})
        group[token] = listener
        self._everybody = tuple(self._all.values())

        def remove() -> None:
            group.pop(token, None)
            self._everybody = tuple(self._all.values())
            if session is not None and not group and self._one.get(session) is group:
                del self._one[session]

        return remove

    def sessions(self) -> list[str]:
        """Return the sessions that at least one listener watches by name."""
        return list(self._one)

    def publish(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.session:
                one = self._one.get(change.session)
                listeners = (*self._everybody, *one.values()) if one else self._everybody
            else:
                listeners = (*self._everybody, *(one for group in self._one.values() for one in group.values()))
            for listener in listeners:
                try:
                    listener(change)
                except Exception:  # a listener's defect must not stop the writer
                    log.exception("a listener failed on a change of session %r", change.session)

    def close(self) -> None:
        """Wake all listeners once more, so that they see that the store is closed."""
        self.publish([Change("", None, None)])
        self._all.clear()
        self._everybody = ()
        self._one.clear()

"""Saying once what fails again and again."""

from __future__ import annotations

import logging

from roost.errors import RoostError


class Trouble:
    """A line when something begins to fail or fails differently, one when it works again; nothing in between, however
    often it is tried."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._failing: dict[str, str] = {}

    def failed(self, what: str, error: Exception) -> None:
        expected = isinstance(error, RoostError)
        kind = error.code if isinstance(error, RoostError) else type(error).__name__
        if self._failing.get(what) != kind:
            self._failing[what] = kind
            self._log.error("%s: %s", what, error, exc_info=None if expected else error)

    def worked(self, what: str) -> None:
        if self._failing and self._failing.pop(what, None) is not None:
            self._log.warning("%s: works again", what)

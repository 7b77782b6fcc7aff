"""Show that an agent works while it outputs nothing: a spinner on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time

from roost.cli.output import size
from roost.log.frames import Progress

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WORDS = {
    "fetching": "fetching the local model",
    "loading": "loading the local model",
    "reading": "reading the prompt",
}
_SPIN_AFTER = 0.5
_SAY_AFTER = 3.0
_SAY_EVERY = 10.0


class Working:
    """The time since the agent began to work, and its model's progress."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._progress: Progress | None = None
        self._stage_since = self._said = 0.0

    def begin(self) -> None:
        self._since, self._progress = time.monotonic(), None

    def end(self) -> None:
        self._since = self._progress = None

    def at(self, progress: Progress | None) -> None:
        """Record the progress; None once the model has begun to answer."""
        now = time.monotonic()
        if progress is not None and (self._progress is None or self._progress.stage != progress.stage):
            self._stage_since = self._said = now
        if progress is not None and self._since is None:  # the reader joined in the middle of the step
            self._since = now
        self._progress = progress

    def spinner(self) -> str | None:
        """Return the text to show on a terminal now, None for nothing."""
        if self._since is None or (passed := time.monotonic() - self._since) <= _SPIN_AFTER:
            return None
        what = "working" if self._progress is None else told(self._progress)
        return f"{_SPINNER[int(passed * 5) % len(_SPINNER)]} {what} {passed:.0f} s "

    def line(self) -> str | None:
        """Return the line to print now where nothing spins: about a stage that lasts, first after a few seconds."""
        now = time.monotonic()
        if self._progress is None or self._since is None:
            return None
        first = self._said == self._stage_since
        if now - self._said < (_SAY_AFTER if first else _SAY_EVERY):
            return None
        self._said = now
        return f"{told(self._progress)}, {now - self._since:.0f} s"


def told(progress: Progress) -> str:
    """Describe how far the model is before its first word."""
    what = _WORDS[progress.stage]
    if not progress.total:
        return what
    of = size(progress.total) if progress.stage == "fetching" else f"{progress.total:,} tokens"
    return f"{what}: {progress.done / progress.total:.0%} of {of}"

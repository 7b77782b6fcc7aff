"""The operator's log: one line per entry, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable


class OneLine(logging.Formatter):
    """Format an entry as one line, with its traceback. `scrub` masks secrets."""

    def __init__(self) -> None:
        self.scrub: Callable[[str], str] = lambda line: line
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return self.scrub(" | ".join(line for line in super().format(record).splitlines() if line.strip()))


def mask(scrub: Callable[[str], str]) -> None:
    """Mask secrets with `scrub` in all handlers of `log_to_stderr`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, OneLine):
            handler.formatter.scrub = scrub


def log_to_stderr(level: int = logging.INFO) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

"""The operator's log: one line an entry, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable


class OneLine(logging.Formatter):
    """A traceback is folded into its entry's line. `scrub` masks what nobody may read."""

    def __init__(self) -> None:
        self.scrub: Callable[[str], str] = lambda line: line
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return self.scrub(" | ".join(line for line in super().format(record).splitlines() if line.strip()))


def mask(scrub: Callable[[str], str]) -> None:
    """From now on, in what `log_to_stderr` has set up."""
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

"""Logging of a kernel inside a command: errors only, one line each."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from roost.cli.output import styled
from roost.terminal_text import clean


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.scrub: Callable[[str], str] = lambda line: line

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(styled(f"! {clean(self.scrub(record.getMessage()))}", "yellow", to=sys.stderr) + "\n")


def mask(scrub: Callable[[str], str]) -> None:
    """Scrub all later lines of the handler of `quiet_logs`."""
    for handler in logging.getLogger("roost").handlers:
        if isinstance(handler, _Lines):
            handler.scrub = scrub


def quiet_logs() -> None:
    """Set up logging. With ROOST_DEBUG=1 everything is logged, tracebacks included."""
    root = logging.getLogger("roost")
    if os.environ.get("ROOST_DEBUG", "") not in ("", "0"):
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        return
    root.propagate = False
    root.setLevel(logging.ERROR)
    logging.getLogger("roost.models").setLevel(logging.WARNING)  # warns of a folder's .env that redirects model calls
    root.addHandler(_Lines())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

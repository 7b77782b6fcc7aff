"""What the kernel logs, when it runs inside a command: errors only, a line each."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from roost.cli.output import clean, styled


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.scrub: Callable[[str], str] = lambda line: line

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(styled(f"! {clean(self.scrub(record.getMessage()))}", "yellow", to=sys.stderr) + "\n")


def mask(scrub: Callable[[str], str]) -> None:
    """From now on, in what `quiet_logs` has set up."""
    for handler in logging.getLogger("roost").handlers:
        if isinstance(handler, _Lines):
            handler.scrub = scrub


def quiet_logs() -> None:
    """With ROOST_DEBUG=1 everything, tracebacks included."""
    root = logging.getLogger("roost")
    if os.environ.get("ROOST_DEBUG", "") not in ("", "0"):
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        return
    root.propagate = False
    root.setLevel(logging.ERROR)
    logging.getLogger("roost.models").setLevel(logging.WARNING)  # a folder's .env that leads conversations elsewhere
    root.addHandler(_Lines())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

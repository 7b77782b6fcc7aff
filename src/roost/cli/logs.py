"""What the kernel logs, when it runs inside a command: errors only, a line each."""

from __future__ import annotations

import logging
import os
import sys

from roost.cli.out import clean, styled


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(styled(f"! {clean(record.getMessage())}", "yellow", to=sys.stderr) + "\n")


def quiet_logs() -> None:
    """With ROOST_DEBUG=1 everything, tracebacks included."""
    root = logging.getLogger("roost")
    if os.environ.get("ROOST_DEBUG", "") not in ("", "0"):
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        return
    root.propagate = False
    root.setLevel(logging.ERROR)
    root.addHandler(_Lines())
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

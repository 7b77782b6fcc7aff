"""A record from a log that `roost export` wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path

from roost.features.exchange.native_format import events_of, header_of
from roost.features.replay.record import Item, Record, read_record


def read_log(log: str) -> Record:
    """Read a log in Roost's own format. Blocks. Raises `Invalid` with the number of a wrong line, `TooLarge`, and
    `Conflict` (`not_replayable`)."""
    with tempfile.TemporaryDirectory(prefix="roost-replay-") as folder:
        path = Path(folder) / "log"
        path.write_text(log, encoding="utf-8", errors="replace", newline="")
        items = [Item(seq, event) for seq, (_, event) in enumerate(events_of(path), 1)]
        return read_record(header_of(path).id[:128], items)

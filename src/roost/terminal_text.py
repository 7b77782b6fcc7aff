"""Text as a terminal may show it."""

from __future__ import annotations

import re

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_OPEN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$")


def clean(text: str) -> str:
    """Remove control characters: a file's or a model's text must not move the cursor, set the title or reorder other
    text."""
    return _CONTROL.sub("", text)


def unfinished(text: str) -> int:
    """Return the offset of a control sequence that may continue in the next piece; without one, the text's length."""
    found = _OPEN.search(text, max(0, len(text) - 256))
    return found.start() if found else len(text)


def one_line(text: str, width: int) -> str:
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"

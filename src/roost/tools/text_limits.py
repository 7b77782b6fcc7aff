"""Make any text fit for the log and the model: valid Unicode and bounded."""

from __future__ import annotations

from roost.sandbox.output import HeadTail

RESULT_CAP = 64 * 1024
"""Most bytes of UTF-8 of one result."""


def clean(text: str) -> str:
    """Return `text` in a form that UTF-8 can encode: surrogate pairs are joined, lone ones replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def capped(text: str, cap: int = RESULT_CAP) -> str:
    """Return clean text of at most about `cap` bytes: head and tail, and between them a line with the bytes cut."""
    text = clean(text)
    if len(text) * (1 if text.isascii() else 4) <= cap:
        return text
    kept = HeadTail(cap)
    kept.add(text.encode())
    return kept.text()

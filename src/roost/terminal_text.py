"""Text as a terminal may show it."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_OPEN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?)?$")

_HIDING = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))
"""Unicode categories of characters that are invisible, or change how others are shown."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and signs that are invisible."""
_SELECTS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Variation selectors."""
_TAB = "    "
_SPACES = re.compile(r" {16,}")


def clean(text: str) -> str:
    """Remove control characters: a file's or a model's text must not move the cursor, set the title or reorder other
    text."""
    return _CONTROL.sub("", text)


def printable(text: str) -> str:
    """Remove what `clean` does, except colours and other styles."""
    return _CONTROL.sub(lambda found: found[0] if _STYLE.fullmatch(found[0]) else "", text)


def unfinished(text: str) -> int:
    """Return the offset of a control sequence that may continue in the next piece; without one, the text's length."""
    found = _OPEN.search(text, max(0, len(text) - 256))
    return found.start() if found else len(text)


def one_line(text: str, width: int) -> str:
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def visible(text: str) -> str:
    """Replace every character that hides or reorders others by its number: `<U+202E>`. Line ends stay."""
    shown = "".join(map(_visible, text.replace("\t", _TAB)))
    return _SPACES.sub(lambda found: f" <{len(found.group()) - 2} spaces> ", shown)


def visible_line(text: str) -> str:
    """Return `visible` text in one line, its line ends as a sign: a name draws no rows of its own."""
    return visible(text).replace("\n", " ⏎ ")


def _visible(character: str) -> str:
    if character == "\n" or " " <= character <= "~":
        return character
    hides = unicodedata.category(character) in _HIDING or character in _BLANK or _SELECTS.match(character)
    return f"<U+{ord(character):04X}>" if hides else character

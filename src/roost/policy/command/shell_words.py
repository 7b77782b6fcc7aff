"""Words of a command line, as far as they are known before the shell runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tree_sitter import Node

GAP = "\ufffc"
"""Placeholder for text that only the shell will know: a variable, the output of a command."""
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_ANSI = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)


class Word(msgspec.Struct, frozen=True):
    """A word. text: with a `GAP` for each unknown part.

    globs: the shell may expand it to other words. veiled: written so that a reader may not see its meaning (quotes
    inside, escapes of plain letters). stream: the output of a command (`<(ls)`), which is analysed separately.
    """

    text: str
    globs: bool = False
    veiled: bool = False
    stream: bool = False

    @property
    def known(self) -> bool:
        return GAP not in self.text


def veiled(parts: list[Node]) -> bool:
    """Whether a word is written so that a reader may not see its meaning."""
    bare = "".join(raw_text(part) for part in parts if part.type == "word")
    if any(part.type == "ansi_c_string" and "\\" in raw_text(part) for part in parts):
        return True
    if re.search(r"\\[A-Za-z0-9/]", bare):
        return True
    quoted = [part for part in parts if part.type in ("string", "raw_string", "ansi_c_string")]
    # As in r''m and "r"m: people do not quote inside a plain word, except a part that is not plain.
    return (
        len(parts) > 1
        and any(not raw_text(part)[1:-1] or raw_text(part)[1:-1].isalpha() for part in quoted)
        and bare.isalpha()
    )


def raw_text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def plain_text(raw: bytes) -> str:
    """Unescape the content of double quotes."""
    return re.sub(r'\\([$`"\\]|\n)', lambda m: "" if m[1] == "\n" else m[1], raw.decode(errors="replace"))


def ansi_text(raw: str) -> str:
    """Unescape `$'...'`."""
    return _ANSI.sub(_ansi, raw[2:-1])


def _ansi(found: re.Match[str]) -> str:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if found[group]:
            code = int(found[group], base)
            return chr(code) if code <= 0x10FFFF else GAP
    if found[5]:
        return chr(ord(found[5].upper()) & 0x1F)
    return _ESCAPES.get(found[6], found[6])

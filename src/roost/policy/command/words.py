"""The words of a command line: what a program is given, as far as it can be known before the shell runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tree_sitter import Node

GAP = "\ufffc"
"""Stands for what only the shell will know: a variable, the output of a command."""
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_ANSI = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_GLOB = re.compile(r"[*?\[]|^[^{]*\{[^,.]*[,.][^}]*\}")  # in time that grows with the text, whatever it is


class Word(msgspec.Struct, frozen=True):
    """`text` with a `GAP` for each part that is not known. `globs`: the shell may make other words of it. `veiled`: it
    is written so that a reader may not see what it says (quotes in the midst, escapes of plain letters)."""

    text: str
    globs: bool = False
    veiled: bool = False

    @property
    def known(self) -> bool:
        return GAP not in self.text


def word_of(node: Node) -> Word:
    """The word of a syntax node: a word, a string, a number, an expansion or several of them joined."""
    parts = node.children if node.type == "concatenation" else [node]
    text = "".join(_text(part) for part in parts)
    bare = "".join(_raw(part) for part in parts if part.type == "word")
    globs = bool(
        _GLOB.search("".join(_raw(part) for part in parts if part.type in ("word", "{", "}", "brace_expression")))
    )
    globs = globs or any(part.type == "brace_expression" for part in parts)
    return Word(text, globs, _veiled(parts, bare))


def _veiled(parts: list[Node], bare: str) -> bool:
    if any(part.type == "ansi_c_string" and "\\" in _raw(part) for part in parts):
        return True
    if re.search(r"\\[A-Za-z0-9/]", bare):
        return True
    quoted = [part for part in parts if part.type in ("string", "raw_string", "ansi_c_string")]
    # r''m and "r"m: nobody quotes the midst of a plain word, but for a part that is not plain.
    return (
        len(parts) > 1 and any(not _raw(part)[1:-1] or _raw(part)[1:-1].isalpha() for part in quoted) and bare.isalpha()
    )


def _raw(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _text(node: Node) -> str:
    raw = _raw(node)
    match node.type:
        case "word" | "number" | "variable_name" | "{" | "}" | "brace_expression" | "test_operator" | "regex":
            return re.sub(r"\\(\n?)(.?)", lambda m: "" if m[1] else m[2], raw, flags=re.DOTALL)
        case "raw_string":
            return raw[1:-1]
        case "ansi_c_string":
            return _ANSI.sub(_ansi, raw[2:-1])
        case "string" | "translated_string":
            return _string(node)
        case "concatenation":
            return "".join(_text(part) for part in node.children)
        case "command_name":
            return "".join(_text(part) for part in node.children)
        case _:
            return GAP


def _string(node: Node) -> str:
    """A double-quoted string: the pieces between expansions keep their blanks, which the tree leaves out."""
    source = node.text or b""
    start = node.start_byte
    said: list[str] = []
    at = 1 if node.type == "string" else 2
    for part in node.named_children:
        if part.type == "string" and node.type == "translated_string":
            return _string(part)
        if part.type == "string_content":
            continue
        said.append(_plain(source[at : part.start_byte - start]))
        said.append(GAP)
        at = part.end_byte - start
    said.append(_plain(source[at:-1]))
    return "".join(said)


def _plain(raw: bytes) -> str:
    return re.sub(r'\\([$`"\\]|\n)', lambda m: "" if m[1] == "\n" else m[1], raw.decode(errors="replace"))


def _ansi(found: re.Match[str]) -> str:
    for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
        if found[group]:
            code = int(found[group], base)
            return chr(code) if code <= 0x10FFFF else GAP
    if found[5]:
        return chr(ord(found[5].upper()) & 0x1F)
    return _ESCAPES.get(found[6], found[6])

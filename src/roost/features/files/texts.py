"""Make pieces of text of a file's bytes: lines of plain text, the visible text of HTML, and documents by a program of
their own (`document_worker.py`), since a document may come from a stranger and its parser may take any time and memory.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from roost.features.files.protocols import Piece, Text
from roost.install import install_extra
from roost.workspace.safe_paths import is_binary

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of a file that are read."""
_PIECE = 1200
"""Characters of a piece: about as many as the window of the local embedding model."""
_LINES = 60
_PIECES = 2000
_HTML = 1024 * 1024
_HIDDEN = ("script", "style")
_HTML_NAMES = (".html", ".htm", ".xhtml")
DOCUMENTS = (".pdf", ".docx", ".odt")
_DOCUMENT_SECONDS = 30.0
_WORDS = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_CJK = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af])")


def text_of(name: str, data: bytes) -> Text:
    """Return the text of a file. Keeps the contract of `TextReader`."""
    suffix = Path(name).suffix.lower()
    if suffix in DOCUMENTS:
        return _document(suffix, data)
    if is_binary(data):
        return Text([], "it is no text")
    text = data.decode("utf-8", "replace")
    if suffix in _HTML_NAMES:
        text = _visible(text[:_HTML])
    pieces = list(_cut(text))
    why = f"only its first {_PIECES:,} pieces of text are searched" if len(pieces) > _PIECES else None
    return Text(pieces[:_PIECES], why)


def _cut(text: str) -> list[Piece]:
    """Cut a text at ends of lines, at empty ones where possible. A line that is too long is cut within."""
    found: list[Piece] = []
    held: list[str] = []
    size, first = 0, 1
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        full = size + len(line) > _PIECE or len(held) >= _LINES or (not line and size > _PIECE // 2)
        if held and full:
            _add(found, first, number - 1, held)
            held, size = [], 0
        if not held:
            first = number
        while len(line) > _PIECE:
            found.append(Piece(number, number, line[:_PIECE]))
            line = line[_PIECE:]
            if len(found) > _PIECES:
                return found
        held.append(line)
        size += len(line) + 1
        if len(found) > _PIECES:
            return found
    _add(found, first, first + len(held) - 1, held)
    return found


def _add(found: list[Piece], first: int, last: int, lines: list[str]) -> None:
    while lines and not lines[-1]:
        lines.pop()
        last -= 1
    while lines and not lines[0]:
        lines.pop(0)
        first += 1
    if lines:
        found.append(Piece(first, last, "\n".join(lines)))


def _visible(page: str) -> str:
    """Return the text that a reader of a page sees, on the lines where it stands. Takes time proportional to the page,
    whatever it holds: each search begins where the last one ended, and what is never closed ends the page."""
    from html import unescape

    found: list[str] = []
    at = 0
    while (tag := page.find("<", at)) >= 0:
        found.append(unescape(page[at:tag]))
        name = page[tag + 1 : tag + 8].lower()
        if name.startswith("!--"):
            end, size = page.find("-->", tag), 3
        elif hidden := next((one for one in _HIDDEN if name.startswith(one)), None):
            closing = _find(page, f"</{hidden}", tag)
            end, size = closing if closing < 0 else page.find(">", closing), 1
        else:
            end, size = page.find(">", tag), 1
        if end < 0:
            return "".join(found)
        at = end + size
        found.append("\n" * page.count("\n", tag, at) or " ")
    found.append(unescape(page[at:]))
    return "".join(found)


def _find(page: str, text: str, begin: int) -> int:
    found = re.compile(re.escape(text), re.IGNORECASE).search(page, begin)
    return -1 if found is None else found.start()


class _Pages(msgspec.Struct):
    """What the worker says. pages: the text of each. missing: the library that is not installed."""

    pages: list[str] = []
    missing: str = ""
    error: str = ""


def _document(suffix: str, data: bytes) -> Text:
    worker = Path(__file__).with_name("document_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(worker), suffix],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a document may cause any number of warnings
            timeout=_DOCUMENT_SECONDS,
            env={},  # a document shall not find the keys of providers
        )
        said = msgspec.json.decode(done.stdout, type=_Pages)
    except (subprocess.TimeoutExpired, msgspec.MsgspecError, OSError):
        return Text([], "its text could not be read")
    if said.missing:
        return Text([], f"its text is not read without the extra: {install_extra('files')}")
    if said.error:
        return Text([], "its text could not be read")
    pieces = [
        piece if suffix != ".pdf" else Piece(number, number, piece.text)
        for number, page in enumerate(said.pages, 1)
        for piece in _cut(page)
    ]
    return Text(pieces[:_PIECES], None if pieces else "it holds no text")


def name_words(path: str) -> str:
    """Return the words of a path: `src/parseInvoice_2026.py` is found by `invoice`."""
    words = _WORDS.findall(path)
    return spaced(" ".join([*words, *(part for word in words for part in parts_of(word))]))


def hidden_words(text: str) -> str:
    """Return the words that stand within longer ones, as in `parseInvoice`."""
    found = {part for word in set(_WORDS.findall(text)) for part in parts_of(word)}
    return " ".join(sorted(found))


def parts_of(word: str) -> list[str]:
    """Return the parts of a word in camel case, or with digits in it; none for a plain word."""
    if word.islower() or word.isupper() or not word.isascii():
        return []
    parts = _CAMEL.findall(word)
    return [one.lower() for one in parts] if len(parts) > 1 else []


def spaced(text: str) -> str:
    """Set the letters of scripts without spaces apart, so that each is a word of the index."""
    return _CJK.sub(r" \1 ", text) if not text.isascii() else text

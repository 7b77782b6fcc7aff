"""Text as it comes: in pieces, with halves of characters, from servers that escape as they like."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

T = TypeVar("T")
MOST_PARTS = 1_000_000
"""Objects and lists of one document. Each takes some hundred bytes of memory, and two on the wire."""


class Pieces:
    """Text in pieces. Surrogate pairs that a server split are joined, lone ones replaced: valid UTF-8 comes out."""

    __slots__ = ("_high", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._high = ""

    def add(self, piece: str) -> str:
        """What can be shown now."""
        if piece.isascii() and not self._high:
            self._pieces.append(piece)
            return piece
        piece, self._high = self._high + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._high = piece[:-1], piece[-1]
        piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self._pieces.append(piece)
        return piece

    def rest(self) -> str:
        """What stands for the half of a character that waits for its other half, when nothing more comes."""
        rest, self._high = "\ufffd" if self._high else "", ""
        self._pieces.append(rest)
        return rest

    def text(self) -> str:
        return "".join(self._pieces) + ("\ufffd" if self._high else "")


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """As the decoder does, but half surrogates and bytes that are not UTF-8 are read as far as possible. Raises
    `ValueError` or `RecursionError`."""
    if len(data) > MOST_PARTS and data.count(b"{") + data.count(b"[") > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Servers that escape may split a surrogate pair over two frames; the strict decoder refuses halves.
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), decoder.type)

"""Decode streamed text: in pieces, with split characters, in any escaping."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

T = TypeVar("T")
MOST_PARTS = 1_000_000
"""Limit of objects and lists in one document. Each takes some hundred bytes of memory, and two on the wire."""


class Pieces:
    """Text in pieces. Surrogate pairs split by a server are joined and lone surrogates replaced, so the output is valid
    UTF-8."""

    __slots__ = ("_high", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._high = ""

    def add(self, piece: str) -> str:
        """Add a piece and return the text that can be shown now."""
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
        """End the text; return a replacement for half a character that is still waiting, if any."""
        rest, self._high = "\ufffd" if self._high else "", ""
        self._pieces.append(rest)
        return rest

    def text(self) -> str:
        return "".join(self._pieces) + ("\ufffd" if self._high else "")


def decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Decode like `decoder`, but tolerate lone surrogates and bytes that are not UTF-8. Raises `ValueError` or
    `RecursionError`."""
    if len(data) > MOST_PARTS and data.count(b"{") + data.count(b"[") > MOST_PARTS:
        raise ValueError(f"it has more than {MOST_PARTS} parts")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        # A server that escapes may split a surrogate pair over two frames, which the strict decoder refuses.
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), decoder.type)

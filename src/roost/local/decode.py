"""Read a step while the model writes it: the answer's text and the call's arguments, as soon as they are known."""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from roost.models.request import CallDelta, ModelEvent, TextDelta

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class StringReader:
    """Decodes the inside of a JSON string that comes in pieces. `done` once the closing quote was read."""

    def __init__(self) -> None:
        self.done = False
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """Returns the text that became certain, and what of `piece` lies behind the closing quote."""
        text = self._held + piece
        self._held = ""
        out: list[str] = []
        at = 0
        while at < len(text):
            char = text[at]
            if char == '"':
                self.done = True
                return "".join(out), text[at + 1 :]
            if char != "\\":
                out.append(char)
                at += 1
                continue
            taken, decoded = _escape(text, at)
            if not taken:
                self._held = text[at:]
                break
            out.append(decoded)
            at += taken
        return "".join(out), ""


def _escape(text: str, at: int) -> tuple[int, str]:
    """Length and meaning of the escape at `at`; length 0 when more must come. A lone surrogate becomes U+FFFD."""
    if at + 1 >= len(text):
        return 0, ""
    kind = text[at + 1]
    if kind != "u":
        return 2, _ESCAPES.get(kind, kind)
    if at + 6 > len(text):
        return 0, ""
    unit = _unit(text, at)
    if not 0xD800 <= unit < 0xE000:
        return 6, chr(unit)
    if unit >= 0xDC00:
        return 6, "\ufffd"
    following = text[at + 6 : at + 12]
    if len(following) < 6 and "\\u".startswith(following[:2]):
        return 0, ""
    low = _unit(text, at + 6) if following.startswith("\\u") else 0
    if 0xDC00 <= low < 0xE000:
        return 12, chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
    return 6, "\ufffd"


def _unit(text: str, at: int) -> int:
    try:
        return int(text[at + 2 : at + 6], 16)
    except ValueError:
        return 0xFFFD


class Step(msgspec.Struct):
    """The content of a finished or cut-off step. `tool` None: an answer."""

    tool: str | None
    text: str


class StepReader:
    """Reads `{"answer": "..."}` or `{"tool": "...", "args": {...}}` from pieces of text; either may begin with a
    `"from"`, which is the `label`.

    `feed` returns the deltas that became certain. `step` is the result so far: an answer that is not a string is given
    as its JSON text, arguments exactly as the model wrote them.
    """

    def __init__(self) -> None:
        self.label: str | None = None
        self._raw = ""
        self._mode: Literal["head", "string", "args", "data"] = "head"
        self._string = StringReader()
        self._tool: str | None = None
        self._value: list[str] = []
        self._slice = ValueSlicer()

    def feed(self, piece: str) -> list[ModelEvent]:
        if self._mode == "head":
            self._raw += piece
            piece = self._enter()
        deltas: list[ModelEvent] = []
        if self._mode == "string" and piece and not self._string.done:
            text, _ = self._string.feed(piece)
            if text:
                self._value.append(text)
                deltas.append(TextDelta(text))
        elif self._mode in ("args", "data") and (value := self._slice.feed(piece)):
            first = not self._value
            self._value.append(value)
            called = self._tool is not None
            deltas.append(CallDelta(0, value, self._tool if first else None) if called else TextDelta(value))
        return deltas

    def _enter(self) -> str:
        """Leave the head once it is whole, and return what follows it."""
        head = _Head(self._raw)
        key = head.string("{")
        if key == "from":
            self.label = head.string(":")
            key = head.string(",")
        if key == "tool":
            tool = head.string(":")
            head.string(",")
            if not head.upto(":"):
                return ""
            self._tool, self._mode = tool, "args"
        elif key == "answer" and head.upto(":") and head.peek():
            self._mode = "string" if head.peek() == '"' else "data"
            if self._mode == "string":
                head.upto('"')
        else:
            return ""
        return self._raw[head.at :]

    def step(self) -> Step:
        return Step(self._tool, "".join(self._value))


class _Head:
    """A cursor that gives up, for good, where the text ends too early."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0
        self._short = False

    def peek(self) -> str:
        while self.at < len(self._text) and self._text[self.at].isspace():
            self.at += 1
        return self._text[self.at] if self.at < len(self._text) and not self._short else ""

    def upto(self, mark: str) -> bool:
        self._short = self._short or self.peek() != mark
        self.at += 0 if self._short else 1
        return not self._short

    def string(self, before: str) -> str | None:
        """The string after the mark `before`."""
        if not (self.upto(before) and self.upto('"')):
            return None
        start = self.at - 1
        try:
            value, self.at = json.JSONDecoder().raw_decode(self._text, start)
        except ValueError:
            self._short = True
            return None
        return str(value)


class ValueSlicer:
    """Cuts one JSON value, of any type, out of an object that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._begun = self._inside = self._escaped = self._over = False

    def feed(self, piece: str) -> str:
        """What of `piece` belongs to the value."""
        out: list[str] = []
        for char in piece:
            if self._over or (char == "}" and self._depth == 0 and not self._inside):
                self._over = True
                break
            if self._begun or not char.isspace():
                self._begun = True
                self._take(char)
                out.append(char)
        return "".join(out)

    def _take(self, char: str) -> None:
        if self._inside:
            self._inside = self._escaped or char != '"'
            self._escaped = char == "\\" and not self._escaped
            self._over = not self._inside and self._depth == 0
        elif char == '"':
            self._inside = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            self._over = self._depth == 0

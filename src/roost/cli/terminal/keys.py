"""Turn the bytes of a terminal into keys, pasted text and reports."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple, TypeAlias


class Key(NamedTuple):
    """A key. `name`: `text` for what is inserted as it is, else as in `enter`, `left`, `ctrl-c`, `alt-enter`,
    `shift-tab`."""

    name: str
    text: str = ""


class Paste(NamedTuple):
    """Text of a bracketed paste, with line ends as `\\n`."""

    text: str


class Report(NamedTuple):
    """An answer of the terminal. `kind`: `keyboard` (it knows the kitty protocol), `position`, or another one's final
    character."""

    kind: str
    numbers: tuple[int, ...] = ()


Event: TypeAlias = Key | Paste | Report

_BEGIN, _END = b"\x1b[200~", b"\x1b[201~"
_MOST = 8 * 1024 * 1024
"""Most bytes of one paste; the rest is dropped."""
_CSI = re.compile(rb"\x1b\[([<=>?]?)([0-9;:]*)([ -/]*)([@-~])")
_SS3 = re.compile(rb"\x1bO([A-Za-z])")
_STRING = re.compile(rb"\x1b[\]P_^X].*?(?:\x07|\x1b\\)", re.DOTALL)
_LETTERS = {"A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end", "M": "enter", "Z": "shift-tab"}
_NUMBERS = {1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pageup", 6: "pagedown", 7: "home", 8: "end"}
_CODES = {9: "tab", 13: "enter", 27: "escape", 127: "backspace", 8: "backspace", 57414: "enter"}
_CONTROLS = {0x0D: "enter", 0x09: "tab", 0x7F: "backspace", 0x08: "backspace", 0x00: "ctrl-space", 0x1F: "ctrl-_"}
_LONGEST = 64
"""Most bytes of a sequence that has not ended; what is longer is none."""


class KeyParser:
    """Feed it what was read; it keeps an unfinished sequence for the next piece."""

    def __init__(self) -> None:
        self._buffer = b""
        self._pasted: bytearray | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def waits(self) -> bool:
        """True when an escape may be a key of its own or begin a sequence: `flush` decides after a moment."""
        return bool(self._buffer) and self._pasted is None

    def feed(self, data: bytes) -> list[Event]:
        self._buffer += data
        found: list[Event] = []
        while self._buffer:
            if self._pasted is not None:
                if not self._paste(found):
                    break
            elif self._buffer[0] == 0x1B:
                if not self._escape(found):
                    break
            else:
                self._plain(found)
        return found

    def flush(self) -> list[Event]:
        """Take what waits as it is: no more bytes came within a moment."""
        data, self._buffer = self._buffer, b""
        if not data or self._pasted is not None:
            self._buffer = data
            return []
        return [Key("escape"), *self.feed(data[1:])] if data[:1] == b"\x1b" else self.feed(data)

    def _paste(self, found: list[Event]) -> bool:
        """Collect pasted bytes. Returns whether the paste has ended."""
        assert self._pasted is not None
        end = self._buffer.find(_END)
        taken = self._buffer[: max(0, len(self._buffer) - len(_END) + 1)] if end < 0 else self._buffer[:end]
        self._pasted += taken[: max(0, _MOST - len(self._pasted))]
        self._buffer = self._buffer[len(taken) :]
        if end < 0:
            return False
        self._buffer = self._buffer[len(_END) :]
        text = self._pasted.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        self._pasted = None
        found.append(Paste(text))
        return True

    def _escape(self, found: list[Event]) -> bool:
        """Take one sequence. Returns False when it has not ended."""
        data = self._buffer
        if data.startswith(_BEGIN):
            self._buffer, self._pasted = data[len(_BEGIN) :], bytearray()
            return True
        for pattern, event in ((_CSI, _csi), (_SS3, _ss3), (_STRING, None)):
            if match := pattern.match(data):
                self._buffer = data[match.end() :]
                if event is not None and (key := event(match)) is not None:
                    found.append(key)
                return True
        if len(data) == 1 or (data[1:2] in b"[O]P_^X" and len(data) < _LONGEST):
            return False
        return self._alt(found)

    def _alt(self, found: list[Event]) -> bool:
        """Take an escape and the key after it: with Alt held."""
        if self._buffer[1:2] == b"\x1b":
            self._buffer = self._buffer[1:]
            found.append(Key("escape"))
            return True
        rest = self._buffer[1:]
        size = _utf8_size(rest[0])
        if len(rest) < size:
            return False
        self._buffer = rest[size:]
        inner: list[Event] = KeyParser().feed(rest[:size])
        found += [Key(f"alt-{key.text if key.name == 'text' else key.name}") for key in inner if isinstance(key, Key)]
        return True

    def _plain(self, found: list[Event]) -> None:
        end = self._buffer.find(b"\x1b")
        data = self._buffer if end < 0 else self._buffer[:end]
        self._buffer = self._buffer[len(data) :]
        text = ""
        for character in self._decoder.decode(data):
            if character >= " " and character != "\x7f":
                text += character
                continue
            if text:
                found.append(Key("text", text))
                text = ""
            found.append(Key(_control(ord(character))))
        if text:
            found.append(Key("text", text))


def _control(code: int) -> str:
    if code in _CONTROLS:
        return _CONTROLS[code]
    return f"ctrl-{chr(code + 0x60)}" if code < 0x1B else f"ctrl-{chr(code + 0x40).lower()}"


def _utf8_size(first: int) -> int:
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _ss3(match: re.Match[bytes]) -> Event | None:
    name = _LETTERS.get(match[1].decode())
    return Key(name) if name else None


def _csi(match: re.Match[bytes]) -> Event | None:
    mark, final = match[1].decode(), match[4].decode()
    fields = [[int(one or 0) for one in field.split(":")] for field in match[2].decode().split(";")]
    numbers = tuple(field[0] for field in fields)
    if mark == "?" and final == "u":
        return Report("keyboard", numbers)
    if mark:
        return Report(final, numbers)
    if final == "R" and len(numbers) == 2:
        return Report("position", numbers)
    return _key(final, fields)


def _key(final: str, fields: list[list[int]]) -> Key | None:
    first, second = fields[0][0], fields[1] if len(fields) > 1 else [1]
    modifiers, released = second[0], len(second) > 1 and second[1] == 3
    if released:
        return None
    if final == "u":
        return _coded(first, modifiers)
    if final == "~" and first == 27 and len(fields) > 2:
        return _coded(fields[2][0], modifiers)
    name = _NUMBERS.get(first) if final == "~" else _LETTERS.get(final)
    return Key(_with(modifiers, name)) if name else None


def _coded(code: int, modifiers: int) -> Key | None:
    """Return the key of a code point with modifiers, as the kitty protocol and xterm's `modifyOtherKeys` send it."""
    if 57344 <= code <= 63743 and code not in _CODES:  # keys that have no text, as Caps Lock
        return None
    held = max(0, modifiers - 1) & 0b111
    name = _CODES.get(code)
    if name is None and not held & 0b110:
        return Key("text", chr(code)) if code >= 32 else None
    return Key(_with(modifiers, name or chr(code).lower()))


def _with(modifiers: int, name: str) -> str:
    held = max(0, modifiers - 1)
    names = [word for bit, word in ((4, "ctrl"), (2, "alt"), (1, "shift")) if held & bit]
    return "-".join([*names, name]) if not (name.startswith("shift-") and names == ["shift"]) else name

"""Cut a program's output into pieces with whole sequences, and leave out what clients must not get.

The node answers what a program asks of the terminal: each attached client would answer, too. And a program in a sandbox
gets no hold of the terminals of people: the clipboard, files, notifications, the size of the window, how keys are sent.
So clients get text and those sequences that the node's own emulation understands, and few more."""

from __future__ import annotations

import re

_LONGEST = 4096
"""Bytes of an unfinished sequence that are held back. Clients get nothing of longer ones, such as pictures."""
_MODES = rb"(?:[15679]|12|25|45|47|66|100[024567]|1003|1015|104[789]|2004|2026)"
_LEFT = rb"|".join(
    (
        rb"\[[0-9;:\x00-\x17\x19\x1c-\x1f]*[@A-HIJKLMPSTXZ`abdefmru]",  # cursor, erase, insert, scroll, colours
        rb"\[(?:[034]|20|;)*[ghl]",  # tabs, insert, newline
        rb"\[\?[012]?[JK]",
        rb"\[\?" + _MODES + rb"(?:;" + _MODES + rb")*[hl]",
        rb"\[!p",
        rb"\[[0-6]? q",  # the shape of the cursor
        rb"\[s",
        rb"[78cDEHM=>\\]|[()*+][0-9A-Z]|\#8",  # and the end of a title or link
        rb"\](?:[012]|8|133);[^\x00-\x1f\x7f]{0,2048}(?:\x07|\x1b\\)",  # title, links, marks of the shell
    )
)
_SEQUENCE = (
    rb"\x1b(?!"
    + _LEFT
    + rb")(?:\[[\x00-\x17\x19\x1c-\x1f0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\x18\x1a]*(?:\x07|\x1b\\|[\x18\x1a])?"
    rb"|[ -/]*[0-~]?)"
)
_FOREIGN = re.compile(_SEQUENCE + rb"|\x05|\xc2[\x80-\x83\x86\x87\x89-\x8c\x8e-\x9f]")
"""What clients do not get, whole: sequences that are not among `_LEFT`, and controls of 8 bits."""
_FOREIGN_SEQUENCE = re.compile(_SEQUENCE)
"""The same where there is no such control. An expression that begins with one character is searched twice as fast."""
_LONE = re.compile(rb"\xc2(?![\x80-\xbf])")
"""The first half of such a control, without its second: what is left out between the two must not join them."""
_REPLACEMENT = "\ufffd".encode()
_NO_COLOUR = re.compile(rb"\x1b(?!\[[0-9;:]{0,64}m)")
_UNFINISHED = re.compile(rb"\x1b(?:\[[\x00-\x17\x19\x1c-\x1f0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x18\x1a]*\x1b?|[ -/]*)?")
_STRINGS = b"]PX^_"
_ENDS = re.compile(rb"[\x07\x18\x1a]|\x1b\\?")


class Stream:
    """The output of one program."""

    def __init__(self) -> None:
        self._held = b""
        self._inside = False
        """Within a string that is too long to be held back."""
        self.calm = True
        """Whether the newest piece has nothing but text and colours."""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the emulator gets, and what the clients get."""
        data, self._held = self._held + data, b""
        if self._inside:
            data = self._leave(data)
        end = self._end_of_whole(data)
        if end < len(data) and len(data) - end <= _LONGEST:
            self._held = data[end:]
        elif end < len(data):  # nobody needs such a string
            self._inside = data[end + 1] in _STRINGS
            end = end if self._inside else len(data)
        whole = data[:end]
        controls = b"\x05" in whole or b"\xc2" in whole
        self.calm = not controls and _NO_COLOUR.search(whole) is None
        if self.calm:
            return whole, whole
        return whole, _shown(whole) if controls else _FOREIGN_SEQUENCE.sub(b"", whole)

    def _leave(self, data: bytes) -> bytes:
        """Return what follows a long string."""
        found = _ENDS.search(data)
        if found is None:
            return b""
        if found[0] == b"\x1b":
            if found.end() == len(data):  # perhaps the first half of its end
                self._held = b"\x1b"
                return b""
            self._inside = False
            return data[found.start() :]
        self._inside = False
        return data[found.end() :]

    def end(self) -> bytes:
        """Return what was held back when the program ended."""
        held, self._held = self._held, b""
        return _shown(held)

    def _end_of_whole(self, data: bytes) -> int:
        """Return the position behind the last whole sequence."""
        last = data.rfind(b"\x1b")
        if data.endswith(b"\xc2") and (last < 0 or not _is_unfinished(data, last)):  # perhaps a control of 8 bits
            return len(data) - 1
        if last < 0:
            return len(data)
        if last == len(data) - 1:  # perhaps the first half of the end of a string
            before = data.rfind(b"\x1b", 0, last)
            if before >= 0 and data[before + 1] in _STRINGS and _is_unfinished(data, before):
                return before
        return last if _is_unfinished(data, last) else len(data)


def _shown(whole: bytes) -> bytes:
    return _FOREIGN.sub(b"", _LONE.sub(_REPLACEMENT, whole))


def _is_unfinished(data: bytes, at: int) -> bool:
    return _UNFINISHED.fullmatch(data, at) is not None

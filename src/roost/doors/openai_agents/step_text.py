"""What was sent of the texts of one model call, so that a client hears each character once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias
from zlib import crc32

import msgspec

from roost.log.frames import Delta

_KEY = re.compile(r"([0-9]{1,18})\.(te|th)([0-9]{1,18})-([0-9a-f]{1,8})(?:\.[ab])?")

Kind: TypeAlias = Literal["text", "thinking"]
What: TypeAlias = Literal["added", "part.added", "delta", "text.done", "part.done", "done", "incomplete"]


class Said(msgspec.Struct, frozen=True, gc=False):
    """A step in telling a text. place: of the item in the turn's output. text: the piece of a delta, else the whole
    text. key: tells apart what follows from one position of the log."""

    what: What
    kind: Kind
    step: int
    place: int
    text: str
    key: str = ""

    def event(self) -> tuple[str, dict[str, Any]]:
        """Return the event's kind and fields, for all but items. Those of a delta are without its text."""
        spoken = self.kind == "text"
        part = {"type": "output_text" if spoken else "summary_text", "text": self.text}
        at = {"content_index" if spoken else "summary_index": 0}
        name, text = ("content_part", "output_text") if spoken else ("reasoning_summary_part", "reasoning_summary_text")
        match self.what:
            case "part.added":
                return f"{name}.added", {**at, "part": {**part, "text": ""}}
            case "part.done":
                return f"{name}.done", {**at, "part": part}
            case "delta":
                return f"{text}.delta", at
            case _:
                return f"{text}.done", {**at, "text": self.text}


class Heard(NamedTuple):
    """What a client had of a model call when its connection was cut: characters of the text of `kind`, and their
    checksum."""

    step: int
    kind: Kind
    size: int
    checksum: int


class _Sent:
    """One text. size, checksum: of what the client has. unsure: the client had so many characters of a call that may
    have begun again since, with other words; `heard` has what is known of it until that is decided."""

    def __init__(self, place: int, had: Heard | None) -> None:
        self.place, self.size, self.checksum = place, 0, 0
        self.unsure = had if had is not None and had.size else None
        self.heard = ""
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """What the client has."""
        return "".join(self._texts)

    def add(self, text: str) -> None:
        """Note a piece that the client gets."""
        self._texts.append(text)
        self.size += len(text)
        self.checksum = crc32(text.encode(), self.checksum)

    def goes_on(self, text: str) -> bool | None:
        """Whether a text, or its beginning, goes on from what the client had; None if it is too short to tell."""
        had = self.unsure
        if had is None:
            return True
        if len(text) < had.size:
            return None
        right = crc32(text[: had.size].encode()) == had.checksum
        if right:
            self._texts, self.size, self.checksum, self.unsure = [text[: had.size]], had.size, had.checksum, None
        return right


class StepText:
    """The texts of the open model call. A call that begins again after a part of it was sent is sent once it is
    complete: its rest if it continues what was sent, else all of it. had: what the client had before it connected."""

    def __init__(self) -> None:
        self._sent: dict[Kind, _Sent] = {}
        self._step = self._after = self._done = 0
        self._held = False
        self.had: Heard | None = None

    def reset(self) -> None:
        self._sent, self._step, self._held = {}, 0, False

    def hear(self, kind: Kind, delta: Delta, place: Callable[[], int]) -> list[Said]:
        """Return what a delta adds. place: numbers a new item."""
        known = self._sent.get(kind)
        if (
            known is not None
            and delta.offset == known.size
            and delta.step == self._step
            and delta.after == self._after
            and not (known.unsure or self._held)
        ):  # as nearly all do, it goes on
            return self._give(known, kind, delta.step, delta.text)
        if delta.step <= self._done:
            return []
        if delta.step != self._step:
            self._sent, self._step, self._after, self._held = {}, delta.step, delta.after, False
        if delta.after != self._after and self._sent:
            self._held = True
        if self._held:
            return []
        said = self._begun(kind, delta.step, place)
        one = self._sent[kind]
        if one.unsure is None:
            fresh = delta.text[one.size - delta.offset :] if delta.offset <= one.size else ""
            return said + self._give(one, kind, delta.step, fresh)
        one.heard += delta.text[len(one.heard) - delta.offset :] if delta.offset <= len(one.heard) else ""
        right = one.goes_on(one.heard)
        self._held = right is False
        return said + self._give(one, kind, delta.step, one.heard[one.size :]) if right else said

    def finish(self, step: int, thought: str, text: str, place: Callable[[], int]) -> list[Said]:
        """Return what is left of a call that has ended."""
        if step != self._step:
            self._sent, self._step = {}, step
        said: list[Said] = []
        texts: tuple[tuple[Kind, str], ...] = (("thinking", thought), ("text", text))
        for kind, whole in texts:
            said += self._end(kind, step, whole, place) if whole or kind in self._sent else []
        self._done = max(self._done, step)
        self.reset()
        return said

    def cut(self) -> list[Said]:
        """End what was being sent of a call that has no answer."""
        said = [
            Said("incomplete", kind, self._step, one.place, one.text, f"{self._step}.{kind[:2]}.cut")
            for kind, one in self._sent.items()
        ]
        self.reset()
        return said

    def _begun(self, kind: Kind, step: int, place: Callable[[], int]) -> list[Said]:
        """Begin a text, unless the client has its beginning."""
        if kind in self._sent:
            return []
        had = self.had if self.had is not None and self.had.step == step else None
        self._sent[kind] = one = _Sent(place(), had if had is not None and had.kind == kind else None)
        if had is not None and (had.kind == kind or kind == "thinking"):
            return []
        return [
            Said("added", kind, step, one.place, "", key_of(step, kind, one, "a")),
            Said("part.added", kind, step, one.place, "", key_of(step, kind, one, "b")),
        ]

    def _end(self, kind: Kind, step: int, whole: str, place: Callable[[], int]) -> list[Said]:
        said = self._begun(kind, step, place)
        one, had = self._sent[kind], self.had
        if kind == "thinking" and had is not None and (had.step, had.kind) == (step, "text"):
            return []  # all of it came before the text
        if one.goes_on(whole) and whole.startswith(one.text):
            said += self._give(one, kind, step, whole[one.size :])
        elif kind == "text":
            said += self._give(one, kind, step, "\n\n" + whole)
        ends: tuple[What, ...] = ("text.done", "part.done", "done")
        return said + [Said(what, kind, step, one.place, whole, f"{step}.{kind[:2]}.{what}") for what in ends]

    def _give(self, one: _Sent, kind: Kind, step: int, text: str) -> list[Said]:
        if not text:
            return []
        one.add(text)
        return [Said("delta", kind, step, one.place, text, key_of(step, kind, one))]


def key_of(step: int, kind: Kind, one: _Sent, mark: str = "") -> str:
    """Return the key of an event of a text: what the client has then."""
    return f"{step}.{kind[:2]}{one.size}-{one.checksum:x}{mark and '.' + mark}"


def had_by(key: str) -> Heard | None:
    """Return what a client has that got the event of a key; None for a key of another event."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    return Heard(int(found[1]), "text" if found[2] == "te" else "thinking", int(found[3]), int(found[4], 16))

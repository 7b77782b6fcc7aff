"""Pictures and files of messages, for a coding agent: each becomes a file in its folder, and the prompt names it.

A program that takes pictures with a prompt is shown those that the model understands. Every other file, and every
picture for the other programs, is there to be read from the path in the prompt."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence

from roost.features.coding_agents.program import Picture
from roost.log.content import Image, Media, Text, UserMessage
from roost.models.media.sniff import sniff

_KINDS = ("image/png", "image/jpeg", "image/gif", "image/webp")
_LARGEST = 5 * 1024 * 1024
"""Characters of base64 of a picture that is shown; a larger one is a file alone."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "video/mp4": ".mp4",
}


class GivenFiles:
    """The files of some messages, as far as their bytes are in the message.

    contents: their bytes, by name. The constructor blocks while it computes the digests that begin the names."""

    def __init__(self, messages: Sequence[UserMessage]) -> None:
        parts = [part for message in messages for part in message.parts if not isinstance(part, Text)]
        self._names = {id(part): _name(part) for part in parts if part.data}
        self._parts = {self._names[id(part)]: part for part in parts if part.data}
        self.contents = {name: _content(part) for name, part in self._parts.items()}
        self._shown: frozenset[str] = frozenset()

    def show(self, messages: Sequence[UserMessage], folder: str) -> tuple[Picture, ...]:
        """Return the pictures of messages that the program is shown. folder: where the files are."""
        wanted = [part for message in messages for part in message.parts if isinstance(part, Image)]
        found: dict[str, Picture] = {}
        for part in wanted:
            if (name := self._names.get(id(part))) and len(part.data) <= _LARGEST:
                kind = sniff(self.contents[name][:64], "image")
                if kind in _KINDS:
                    found[name] = Picture(f"{folder}/{name}", kind, part.data)
        self._shown = frozenset(found)
        return tuple(found.values())

    def line(self, part: Media, folder: str) -> str:
        """Return what the prompt says of a file. folder: where the files are, as the program is told it."""
        name = self._names.get(id(part))
        if name is None:
            where = f", at {part.url}" if part.url else ", and is not here any more"
            return f"[a file of type {part.media_type} came with this message{where}]"
        what = "a picture that you are shown" if name in self._shown else f"a file of type {part.media_type}"
        return f"[{what} came with this message; it is the file {folder}/{name}]"


def _content(part: Media) -> bytes:
    try:
        return base64.b64decode(part.data)
    except (binascii.Error, ValueError):  # no provider would take it either
        return b""


def _name(part: Media) -> str:
    digest = hashlib.sha256(part.data.encode("ascii", "replace")).hexdigest()[:8]
    given = _UNSAFE.sub("_", (part.name or "").rpartition("/")[2]).strip(".")[-80:]
    return f"{digest}-{given or 'file' + _ENDINGS.get(part.media_type, '')}"

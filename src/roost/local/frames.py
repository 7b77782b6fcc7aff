"""The frames between the daemon and its worker: JSON with a length before each, over a socket pair."""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

import msgspec

_LENGTH = struct.Struct("!I")
_BLOCK = 1 << 16


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The worker's first frame. `weights`: names the content of the file at `path`. `states`: the folder of prefix
    states, or None to keep none."""

    path: str
    weights: str
    context: int
    threads: int
    batch: int
    repack: bool
    states: str | None


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Run a chat completion. `prefix` is the start of its messages that other conversations have too. `conversation`
    is the same for the calls of one conversation. With the body `NOTHING` only the prefix is brought into the slot."""

    id: int
    body: msgspec.Raw
    prefix: tuple[dict[str, str], ...] = ()
    conversation: str = ""


NOTHING = msgspec.Raw(b"null")


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop the call of that number at the next token, or within a batch of its prompt."""

    id: int


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The weights are in memory."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The weights cannot be loaded; the worker ends. `missing`: llama.cpp cannot be imported."""

    reason: str
    missing: bool = False


class Restoring(msgspec.Struct, frozen=True, tag="restoring"):
    """The worker reads this state file now. A worker that ends before its next frame was killed by the file."""

    path: str


class Chunk(msgspec.Struct, frozen=True, tag="chunk"):
    """A piece of what llama.cpp streams for the call `id`."""

    id: int
    data: msgspec.Raw


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The call is over. `error`: what llama.cpp raised."""

    id: int
    error: str | None = None


Down: TypeAlias = Load | Call | Cancel
Up: TypeAlias = Loaded | Refused | Restoring | Chunk | Ended

_encode = msgspec.json.Encoder().encode
decode_down = msgspec.json.Decoder(Down).decode
decode_up = msgspec.json.Decoder(Up).decode


def packed(frame: Down | Up) -> bytes:
    body = _encode(frame)
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Cuts what a socket brings into frames."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._held = bytearray()

    def whole(self) -> list[bytes]:
        """Receive once and return the frames that are whole now. Raises `EOFError` when the other side has ended."""
        try:
            block = self._source.recv(_BLOCK)
        except ConnectionError as error:
            raise EOFError from error
        if not block:
            raise EOFError
        self._held += block
        frames: list[bytes] = []
        start = 0
        while len(self._held) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held, start)
            end = start + _LENGTH.size + length
            if len(self._held) < end:
                break
            frames.append(bytes(self._held[start + _LENGTH.size : end]))
            start = end
        del self._held[:start]
        return frames

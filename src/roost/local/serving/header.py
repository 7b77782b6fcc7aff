"""What a GGUF file says of itself, from its head alone.

The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3), read in November 2026.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1024 * 1024
_MOST = 100_000
_ENCODERS = frozenset(
    {"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert"}
)
"""Architectures that only embed."""


class Header(msgspec.Struct, frozen=True):
    """`window`: tokens that the model was trained for; None if the file does not say. `embeds`: the model makes
    vectors."""

    architecture: str = ""
    window: int | None = None
    embeds: bool = False


def read_header(path: Path) -> Header:
    """Read the header; an empty one for a file that cannot be read up to its vocabulary."""
    try:
        with path.open("rb") as file:
            values = _values(file)
    except (OSError, ValueError, struct.error):
        return Header()
    architecture = str(values.get("general.architecture", ""))
    window = values.get(f"{architecture}.context_length")
    pooled = values.get(f"{architecture}.pooling_type", 0) not in (0, None)
    return Header(architecture, window if isinstance(window, int) else None, pooled or architecture in _ENCODERS)


def _values(file: BinaryIO) -> dict[str, Any]:
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2 or count > _MOST:
        raise ValueError("not a GGUF file of a version that is read here")
    values: dict[str, Any] = {}
    for _ in range(count):
        name = _string(file)
        if name.startswith("tokenizer."):
            # The vocabulary is long, and what counts stands before it.
            break
        (kind,) = struct.unpack("<I", file.read(4))
        values[name] = _value(file, kind)
    return values


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        inner, length = struct.unpack("<IQ", file.read(12))
        if length > _MOST or inner == _ARRAY:
            raise ValueError("a list that is too long")
        return [_value(file, inner) for _ in range(length)]
    if kind not in _NUMBERS:
        raise ValueError(f"a value of the unknown kind {kind}")
    form = _NUMBERS[kind]
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST:
        raise ValueError("a text that is too long")
    return file.read(length).decode("utf-8", "replace")

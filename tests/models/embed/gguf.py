"""Writes all-MiniLM-L6-v2 as a file for llama.cpp, so that the very same weights can be run by another engine.

The format: github.com/ggml-org/ggml, `docs/gguf.md`, version 3. The names: llama.cpp's for the architecture `bert`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
TOP = {
    "token_embd.weight": "embeddings.word_embeddings.weight",
    "position_embd.weight": "embeddings.position_embeddings.weight",
    "token_types.weight": "embeddings.token_type_embeddings.weight",
    "token_embd_norm.weight": "embeddings.LayerNorm.weight",
    "token_embd_norm.bias": "embeddings.LayerNorm.bias",
}
_UINT, _INT, _FLOAT, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_ALIGNED = 32


def write(weights: Path, vocabulary: Path, target: Path) -> None:
    raw = weights.read_bytes()
    head = int.from_bytes(raw[:8], "little")
    table: dict[str, Any] = msgspec.json.decode(raw[8 : 8 + head])
    names = TOP | {
        f"blk.{layer}.{ours}.{end}": f"encoder.layer.{layer}.{theirs}.{end}"
        for layer in range(6)
        for ours, theirs in LAYER.items()
        for end in ("weight", "bias")
    }
    infos, data, size = b"", list[bytes](), 0
    for ours, theirs in names.items():
        start, stop = table[theirs]["data_offsets"]
        shape = table[theirs]["shape"][::-1]
        infos += _text(ours) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, size)
        data += [raw[8 + head + start : 8 + head + stop], bytes((start - stop) % _ALIGNED)]
        size += len(data[-1]) + stop - start
    about = _about(vocabulary.read_text(encoding="utf-8").rstrip("\n").split("\n"))
    start = b"GGUF" + struct.pack("<IQQ", 3, len(names), len(about)) + b"".join(about) + infos
    target.write_bytes(b"".join([start, bytes(-len(start) % _ALIGNED), *data]))


def _about(pieces: list[str]) -> list[bytes]:
    counts = {"context_length": 512, "embedding_length": 384, "feed_forward_length": 1536, "block_count": 6}
    more = {"attention.head_count": 12, "pooling_type": 1}
    ids = {"unknown": 100, "seperator": 102, "padding": 0, "bos": 101, "eos": 102, "mask": 103}
    special = [piece.startswith("[") and piece.endswith("]") and len(piece) > 2 for piece in pieces]
    plain = [piece.removeprefix("##") if piece.startswith("##") else f"\u2581{piece}" for piece in pieces]
    tokens = [piece if mark else other for piece, other, mark in zip(pieces, plain, special, strict=True)]
    return [
        _pair("general.architecture", _STRING, _text("bert")),
        *(_pair(f"bert.{name}", _UINT, struct.pack("<I", value)) for name, value in (counts | more).items()),
        _pair("bert.attention.layer_norm_epsilon", _FLOAT, struct.pack("<f", 1e-12)),
        _pair("bert.attention.causal", _BOOL, b"\0"),
        _pair("tokenizer.ggml.model", _STRING, _text("bert")),
        _pair("tokenizer.ggml.tokens", _ARRAY, _array(_STRING, [_text(token) for token in tokens])),
        _pair(
            "tokenizer.ggml.token_type", _ARRAY, _array(_INT, [struct.pack("<i", 3 if mark else 1) for mark in special])
        ),
        _pair("tokenizer.ggml.token_type_count", _UINT, struct.pack("<I", 2)),
        *(_pair(f"tokenizer.ggml.{name}_token_id", _UINT, struct.pack("<I", value)) for name, value in ids.items()),
    ]


def _pair(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _array(kind: int, values: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw

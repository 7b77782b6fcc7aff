"""all-MiniLM-L6-v2 in numpy: a BERT of six layers whose last states are averaged over the text.

Published by sentence-transformers under Apache-2.0; shapes and numbers are those of its `config.json` and
`1_Pooling/config.json`. The texts of a call are laid end to end, so no padding is computed; only attention goes text by
text. The weights are mapped from the file: loading takes no time, and all processes of a machine share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SIZE = 384
WINDOW = 256
"""Tokens, as the model was trained (`max_seq_length`); its table of positions has 512."""
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_ROWS = 256
"""Rows of the widest table that are worked on at once, so that they stay in the processor's cache."""


class MiniLM:
    """`weights` by their names in the published file. May be used by several threads at once."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        import numpy as np

        self._weights = weights
        self._start = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._joined = [
            (
                np.concatenate([weights[f"encoder.layer.{n}.attention.self.{part}.weight"] for part in _QKV]).T.copy(),
                np.concatenate([weights[f"encoder.layer.{n}.attention.self.{part}.bias"] for part in _QKV]),
            )
            for n in range(_LAYERS)
        ]

    @classmethod
    def load(cls, path: Path) -> MiniLM:
        """Load a safetensors file. The file is trusted: verify it before."""
        import numpy as np

        mapped = np.memmap(path, dtype=np.uint8, mode="r")
        head = int.from_bytes(mapped[:8].tobytes(), "little")
        table: dict[str, Any] = msgspec.json.decode(mapped[8 : 8 + head].tobytes())
        weights: dict[str, Floats] = {}
        for name, about in table.items():
            if about.get("dtype") == "F32":
                start, end = about["data_offsets"]
                raw = mapped[8 + head + start : 8 + head + end]
                weights[name] = raw.view("<f4").reshape(about["shape"])
        return cls(weights)

    def vectors(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Return a row of length 1 for each text. Each text is given as its tokens: at least one and at most 512."""
        import numpy as np

        lengths = [len(ids) for ids in texts]
        ends = np.cumsum(lengths)
        flat = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in texts])
        places = np.concatenate([np.arange(length) for length in lengths])
        states = self._weights["embeddings.word_embeddings.weight"][flat] + self._start[places]
        states = self._normed(states, "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            states = self._layer(states, layer, lengths)
        means = np.add.reduceat(states, np.concatenate(([0], ends[:-1])), axis=0) / np.array(lengths)[:, None]
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype("<f4")

    def _layer(self, states: Floats, layer: int, lengths: list[int]) -> Floats:
        name = f"encoder.layer.{layer}"
        attended = self._dense(self._attended(states, layer, lengths), f"{name}.attention.output.dense")
        states = self._normed(states + attended, f"{name}.attention.output.LayerNorm")
        wide = self._dense(states, f"{name}.intermediate.dense")
        for start in range(0, len(wide), _ROWS):
            _gelu(wide[start : start + _ROWS])
        return self._normed(states + self._dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attended(self, states: Floats, layer: int, lengths: list[int]) -> Floats:
        import numpy as np

        weight, bias = self._joined[layer]
        # (tokens, query or key or value, head, numbers of a head)
        joined = (states @ weight + bias).reshape(len(states), 3, _HEADS, -1)
        joined[:, 0] *= joined.shape[-1] ** -0.5
        result = np.empty((len(states), _HEADS, joined.shape[-1]), dtype=np.float32)
        start = 0
        for length in lengths:
            query, key, value = joined[start : start + length].transpose(1, 2, 0, 3)
            scores = query @ key.transpose(0, 2, 1)
            scores -= scores.max(axis=-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            result[start : start + length] = (scores @ value).transpose(1, 0, 2)
            start += length
        return result.reshape(len(states), -1)

    def _dense(self, states: Floats, name: str) -> Floats:
        result: Floats = states @ self._weights[f"{name}.weight"].T
        result += self._weights[f"{name}.bias"]
        return result

    def _normed(self, states: Floats, name: str) -> Floats:
        import numpy as np

        states -= states.mean(axis=1, keepdims=True)
        spread = np.einsum("ij,ij->i", states, states)[:, None] / states.shape[1]
        states *= self._weights[f"{name}.weight"] / np.sqrt(spread + _EPSILON)
        states += self._weights[f"{name}.bias"]
        return states


_QKV = ("query", "key", "value")


def _gelu(values: Floats) -> None:
    """In place: x * (1 + erf(x / sqrt 2)) / 2, with the error function of Abramowitz and Stegun, formula 7.1.26
    (off by 1.5e-7 at most)."""
    import numpy as np

    size = np.abs(values) * np.float32(0.5**0.5)
    part = 1 / (1 + np.float32(0.3275911) * size)
    rest = np.full_like(part, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        rest *= part
        rest += np.float32(factor)
    rest *= part
    size *= -size
    rest *= np.exp(size, out=size)
    # `rest` is 1 - erf(|x|): half of it is what a negative number keeps, and what a positive one loses.
    rest *= np.float32(0.5)
    values *= np.where(values < 0, rest, 1 - rest)

"""Check vectors, bring them to length 1, and encode them as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roost.local.embed.base import Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from roost.local.embed.wire import Row

_NUMBER = 4
"""Bytes."""


class WrongSize(ValueError):
    """The vectors are complete and have another size than was asked for."""


def normalised(rows: Sequence[Row], count: int, size: int | None) -> list[Vector]:
    """Return `count` vectors of `size` numbers each; without `size`, of the one size that all have. Raises `WrongSize`,
    and `ValueError` for another count, mixed sizes, a value that is not finite, or a vector of zeros."""
    import numpy as np

    if len(rows) != count:
        raise ValueError(f"{len(rows)} vectors came for {count} texts")
    if not rows:
        return []
    numbers = [_numbers(row) for row in rows]
    if len({len(row) for row in numbers}) > 1 or not len(numbers[0]):
        raise ValueError("the vectors are of several sizes, or empty")
    if size is not None and len(numbers[0]) != size:
        raise WrongSize(f"its vectors have {len(numbers[0])} numbers, and not {size}")
    table = np.stack(numbers)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ValueError("a vector is zero or not finite")
    return [row.tobytes() for row in (table / lengths).astype("<f4")]


def size_of(vector: Vector) -> int:
    return len(vector) // _NUMBER


def _numbers(row: Row) -> NDArray[np.float64]:
    import numpy as np

    numbers = np.frombuffer(row, dtype="<f4") if isinstance(row, bytes) else np.asarray(row)
    return numbers.astype(np.float64)

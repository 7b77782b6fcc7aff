"""Vectors as everybody else here takes them: checked, of length 1, as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roost.llm.embed.base import Vector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from roost.llm.embed.wire import Row

_NUMBER = 4
"""Bytes."""


def normalised(rows: Sequence[Row], count: int, size: int | None) -> list[Vector]:
    """`count` vectors of `size` numbers each, or of whatever one size all have. Raises `ValueError` where they are not
    that, or hold what is no number, or have no direction."""
    import numpy as np

    if len(rows) != count:
        raise ValueError(f"{len(rows)} vectors came for {count} texts")
    if not rows:
        return []
    table = np.stack([_numbers(row) for row in rows]) if len({len(row) for row in rows}) == 1 else None
    if table is None or table.shape[1] == 0 or table.shape[1] != (size or table.shape[1]):
        raise ValueError(f"the vectors have not {size or 'all the same'} numbers")
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

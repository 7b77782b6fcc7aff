"""The contract of an embedder, and what one embedding costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.errors import RoostError
from roost.log.content import ErrorData, Usage
from roost.models.request import Bill, Budget, Price

Use: TypeAlias = Literal["document", "query"]
Vector: TypeAlias = bytes
"""Little-endian 32-bit floats, `Embedder.size` of them, of length 1."""


class Embedding(msgspec.Struct, frozen=True):
    """A job: embed `texts` for one `use`. Models without a difference between queries and documents ignore `use`. The
    job is charged to `budgets` and to those of `meta` (`session`, `agent`, `user`). `bill` receives the cost."""

    texts: Sequence[str]
    use: Use = "document"
    budgets: tuple[Budget, ...] = ()
    bill: Bill | None = None
    meta: dict[str, str] = {}


class EmbedFailed(RoostError):
    """The embedder returned no vectors. `error` has a failure code of `HttpModel`, `budget` or `price_unknown` of a
    `Meter`, or the code of the local model's failure."""

    status = 502

    def __init__(self, error: ErrorData) -> None:
        super().__init__(error.message, code=error.code)
        self.error = error


class Meter(Protocol):
    """Charges one call: `reserve` before it, `settle` once after it with its cost, which is 0 for a call that the
    provider refused."""

    async def reserve(self, tokens: int) -> None:
        """Reserve the price of at most `tokens`. Raises `EmbedFailed` with the code `budget` or `price_unknown`;
        retryable if only running calls hold the budget."""
        ...

    async def settle(self, usage: Usage) -> None: ...


Metering: TypeAlias = Callable[[str, Price | None, Embedding], Meter]
"""Makes the meter of one call from the embedder's name, its price and the job."""


class Embedder(Protocol):
    """`name` tells models apart whose vectors must not be mixed: account, model and size. `size` is the count of
    numbers in a vector; None until the first answer where nobody knows it before.

    `embed` returns one vector for each text, in their order; none for no texts. A text beyond the model's window is cut
    at its end. Raises `EmbedFailed`. May be called concurrently; a call that is cancelled stops at the provider.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int | None: ...

    async def embed(self, job: Embedding) -> list[Vector]: ...

    async def close(self) -> None: ...

"""What an embedder is."""

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
    """A job: `texts` of one `use`. Models that do not tell a query from a document ignore it. Charged to `budgets` and
    to those of `meta` (`session`, `agent`, `user`); `bill`, where there is one, learns what it cost."""

    texts: Sequence[str]
    use: Use = "document"
    budgets: tuple[Budget, ...] = ()
    bill: Bill | None = None
    meta: dict[str, str] = {}


class EmbedFailed(RoostError):
    """No vectors. `error` has one of the failure codes of `HttpModel`, `budget` or `price_unknown` of a `Meter`, or the
    code of what kept the local model from running."""

    status = 502

    def __init__(self, error: ErrorData) -> None:
        super().__init__(error.message, code=error.code)
        self.error = error


class Meter(Protocol):
    """Charges one call: `reserve` before it, `settle` once after it, with what it cost, which is 0 where the provider
    refused it."""

    async def reserve(self, tokens: int) -> None:
        """Sets aside what at most `tokens` cost. Raises `EmbedFailed` with the code `budget` or `price_unknown`;
        retryable where only calls that are under way stand in the way."""
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

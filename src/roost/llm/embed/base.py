"""What an embedder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from roost.llm.ir import Bill, Budget

Use: TypeAlias = Literal["document", "query"]
Vector: TypeAlias = bytes
"""Little-endian 32-bit floats, `Embedder.size` of them, of length 1."""


class Embedding(msgspec.Struct, frozen=True):
    """A job: `texts` of one `use`. Models that do not tell a query from a document ignore it. Charged to `budgets`;
    `bill`, where there is one, learns what it cost."""

    texts: Sequence[str]
    use: Use = "document"
    budgets: tuple[Budget, ...] = ()
    bill: Bill | None = None


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

"""What is one for the whole cluster: settings, duties, budgets, rates. `roost.testing.shared` is the conformance suite.

These are the seams for whatever must not happen once per node: one poller per channel token, one ledger per budget, one
rate per provider account.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from roost.errors import Invalid

_SURROGATES = 0xD800
_PAST_SURROGATES = 0xE000


class Charge(NamedTuple):
    """`amount` (nano-dollars, tokens, steps: whole units) on a budget, which with it may hold at most `limit`."""

    budget: str
    amount: int
    limit: int | None = None


class Balance(NamedTuple):
    spent: int
    reserved: int


class Shared(Protocol):
    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        """A value that all nodes see. The first that is given stays for ever, unless a later one is to `replace` it.
        Returns what holds now."""
        ...

    async def hold(self, name: str, node: str) -> int | None:
        """Be the one node that does `name`, for as long as it lives (`Dispatcher.beat`) or until it drops it. Returns a
        fence above zero that grows with every change of the holder; None while another living node holds it. The
        holder may ask again and gets the same fence."""
        ...

    async def drop(self, name: str, node: str) -> None:
        """Let go of a duty. Nothing happens when another holds it."""
        ...

    async def reserve(self, id: str, charges: Sequence[Charge]) -> str | None:
        """Before spending: set the amounts of all charges aside, or none. Returns the budget that refused, None when
        the reservation `id` stands. The same `id` again changes nothing."""
        ...

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        """After spending: what was really spent on each budget takes the place of what was reserved; what is not named
        was 0. Once: settling again, or what was never reserved, changes nothing. A settled `id` is forgotten: reserved
        again it is a new reservation, and is settled on its own."""
        ...

    async def balance(self, budget: str) -> Balance:
        """Zero for a budget that nobody charged."""
        ...

    async def balances(self, prefix: str) -> dict[str, Balance]:
        """Of every budget whose name begins so and on which something is spent or reserved."""
        ...

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        """The reservations that are not settled, by their ids that begin so: what each set aside, by budget."""
        ...

    async def forget(self, budget: str) -> None:
        """What it counted is over. Nothing happens while something is reserved on it."""
        ...

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        """From a token bucket that fills with `rate` a second up to `burst`: 0.0 when `amount` was taken, else the
        seconds after which to ask again, with nothing taken. Raises `Invalid` when there is no such moment: `amount` is
        negative or exceeds `burst`, or `rate` is not above zero."""
        ...


def beginning(prefix: str) -> tuple[str, str | None]:
    """The names that begin so, in the order of code points, which is that of UTF-8 too: from the first text up to the
    second, which is not one of them; None: to the end."""
    for place in range(len(prefix) - 1, -1, -1):
        after = ord(prefix[place]) + 1
        if after <= sys.maxunicode:
            return prefix, prefix[:place] + chr(_PAST_SURROGATES if after == _SURROGATES else after)
    return prefix, None


def check_take(bucket: str, amount: float, rate: float, burst: float) -> None:
    """For `Shared.take`. Raises `Invalid`."""
    if not 0 <= amount <= burst:
        raise Invalid(f"bucket {bucket!r} never holds {amount}: ask for at most its burst of {burst}")
    if not rate > 0:
        raise Invalid(f"bucket {bucket!r} never fills at a rate of {rate}: give one above zero")

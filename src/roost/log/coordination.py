"""What exists once for all nodes: settings, duties and rates. `roost.testing.shared` is the conformance suite.

Use it for anything that must not exist once per node: one poller per channel token, one rate per provider account.
"""

from __future__ import annotations

from typing import Protocol

from roost.errors import Invalid


class Coordination(Protocol):
    """The part of a store that nodes agree by."""

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        """Set a value that all nodes see, and return the value in force; `value` None only reads. The first value stays
        for ever, unless a later call passes `replace`."""
        ...

    async def hold(self, name: str, node: str) -> int | None:
        """Become the one node with the duty `name`, for as long as the node lives (`Dispatcher.beat`) or until it drops
        it. Returns a fence above zero that grows with every change of holder; None while another living node holds the
        duty. A repeated call of the holder gets the same fence."""
        ...

    async def drop(self, name: str, node: str) -> None:
        """Give up a duty. Does nothing when another node holds it."""
        ...

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        """Take `amount` from a token bucket that fills with `rate` a second up to `burst`. Returns 0.0 when taken, else
        the seconds to wait before the next try, with nothing taken. Raises `Invalid` when no wait can help: `amount` is
        negative or exceeds `burst`, or `rate` is not above zero."""
        ...


def check_take(bucket: str, amount: float, rate: float, burst: float) -> None:
    """Check the arguments of `Coordination.take`. Raises `Invalid`."""
    if not 0 <= amount <= burst:
        raise Invalid(f"bucket {bucket!r} never holds {amount}: ask for at most its burst of {burst}")
    if not rate > 0:
        raise Invalid(f"bucket {bucket!r} never fills at a rate of {rate}: give one above zero")

"""What is one for the whole cluster: settings, duties, budgets, rates. `roost.testing.shared` is the conformance suite.

These are the seams for whatever must not happen once per node: one poller per channel token, one ledger per budget, one
rate per provider account.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

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


SettledBy: TypeAlias = Literal["end", "hand", "report"]
"""Who said what a lost call has cost: its own end, which came late; a person; the provider's usage report."""


class CallNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a reservation is for, so that another process can bound the cost of a call whose process died. Persisted.

    `owner`: the node that makes the call. `started`: wall time. `cost`: nano-dollars that it has cost before a word of
    its answer. `rate`: nano-dollars that its answer may cost in a second. `window`: seconds for which its owner may go
    on with it after its last progress. `lasting`: those of its budgets that a later correction changes.
    """

    owner: str
    started: float
    model: str | None = None
    session: str | None = None
    agent: str | None = None
    user: str | None = None
    cost: int = 0
    rate: int = 0
    window: float = 0.0
    lasting: tuple[str, ...] = ()


class OpenCall(NamedTuple):
    """A reservation that is not settled. `amounts`: what it set aside, by budget. `note` is None where a version before
    notes reserved it. `cost`: nano-dollars by its last progress, `idle` seconds ago. `gone`: its owner's process is not
    there any more; False also where that process stands still."""

    id: str
    amounts: dict[str, int]
    note: CallNote | None
    cost: int
    idle: float
    gone: bool


class LostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose process died before its end. `charged`: nano-dollars that it was counted with then; `cost`: those
    that it counts with now, the truth once it is `settled`. `told`: whether its session's log has it. `provider_id`:
    the id that the provider gave its answer, where it was noted in time."""

    id: str
    started: float
    lost_at: float
    reserved: int
    charged: int
    cost: int
    settled: SettledBy | None = None
    told: bool = False
    owner: str = ""
    model: str | None = None
    session: str | None = None
    agent: str | None = None
    user: str | None = None
    lasting: tuple[str, ...] = ()
    provider_id: str | None = None


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

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        """Before spending: set the amounts of all charges aside, or none. Returns the budget that refused, None when
        the reservation `id` stands. The same `id` again changes nothing. `note` is kept until it is settled."""
        ...

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        """Note what calls under way have cost so far, by their ids. A cost never falls. `provider_ids`: the ids that
        their providers gave the answers, of those in `costs`. Nothing happens to calls that are settled or lost, or
        were reserved without a note."""
        ...

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        """After spending: what was really spent on each budget takes the place of what was reserved; what is not named
        was 0. Once: settling again, or what was never reserved, changes nothing. A settled `id` is forgotten: reserved
        again it is a new reservation, and is settled on its own. A lost call that is not settled yet is corrected
        (`correct`, by its `end`) to the largest of `amounts`."""
        ...

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        """Settle a call that can have no end any more with `cost` on each of its budgets, and keep it among the lost
        ones under `note`. False, and nothing has changed, where nothing is reserved under `id`."""
        ...

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        """Set what a lost call has cost: the difference is added to its lasting budgets. Returns the call as it is now.
        None, and nothing has changed, where no lost call has this id, or, without `again`, where it is settled."""
        ...

    async def tell(self, ids: Sequence[str]) -> None:
        """Note that the logs of their sessions have these lost calls."""
        ...

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        """Return the lost calls whose ids begin so, the oldest loss first; with `started` those that began from the
        first wall time up to the second, found by an index."""
        ...

    async def prune_lost(self, before: float) -> int:
        """Remove the settled lost calls that began before this wall time. The budgets keep what they cost. Returns
        how many there were."""
        ...

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        """The reservations that are not settled and whose ids begin so, by id."""
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

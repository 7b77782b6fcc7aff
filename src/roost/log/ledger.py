"""Budgets and model calls, as a store keeps them for all nodes: every cost is reserved before it is spent.
`roost.testing.shared` is the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec


class Charge(NamedTuple):
    """amount: whole units (nano-dollars, tokens, steps) to reserve on a budget. limit: the most that the budget may
    hold, this charge included."""

    budget: str
    amount: int
    limit: int | None = None


class Balance(NamedTuple):
    """Amounts on a budget, spent and reserved, in whole units."""

    spent: int
    reserved: int


SettledBy: TypeAlias = Literal["end", "hand", "report"]
"""Source of a lost call's final cost. end: its own late end. hand: a person. report: the provider's usage report."""


class CallNote(msgspec.Struct, frozen=True, kw_only=True):
    """Describes a reservation, so that another process can bound the cost of a call whose process died. Persisted.

    owner: the node that makes the call. started: wall time. cost: nano-dollars spent before the answer starts. rate:
    nano-dollars that a second of the answer may cost. window: seconds that the owner may continue after its last
    progress. lasting: those of its budgets that a later correction changes.
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
    """An unsettled reservation. amounts: reserved units by budget. note: None if a version before notes reserved it.
    cost: nano-dollars at its last progress. idle: seconds since then. gone: the owner's process no longer exists, or
    there is no note; False also while that process is suspended."""

    id: str
    amounts: dict[str, int]
    note: CallNote | None
    cost: int
    idle: float
    gone: bool


class LostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose process died before it ended. charged: nano-dollars that it was settled with at the loss. cost:
    nano-dollars that it counts with now; final once `settled`. told: its session's log has it. provider_id: the
    provider's id of the answer, if it was noted in time."""

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


class LedgerRows(Protocol):
    """The part of a store that keeps budgets, reservations and lost calls. `roost.money.ledger` decides what is
    charged to them."""

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        """Before spending, reserve the amounts of all charges or none. Returns the budget that refused, None when the
        reservation `id` stands. A repeated `id` changes nothing. note: kept until the reservation is settled."""
        ...

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        """Note the cost so far of running calls, by their ids. A cost never falls. provider_ids: the providers' ids of
        the answers, for calls in `costs`. Calls that are settled or lost, or were reserved without a note, are
        ignored."""
        ...

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        """After spending, replace the reserved amount on each budget by the amount spent; a budget not in `amounts`
        gets 0. Settling an unknown or settled `id` changes nothing. A settled `id` is forgotten: reserving it again
        makes a new reservation with its own settlement. A lost call that is not settled yet is corrected (`correct`, by
        its `end`) to the largest of `amounts`."""
        ...

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        """Settle a call that can no longer end with `cost` on each of its budgets, and keep it as a lost call under
        `note`. Returns False and changes nothing when no reservation has this `id`."""
        ...

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        """Set the cost of a lost call, and add the difference to its lasting budgets. Returns the updated call. Returns
        None and changes nothing when no lost call has this id or, without `again`, when it is settled."""
        ...

    async def tell(self, ids: Sequence[str]) -> None:
        """Mark these lost calls as present in their sessions' logs."""
        ...

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        """Return the lost calls whose ids start with `prefix`, oldest loss first; with `started`, those that began from
        the first wall time up to the second (uses an index)."""
        ...

    async def prune_lost(self, before: float) -> int:
        """Remove settled lost calls that began before this wall time. Budgets keep their costs. Returns the number
        removed."""
        ...

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        """Return the unsettled reservations whose ids start with `prefix`, by id."""
        ...

    async def balance(self, budget: str) -> Balance:
        """Return the balance; zero for a budget that was never charged."""
        ...

    async def balances(self, prefix: str) -> dict[str, Balance]:
        """Return every budget whose name starts with `prefix` and that has something spent or reserved."""
        ...

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        """Return the unsettled reservations whose ids start with `prefix`: reserved amounts by id and budget."""
        ...

    async def forget(self, budget: str) -> None:
        """Remove a budget. Does nothing while something is reserved on it."""
        ...

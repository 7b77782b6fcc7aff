"""How many terminals a node runs, and for whom."""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from roost.errors import Conflict

MOST_OF_NODE = 256
MOST_OF_ACCOUNT = 16
"""Most terminals of a node, and of one account's sessions there, that run or are about to."""


class Counted(Protocol):
    """The terminals of a session. count: those that run, or are about to."""

    account: str | None

    @property
    def count(self) -> int: ...


class NodeTerminals:
    """The terminals of the sessions that are awake on a node."""

    def __init__(self) -> None:
        self._sessions = WeakSet[Counted]()

    def add(self, session: Counted) -> None:
        self._sessions.add(session)

    def check(self, account: str | None) -> None:
        """Raise `Conflict` if one more for this account is too many."""
        counts = [(one.account, one.count) for one in self._sessions]
        of_account = sum(count for owner, count in counts if owner == account)
        too_many = sum(count for _, count in counts) >= MOST_OF_NODE
        if too_many or (account is not None and of_account >= MOST_OF_ACCOUNT):
            raise Conflict("too many terminals are open: end some first", code="too_many_terminals")

"""The sessions of an account at the seams of the loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roost.agent.feature import Feature, TurnEnd
from roost.agent.session import Session


class SessionAccount:
    """The account of a session. valid: whether it is there and enabled. Raises `StoreFailed`."""

    def __init__(self, name: str, valid: Callable[[], Awaitable[bool]]) -> None:
        self.name, self.valid = name, valid


class Accounts(Feature):
    """End the turns of an account that is gone or disabled, before a model is called."""

    def used(self, session: Session) -> bool:
        return session.means.find(SessionAccount) is not None

    async def before_model(self, session: Session) -> TurnEnd | None:
        account = session.means.find(SessionAccount)
        if account is None or await account.valid():
            return None
        return TurnEnd("failed", f"account_ended: the account {account.name!r} is gone or disabled")


FEATURE = Accounts()

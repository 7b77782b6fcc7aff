"""Credentials, at the seams of the loop."""

from __future__ import annotations

from roost.agent.feature import Feature
from roost.agent.session import Session
from roost.features.credentials.ports import CredentialLoader


class SessionVaults(Feature):
    """Read the credentials of the session's vaults as each turn begins, so that a changed or deleted one counts from
    then on."""

    def used(self, session: Session) -> bool:
        return bool(session.spec.vaults)

    async def enter_turn(self, session: Session) -> None:
        loader = session.means.find(CredentialLoader)
        if loader is not None:
            await loader.load()


FEATURE = SessionVaults()

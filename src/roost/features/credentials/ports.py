"""The port by which a session's turn loads its credentials."""

from __future__ import annotations

from abc import ABC, abstractmethod


class CredentialLoader(ABC):
    @abstractmethod
    async def load(self) -> None:
        """Read the credentials of the session's vaults as they are now. Raises `StoreFailed`."""

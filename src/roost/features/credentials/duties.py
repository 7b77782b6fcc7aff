"""Give sessions the credentials of their vaults, at the seams of the node."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.agent.session_credentials import SessionCredentials
from roost.kernel.node_feature import NodeFeature

if TYPE_CHECKING:
    from roost.features.credentials.credentials import Credentials


class CredentialsDuties(NodeFeature):
    """credentials: those of the store. Nothing is loaded before the first use."""

    @cached_property
    def credentials(self) -> Credentials:
        from roost.features.credentials.credentials import Credentials

        return Credentials(self.host.store.documents, self.host.sealing())

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not spec.vaults:
            return
        from roost.features.credentials.ports import CredentialLoader
        from roost.features.credentials.session import VaultLoader

        own = SessionCredentials()
        resources.give(own)
        resources.give(VaultLoader(self.credentials, spec.vaults, resources.account, own), CredentialLoader)


NODE = CredentialsDuties

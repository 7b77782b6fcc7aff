"""The directory of accounts at the seams of the node, and what an account may spend."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.accounts.behaviour import SessionAccount
from roost.kernel.node_feature import Host, NodeFeature

if TYPE_CHECKING:
    from roost.features.accounts.audit import Trail
    from roost.features.accounts.directory import Directory


class AccountDuties(NodeFeature):
    """Tell the ledger the budgets of accounts, and their sessions whether the account is still valid. Their sessions
    alone ask: without accounts nothing is read."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        host.model_pool.ledger.account_budget = self._budget

    @cached_property
    def directory(self) -> Directory:
        """The accounts of the store, made when they are first asked for."""
        from roost.features.accounts.directory import Directory

        return Directory(self.host.store.documents)

    @cached_property
    def trail(self) -> Trail:
        """The way into the audit trail."""
        from roost.features.accounts.audit import Trail

        return Trail(self.host.store.documents)

    async def close(self) -> None:
        if "trail" in vars(self):
            await self.trail.close()
        if "directory" in vars(self):
            self.directory.close()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if (account := resources.account) is not None:

            async def valid() -> bool:
                found = await self.directory.account(account)
                return found is not None and found.enabled

            resources.give(SessionAccount(account, valid))

    async def _budget(self, account: str) -> float | None:
        found = await self.directory.account(account)
        return found.limits.budget if found is not None and found.enabled else 0.0


NODE = AccountDuties

"""The packages of a node's store."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.agent_files import PACKAGED
from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.packages.ports import SessionPackages
from roost.kernel.node_feature import Host, NodeFeature
from roost.log.documents import DocumentQuery
from roost.threads import finished_in_thread

if TYPE_CHECKING:
    from roost.features.packages.installed import Packages


class PackageDuties(NodeFeature):
    """Makes what handles packages when it is first needed: importing that takes time."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._host, self._home = host, host.resources.home_folder
        self._projecting = asyncio.Lock()

    @cached_property
    def packages(self) -> Packages:
        """The packages of the store."""
        return packages_of(self._host)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if spec.packages:
            resources.give(self.packages, SessionPackages)

    async def start(self) -> None:
        """Write the agents again: a crash, or another node, may have changed what is accepted."""
        known = await self._host.store.documents.find(DocumentQuery(kind="package", limit=1))
        if known or (self._home / PACKAGED).is_dir():
            await self.project_agents()

    async def project_agents(self) -> None:
        """Write the agents of all accepted packages where this home looks for agent files."""
        from roost.features.packages.agent_files import write_agents

        async with self._projecting:  # the last one has read the last acceptance
            folders = await self.packages.active_folders()
            await finished_in_thread(lambda: write_agents(folders, self._home / PACKAGED))


def packages_of(host: Host) -> Packages:
    """Return the packages of a node's store."""
    from roost.features.packages.installed import Packages

    resources = host.resources
    return Packages(host.store.documents, lambda: resources.objects(), resources.home_folder / "packages")


NODE = PackageDuties

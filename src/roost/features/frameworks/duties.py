"""Environments and sources of agents of frameworks, at the seams of the node."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.kernel.node_feature import Host, NodeFeature
from roost.kernel.peers import Secret
from roost.sandbox.backend import SandboxSpec

if TYPE_CHECKING:
    from roost.features.frameworks.installations import InstalledAgents


class FrameworkDuties(NodeFeature):
    """Give sessions what their agents run with, and their sandboxes a view of it."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._installed: InstalledAgents | None = None
        self._secret = Secret(host.store.coordination)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if spec.framework is not None and (resources.account is None or self._is_of_the_home(spec)):
            from roost.features.frameworks.ports import Installations

            resources.give(self._made(), Installations)
            if spec.framework == "termo-agent":
                from roost.features.frameworks.route_messages import RouteMessages

                resources.give(RouteMessages(self._secret.value), RouteMessages)

    def furnish(self, spec: AgentSpec, sandbox: SandboxSpec) -> SandboxSpec:
        if spec.framework is None:
            return sandbox
        return msgspec.structs.replace(sandbox, reads=(*sandbox.reads, *self._made().folders(spec)))

    async def tidy(self) -> None:
        if await asyncio.to_thread((self.host.resources.home_folder / "frameworks").is_dir):
            await asyncio.to_thread(self._made().tidy)

    async def close(self) -> None:
        if self._installed is not None:
            await self._installed.warm.stop()

    def _is_of_the_home(self, spec: AgentSpec) -> bool:
        """Whether the home itself defines what the agent runs. A definition by an account
        must not read folders of this machine, or install packages."""
        known = self.host.agents.find(spec.name)
        return known is not None and _runs(known) == _runs(spec)

    def _made(self) -> InstalledAgents:
        from roost.features.frameworks.installations import InstalledAgents

        if self._installed is None:
            self._installed = InstalledAgents(self.host.resources.home_folder, self.host.store.documents)
        return self._installed


def _runs(spec: AgentSpec) -> tuple[object, ...]:
    return (spec.framework, spec.object, spec.source, spec.requirements, spec.replay, spec.public_routes)


NODE = FrameworkDuties

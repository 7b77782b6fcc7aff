"""Let sessions write by bots, at the seams of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.bots import TOOLS
from roost.kernel.node_feature import Host, NodeFeature


class BotDuties(NodeFeature):
    """Give the sessions whose agents may write a post. opened: closes what the door has opened, by its name."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.opened: dict[str, Callable[[], Awaitable[None]]] = {}

    async def close(self) -> None:
        opened, self.opened = self.opened, {}
        for close in opened.values():
            await close()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not set(TOOLS) & set(spec.tools):
            return
        from roost.features.bots.post import BotPost

        store = self.host.store
        home = self.host.resources.home_folder
        resources.give(BotPost(store.documents, store.coordination, home, resources.account))


NODE = BotDuties

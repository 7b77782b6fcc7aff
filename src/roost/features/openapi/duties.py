"""The documents of APIs, at the seams of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.kernel.node_feature import Host, NodeFeature

if TYPE_CHECKING:
    from roost.features.openapi.documents import ApiDocuments


class OpenApiDuties(NodeFeature):
    """Give sessions the documents of their APIs. They are made for the first session that has one."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._documents: ApiDocuments | None = None

    async def close(self) -> None:
        if self._documents is not None:
            await self._documents.close()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not spec.openapi:
            return
        if self._documents is None:
            from roost.features.openapi.documents import ApiDocuments

            self._documents = ApiDocuments(self.host.store.documents, self.host.sandboxes.process)
        resources.give(self._documents)


NODE = OpenApiDuties

"""Give sessions the memory stores that they have mounted, at the seams of the node."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.kernel.node_feature import NodeFeature

if TYPE_CHECKING:
    from roost.features.memory_stores.memories import Memories, MemoryStore
    from roost.log.records import Records


class MemoryStoresDuties(NodeFeature):
    """memories, stores: those of the store. Nothing is loaded before the first use."""

    @cached_property
    def memories(self) -> Memories:
        from roost.features.memory_stores.memories import Memories

        return Memories(self.host.store.documents)

    @cached_property
    def stores(self) -> Records[MemoryStore]:
        from roost.features.memory_stores.memories import MemoryStore
        from roost.log.records import Records

        return Records(self.host.store.documents, MemoryStore)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not spec.memory_stores:
            return
        from roost.features.memory_stores.mounts import SessionStores

        account = resources.account
        port = SessionStores(session, spec.memory_stores, account, lambda: self.memories, lambda: self.stores)
        resources.give(port)


NODE = MemoryStoresDuties

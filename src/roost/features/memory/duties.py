"""The index of facts and its embedder, at the seams of the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.errors import ConfigError
from roost.features.memory.check_facts import FactsCheck
from roost.kernel.node_feature import Host, NodeFeature
from roost.local.embed.base import Embedder
from roost.memory.index import Index
from roost.memory.search import Search

if TYPE_CHECKING:
    from roost.providers.embedders import Embedders


class MemoryDuties(NodeFeature):
    """Give sessions the search over facts. The embedder is made at first use; the home's folder `memory` holds the
    vectors."""

    checks = FactsCheck

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._embedders: Embedders | None = None
        self.index = Index(host.store.facts, self._embedder, host.resources.home_folder / "memory")
        self.search = Search(host.store.facts, self.index)

    async def close(self) -> None:
        await self.index.close()
        if self._embedders is not None:
            await self._embedders.close()

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(self.search)

    def _embedder(self) -> Embedder:
        """Return the embedder. Blocks. Never downloads weights: a turn must not begin with a download."""
        from roost.local.catalog import EMBEDDING, lookup
        from roost.local.embed.local import NAME
        from roost.local.weights import is_here
        from roost.providers.embedders import Embedders

        if self._embedders is None:
            self._embedders = Embedders(self.host.models, metering=self.host.model_pool.ledger.meter)
        embedder = self._embedders.resolve(None)
        if embedder.name == NAME and not is_here(lookup(EMBEDDING)):
            raise ConfigError(
                f"the embedding model is not on this machine: `roost pull {EMBEDDING}`, or name another as"
                " embeddings.default in models.toml"
            )
        return embedder


NODE = MemoryDuties

"""Files of checkpoints and forks, at the seams of the node."""

from __future__ import annotations

from roost.features.checkpoints.fork_files import ForkFiles
from roost.kernel.node_feature import Host, NodeFeature


class CheckpointDuties(NodeFeature):
    """Keep the snapshots that forks began with, also after the session that made them is deleted."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.forks = ForkFiles(host.store, host.resources, host.place, host.peers)

    async def hand_on(self, session: str) -> None:
        await self.forks.pass_on(session)


NODE = CheckpointDuties

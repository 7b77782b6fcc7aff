"""Files of checkpoints and forks, at the seams of the node."""

from __future__ import annotations

import logging
from functools import partial

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.errors import RoostError
from roost.features.checkpoints.fork_files import ForkFiles
from roost.features.checkpoints.ports import Past
from roost.kernel.node_feature import Host, NodeFeature
from roost.kernel.state_loader import state_at

log = logging.getLogger("roost.deletion")


class CheckpointDuties(NodeFeature):
    """Keep the snapshots that forks began with, also after the session that made them is deleted."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.forks = ForkFiles(host.store, host.resources, host.place, host.peers)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(Past(partial(state_at, self.host.store, session), partial(self._lend, session)))

    async def _lend(self, session: str) -> bool:
        try:
            await self.hand_on(session)
        except (RoostError, OSError) as error:
            log.warning("session %s: its snapshots are still kept, for its forks: %s", session, error)
            return False
        return True

    async def hand_on(self, session: str) -> None:
        await self.forks.pass_on(session)


NODE = CheckpointDuties

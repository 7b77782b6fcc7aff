"""Replays, at the seams of the node."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from roost.kernel.node_feature import NodeFeature

if TYPE_CHECKING:
    from roost.features.replay.live_files import LiveFolders


class ReplayDuties(NodeFeature):
    """Keep the folders of live tools, and remove what a crash left of them."""

    @cached_property
    def folders(self) -> LiveFolders:
        from roost.features.replay.live_files import LiveFolders

        return LiveFolders(self.host.resources)

    async def tidy(self) -> None:
        if await asyncio.to_thread((self.host.resources.home_folder / "replays").is_dir):
            await asyncio.to_thread(self.folders.tidy)

    async def close(self) -> None:
        if "folders" in vars(self):
            self.folders.close()


NODE = ReplayDuties

"""The indexes of a node, and the ports by which sessions search their files, read versions of them, and share them."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import NamedTuple

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.agent.state import State
from roost.authority import Authority
from roost.errors import ConfigError, NotFound
from roost.features.checkpoints.file_history import history_of
from roost.features.checkpoints.file_views import OtherKind, read_version
from roost.features.checkpoints.state import CheckpointState
from roost.features.files.indexes import FileIndexes
from roost.features.files.ports import SessionFiles, SharedFile, Version
from roost.features.files.protocols import FoundFiles, How
from roost.features.files.sharing import Sharing
from roost.features.uploads.blobs import Blobs
from roost.features.uploads.uploads import Uploads
from roost.kernel.node_feature import Host, NodeFeature
from roost.kernel.placement import NodeLocation
from roost.kernel.resources import ResourceFactory
from roost.local.embed.base import Embedder
from roost.log.store import Store
from roost.workspace.files import Workspace

CATCH_UP_SECONDS = 3.0
"""How long a search waits until the index has taken in what changed."""


class _Files(NamedTuple):
    """Implements `FilesHost` for sessions."""

    resources: ResourceFactory
    place: NodeLocation
    tenants: Store


class FileDuties(NodeFeature):
    """Keep the indexes in the home's folder `files`. Each is made at its first search, and can be removed."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._local: Embedder | None = None

    @cached_property
    def indexes(self) -> FileIndexes:
        resources = self.host.resources
        kept = resources.home_folder / "files"
        return FileIndexes(kept, rules=lambda: resources.policy.rules, embedder=self._embedder)

    @cached_property
    def sharing(self) -> Sharing:
        resources, store = self.host.resources, self.host.store
        uploads = Uploads(
            store.documents,
            Blobs(resources.objects),
            home=self.host.place.home,
            shared=resources.carrier is not None,
        )
        return Sharing(store.documents, store.coordination, uploads)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(_SessionFiles(self), SessionFiles)

    async def search(
        self, workspace: Workspace, query: str, *, how: How = "hybrid", under: str = "", limit: int = 10
    ) -> FoundFiles:
        """Search a workspace. What its policy holds back from searches is left out. Raises `RoostError`, `OSError`."""
        root = workspace.place
        if not await asyncio.to_thread(root.is_dir):
            return FoundFiles(hits=[], how="words", why="the folder is empty")
        index = await self.indexes.of(root)
        await index.caught_up(CATCH_UP_SECONDS)
        held = [test for tool in ("read_file", "search_files") if (test := workspace.unseen(tool, root)) is not None]
        return await index.search(query, how=how, under=under, limit=limit, held=held)

    async def close(self) -> None:
        if "indexes" in vars(self):
            await self.indexes.close()
        if self._local is not None:
            await self._local.close()

    async def tidy(self) -> None:
        await self.indexes.tidy()
        await self.sharing.tidy()

    def _embedder(self) -> Embedder:
        """Return the embedder of this machine. Never downloads weights. Blocks."""
        from roost.local.catalog import EMBEDDING, lookup
        from roost.local.embed.local import LocalEmbedder
        from roost.local.weights import is_here

        if self._local is None:
            if not is_here(lookup(EMBEDDING)):
                raise ConfigError(
                    f"the embedding model is not on this machine, so files are searched by words: `roost pull"
                    f" {EMBEDDING}` fetches it"
                )
            self._local = LocalEmbedder()
        return self._local


class _SessionFiles(SessionFiles):
    def __init__(self, duties: FileDuties) -> None:
        self._duties = duties
        host = duties.host
        self._files = _Files(host.resources, host.place, host.store)

    async def search(self, workspace: Workspace, query: str, *, how: How, under: str, limit: int) -> FoundFiles:
        return await self._duties.search(workspace, query, how=how, under=under, limit=limit)

    async def versions(self, session: str, now: State, path: str, limit: int) -> list[Version]:
        info = await self._files.tenants.sessions.get(session)
        found = await history_of(self._files, info, now, path, before=None, limit=limit)
        return [
            Version(one.seq, one.label, one.change, one.file and one.file.size, one.made_at) for one in found.versions
        ]

    def position(self, now: State, at: str | int) -> int:
        if isinstance(at, int) or at.isdecimal():
            return int(at)
        for one in reversed(now.part(CheckpointState).checkpoints):
            if one.label == at:
                return one.seq
        raise NotFound(f"there is no checkpoint {at!r}; file_history shows the versions", code="no_checkpoint")

    async def version(self, session: str, now: State, path: str, at: int) -> bytes | None:
        info = await self._files.tenants.sessions.get(session)
        try:
            return await read_version(self._files, info, now, path, at)
        except NotFound as error:
            if error.code != "no_file" or isinstance(error, OtherKind):
                raise
            return None

    async def share(
        self, session: str, account: str | None, path: str, data: bytes, *, seconds: float, key: str
    ) -> SharedFile:
        sharing = self._duties.sharing
        who = Authority(account=account)
        record = await sharing.make(who, path, session, data, seconds=seconds, key=key)
        return SharedFile(record.id, await sharing.link(record), record.expires)


NODE = FileDuties

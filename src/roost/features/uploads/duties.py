"""The uploaded files of a node's store, and the port by which sessions read them."""

from __future__ import annotations

from functools import cached_property

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.uploads.blobs import Blobs
from roost.features.uploads.ports import UploadedFiles
from roost.features.uploads.uploads import ReadUploads, Uploads
from roost.kernel.node_feature import NodeFeature


class UploadDuties(NodeFeature):
    """Let sessions read uploaded files, and doors take them. Delete those that are due."""

    @cached_property
    def uploads(self) -> Uploads:
        resources = self.host.resources
        documents = self.host.store.documents
        shared = resources.carrier is not None
        return Uploads(documents, Blobs(resources.objects), home=self.host.place.home, shared=shared)

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        resources.give(ReadUploads(lambda: self.uploads), UploadedFiles)

    async def tidy(self) -> None:
        await self.uploads.tidy()


NODE = UploadDuties

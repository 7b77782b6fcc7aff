"""Give sessions the skills that their node knows."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.packages.duties import packages_of
from roost.features.skills.acceptances import Acceptances
from roost.features.skills.finder import SkillFinder, user_home
from roost.features.skills.folders import UPLOADED
from roost.features.skills.session_skills import uses_skills
from roost.kernel.node_feature import Host, NodeFeature

if TYPE_CHECKING:
    from roost.features.packages.installed import Packages
    from roost.features.skills.uploaded import UploadedSkills

_FRESH = 2.0
"""Seconds for which a list of packages counts."""


class SkillsDuties(NodeFeature):
    """finder: finds the skills of this node. acceptances: what people accepted."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        home = self._home = host.resources.home_folder
        self.acceptances = Acceptances(host.store.documents)
        self._host = host
        self._folders: tuple[float, Sequence[Path]] = (-_FRESH, ())
        self.finder = SkillFinder(home, self._package_folders, self.acceptances.which, user_home())

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        if not uses_skills(spec):
            return
        if not spec.uploaded_skills:
            resources.give(self.finder)
            return
        from roost.features.skills.uploaded import SessionSkillFinder

        found = SessionSkillFinder(self.finder, self.uploaded, spec.uploaded_skills, resources.account)
        resources.give(found, SkillFinder)

    async def tidy(self) -> None:
        if await asyncio.to_thread((self._home / UPLOADED).is_dir):
            await self.uploaded.tidy()

    @cached_property
    def uploaded(self) -> UploadedSkills:
        """What clients uploaded. Loaded when first needed."""
        from roost.features.skills.uploaded import UploadedSkills

        return UploadedSkills(self._host.store.documents, self._home)

    @cached_property
    def _packages(self) -> Packages:
        return packages_of(self._host)

    async def _package_folders(self) -> Sequence[Path]:
        """Return the folders of accepted packages, as they were at most a moment ago: each turn asks."""
        read, folders = self._folders
        if time.monotonic() - read > _FRESH or not all(map(os.path.isdir, folders)):  # an update removes the old one
            now = time.monotonic()
            folders = await self._packages.active_folders()
            self._folders = (now, folders)
        return folders


NODE = SkillsDuties

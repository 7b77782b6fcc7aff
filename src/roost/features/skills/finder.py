"""The skills that a node knows: found in folders, remembered by the state of their files."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import weakref
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from roost.features.skills.folders import (
    Place,
    Skill,
    SkillDamaged,
    list_files,
    places,
    read_skill,
    skill_folders,
    unusable,
)
from roost.workspace.files import Workspace

_REMEMBERED = 4_000
_MOST_FILES = 10_000
"""Most files of all skills of a workspace."""
_MOST_BYTES = 256 * 1024 * 1024
"""Most bytes of all skills of a workspace."""
Accepted = Callable[[Collection[str]], Awaitable[frozenset[str]]]
"""Returns which of these digests a person has accepted. Raises `StoreFailed`."""


class FoundSkill(NamedTuple):
    """A skill with the digest of all its files, which is empty if it cannot be used."""

    skill: Skill
    digest: str

    @property
    def usable(self) -> bool:
        return self.skill.usable and bool(self.digest)


class _Remembered(NamedTuple):
    signature: tuple[str, bytes]
    found: FoundSkill


class SkillFinder:
    """home: Roost's home. packages: returns the folders of accepted packages. accepted: tells what people accepted.
    user: the home folder of the user; None to leave it out."""

    def __init__(
        self, home: Path, packages: Callable[[], Awaitable[Sequence[Path]]], accepted: Accepted, user: Path | None
    ) -> None:
        self._home, self._packages, self._user = home, packages, user
        self.accepted = accepted
        self._known: dict[Path, _Remembered] = {}
        self._busy = weakref.WeakValueDictionary[Path | None, asyncio.Lock]()

    async def find(self, workspace: Workspace | None) -> list[FoundSkill]:
        """Return all skills for a workspace, by name, the unusable ones too. Of two with one name the first usable one
        counts. Raises `StoreFailed`."""
        packages = [folder / "skills" for folder in await self._packages()]
        where = places(workspace, self._home, packages, self._user)
        if not any(os.path.isdir(place.folder) for place in where):  # cheaper than a thread
            return []
        key = None if workspace is None else workspace.place
        async with self._busy.setdefault(key, asyncio.Lock()):
            return await asyncio.to_thread(self._find, where)

    def _find(self, places: Sequence[Place]) -> list[FoundSkill]:
        chosen: dict[str, FoundSkill] = {}
        spent = _Spent()
        for place in places:
            for folder in skill_folders(place):
                found = self._look(place, folder, spent)
                known = chosen.get(found.skill.name)
                if known is None or (found.usable and not known.usable):
                    chosen[found.skill.name] = found
        return [chosen[name] for name in sorted(chosen)]

    def _look(self, place: Place, folder: Path, spent: _Spent) -> FoundSkill:
        try:
            listing = list_files(folder, whole=place.inside is not None)
            if place.inside is not None:
                spent.add(len(listing.paths), listing.size)
        except SkillDamaged as error:
            return FoundSkill(unusable(place, folder, error.message), "")
        signature = (place.kind, listing.signature)
        known = self._known.pop(folder, None)
        if known is None or known.signature != signature:
            known = _Remembered(signature, FoundSkill(*read_skill(place, folder)))
        self._known[folder] = known
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return known.found


class _Spent:
    """What was looked at for one workspace."""

    def __init__(self) -> None:
        self._files = self._bytes = 0

    def add(self, files: int, size: int) -> None:
        """Raises `SkillDamaged`."""
        self._files, self._bytes = self._files + files, self._bytes + size
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES:
            raise SkillDamaged(
                f"the skills of the workspace are too large: {_MOST_FILES} files and {_MOST_BYTES >> 20} MiB at most"
            )


def user_home() -> Path | None:
    """Return the home folder of the user that runs Roost; None if `ROOST_USER_SKILLS` is `off`."""
    return None if os.environ.get("ROOST_USER_SKILLS", "").lower() == "off" else Path.home()


def fits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)

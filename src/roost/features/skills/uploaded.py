"""Skills that clients upload over HTTP: kept in the store as archives, with versions, and unpacked at a node when a
session needs one. Only a session whose definition names a version sees it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from msgspec.structs import replace

from roost.errors import Conflict, Invalid, NotFound, TooLarge
from roost.features.packages.skill_format import read
from roost.features.packages.skill_validation import check_fields, check_name
from roost.features.skills.finder import FoundSkill, SkillFinder
from roost.features.skills.folders import MOST_FILES, UPLOADED, Place, read_skill
from roost.ids import new_id
from roost.log.documents import Documents, Put, Remove, Write
from roost.log.records import Record, Records
from roost.workspace.files import Workspace

BYTES = 8 * 1024 * 1024
"""Most bytes of a version's files."""
ACCOUNT_VERSIONS, ACCOUNT_BYTES = 500, 512 * 1024 * 1024
"""Most versions of all skills of an account, and most bytes of their archives."""
_PIECE, _KIND = 900_000, "skill.piece"
_MAIN = "SKILL.md"
_UNPACKING = 3600.0
"""Seconds after which a folder that is being unpacked counts as left behind."""


class UploadedSkill(Record, frozen=True, kw_only=True, omit_defaults=True):
    """name: as its first `SKILL.md` says. latest: the id of its newest version."""

    kind: ClassVar[str] = "skill.uploaded"
    noun: ClassVar[str] = "skill"

    name: str
    display: str
    latest: str


class SkillVersion(Record, frozen=True, kw_only=True, omit_defaults=True):
    """pieces: documents that its archive is divided into."""

    kind: ClassVar[str] = "skill.version"
    noun: ClassVar[str] = "skill version"

    skill: str
    name: str
    description: str
    pieces: int

    @property
    def keys(self) -> dict[str, str]:
        return {"skill": self.skill}


class UploadedSkills:
    """The uploaded skills of a store. home: the folder of the home."""

    def __init__(self, documents: Documents, home: Path) -> None:
        self._documents, self._folder = documents, home / UPLOADED
        self.skills, self.versions = Records(documents, UploadedSkill), Records(documents, SkillVersion)

    async def make(self, owner: str, files: Mapping[str, bytes], display: str | None) -> UploadedSkill:
        """Keep a new skill with its first version. files: by path below one folder. Raises `Invalid`, `TooLarge`."""
        await self._demand_room(owner)
        id = new_id("skill")
        version, pieces = await asyncio.to_thread(_packed, id, owner, files)
        made = UploadedSkill(
            id=id,
            owner=owner,
            created=version.created,
            changed=version.created,
            name=version.name,
            display=display or version.name,
            latest=version.id,
        )
        await self._documents.write([self.skills.put(made, 0), *self._puts(version, pieces)])
        return made

    async def add_version(self, skill: UploadedSkill, files: Mapping[str, bytes]) -> SkillVersion:
        """Keep a further version. Raises `Invalid`, `TooLarge`, `NotFound`."""
        await self._demand_room(skill.owner)
        version, pieces = await asyncio.to_thread(_packed, skill.id, skill.owner, files)
        if version.name != skill.name:
            raise Invalid(f"{_MAIN}: its name is {version.name!r}; that of the skill is {skill.name!r}, and stays")

        async def edit(one: UploadedSkill) -> tuple[UploadedSkill, Sequence[Write]]:
            return replace(one, latest=max(one.latest, version.id)), self._puts(version, pieces)

        await self.skills.change_with(skill.id, edit)
        return version

    async def _demand_room(self, owner: str) -> None:
        """Raise `TooLarge` when an account keeps as many skills as it may."""
        if not owner:
            return
        kept = (await self.versions.page(owner=owner, limit=ACCOUNT_VERSIONS)).found
        size = sum(one.pieces for one in kept) * _PIECE
        if len(kept) >= ACCOUNT_VERSIONS or size >= ACCOUNT_BYTES:
            raise TooLarge(
                f"account {owner!r} has {len(kept)} versions of skills of some {size:,} bytes: delete some first",
                code="skills_full",
            )

    async def version(self, skill: str, id: str) -> SkillVersion:
        """Return a version of a skill. Raises `NotFound`."""
        found = await self.versions.get(id)
        if found.skill != skill:
            raise NotFound(f"there is no skill version {id[:128]!r}")
        return found

    async def of_skill(self, skill: str) -> list[SkillVersion]:
        """Return the versions of a skill, the newest first, at most 100."""
        return (await self.versions.page(key=("skill", skill), limit=100)).found

    async def delete_version(self, version: SkillVersion) -> None:
        """Delete a version. The last one of a skill stays. Raises `Conflict`, `NotFound`."""

        async def edit(one: UploadedSkill) -> tuple[UploadedSkill, Sequence[Write]]:
            others = [each for each in await self.of_skill(one.id) if each.id != version.id]
            if not others:
                raise Conflict("a skill has at least one version: delete the skill", code="last_version")
            return replace(one, latest=max(each.id for each in others)), _removes(version)

        await self.skills.change_with(version.skill, edit)

    async def delete(self, skill: UploadedSkill) -> None:
        """Delete a skill with its versions. After a crash a repetition goes on."""
        await self._clear(skill)
        await self.skills.remove(skill.id)
        await self._clear(skill)  # one may have come meanwhile

    async def archive(self, version: SkillVersion) -> bytes:
        """Return a version as a ZIP archive. Raises `NotFound`."""
        found = [await self._documents.get(_KIND, _piece(version.id, at)) for at in range(version.pieces)]
        pieces = [one.body for one in found if one is not None]
        if len(pieces) < version.pieces:
            raise NotFound(f"there is no skill version {version.id!r}")
        return b"".join(pieces)

    async def folder(self, version: SkillVersion) -> Path:
        """Return the folder of a version's skill at this node. Raises `NotFound`, `OSError`."""
        found = self._folder / version.id / version.name
        if not await asyncio.to_thread((found / _MAIN).is_file):
            await asyncio.to_thread(_unpacked, await self.archive(version), self._folder / version.id)
        return found

    async def tidy(self) -> None:
        """Remove the folders of versions that are gone, and what a crash left of unpacking. Raises `StoreFailed`,
        `OSError`."""
        names = await asyncio.to_thread(_names, self._folder)
        for name in names:
            try:
                await self.versions.get(name)
            except NotFound:
                await asyncio.to_thread(shutil.rmtree, self._folder / name, ignore_errors=True)

    def _puts(self, version: SkillVersion, pieces: Sequence[bytes]) -> list[Write]:
        """Return the writes of a version."""
        puts = [Put(kind=_KIND, id=_piece(version.id, at), body=piece) for at, piece in enumerate(pieces)]
        return [self.versions.put(version, 0), *puts]

    async def _clear(self, skill: UploadedSkill) -> None:
        while found := await self.of_skill(skill.id):
            for one in found:
                await self._documents.write(_removes(one))


class SessionSkillFinder(SkillFinder):
    """Finds the uploaded skills of one session before all others. account: whose the session is; None is the home."""

    def __init__(
        self, base: SkillFinder, uploaded: UploadedSkills, versions: Sequence[str], account: str | None
    ) -> None:
        self._base, self._uploaded, self._versions, self._account = base, uploaded, versions, account
        self._own: list[FoundSkill] | None = None
        self.accepted = base.accepted

    async def find(self, workspace: Workspace | None) -> list[FoundSkill]:
        if self._own is None:
            self._own = [one for id in self._versions if (one := await self._find_one(id)) is not None]
        names = {one.skill.name for one in self._own}
        others = [one for one in await self._base.find(workspace) if one.skill.name not in names]
        return sorted([*self._own, *others], key=lambda one: one.skill.name)

    async def _find_one(self, id: str) -> FoundSkill | None:
        try:
            version = await self._uploaded.versions.get(id)
            if self._account is not None and version.owner != self._account:
                return None
            folder = await self._uploaded.folder(version)
        except (NotFound, OSError):  # deleted since: the session goes on without it
            return None
        return FoundSkill(*await asyncio.to_thread(read_skill, Place("package", folder.parent), folder))


def _packed(skill: str, owner: str, files: Mapping[str, bytes]) -> tuple[SkillVersion, list[bytes]]:
    """Check the files of a skill and pack them. Raises `Invalid`, `TooLarge`."""
    if len(files) > MOST_FILES or sum(map(len, files.values())) > BYTES:
        raise TooLarge(f"a skill has at most {MOST_FILES} files and {BYTES >> 20} MiB")
    tops = {path.partition("/")[0] for path in files}
    if len(tops) != 1 or any(not _is_safe(path) for path in files):
        raise Invalid("files: all in one folder, such as greeting/SKILL.md, with plain relative paths")
    if both := {str(folder) for path in files for folder in PurePosixPath(path).parents} & files.keys():
        raise Invalid(f"files: {min(both)[:200]!r} is a file and a folder")
    (top,) = tops
    main = files.get(f"{top}/{_MAIN}")
    if main is None:
        raise Invalid(f"files: the folder {top!r} has no {_MAIN}")
    try:
        fields, _ = read(main.decode())
    except UnicodeDecodeError:
        raise Invalid(f"{_MAIN}: no UTF-8 text") from None
    name = fields.get("name") or top
    if problems := [*check_name(name), *(one for one in check_fields(fields, str(name)) if "description" in one)]:
        raise Invalid(f"{_MAIN}: {problems[0]}")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in sorted(files.items()):
            archive.writestr(f"{name}/{path.partition('/')[2]}", data)
    whole = packed.getvalue()
    pieces = [whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)]
    description = str(fields["description"]).strip()
    id = new_id("skver")
    now = time.time()
    made = SkillVersion(
        id=id,
        owner=owner,
        created=now,
        changed=now,
        skill=skill,
        name=str(name),
        description=description,
        pieces=len(pieces),
    )
    return made, pieces


def _removes(version: SkillVersion) -> list[Write]:
    """Return the writes that delete a version."""
    pieces = [Remove(kind=_KIND, id=_piece(version.id, at)) for at in range(version.pieces)]
    return [Remove(kind=SkillVersion.kind, id=version.id), *pieces]


def _is_safe(path: str) -> bool:
    names = path.split("/")
    plain = len(path) <= 512 and path.isprintable() and not set('\\:*?"<>|') & set(path)
    return plain and len(names) > 1 and not any(name in ("", ".", "..") or len(name.encode()) > 255 for name in names)


def _unpacked(archive: bytes, target: Path) -> None:
    """Unpack an archive that `_packed` made. Another task may do the same."""
    fresh = target.with_name(f".{target.name}.{new_id('new')}")
    fresh.mkdir(mode=0o700, parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            opened.extractall(fresh)
        with contextlib.suppress(OSError):
            os.rename(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    """Return the folders of versions, without those that are being unpacked."""
    try:
        with os.scandir(folder) as entries:
            return [one.name for one in entries if one.name[0] != "." or one.stat().st_mtime < time.time() - _UNPACKING]
    except FileNotFoundError:
        return []


def _piece(version: str, at: int) -> str:
    return f"{version}/{at:04d}"

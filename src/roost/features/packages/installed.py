"""The packages of a store: one document for each, its files by digest in the object store, and unpacked in the home.

The document decides. First the files are stored, then one write of the document makes a version known; it waits there,
in quarantine, until a person accepts it with what it wants. So a crash leaves either the former state or the new one,
and of two installations at once the later one finds the earlier one's document."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import msgspec

from roost.errors import Conflict, NotFound
from roost.features.packages.archive import Files, PackageRefused, digest_of, pack, unpack, write_folder
from roost.features.packages.manifest import read_package
from roost.features.packages.ports import Bundle, SessionPackages, ToolEntry
from roost.features.packages.scan import Finding, scan
from roost.features.packages.versions import fits
from roost.log.documents import Document, DocumentQuery, Documents, Put, Remove
from roost.syncing import sync
from roost.workspace.object_store import ObjectMissing, Objects

_KIND = "package"
_PAGE = 200
_TRIES = 20
_STALE = 3600.0
_ARCHIVES = 8
"""Packages whose files stay in memory for their tools."""
_log = logging.getLogger(__name__)


class Release(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version of a package as it was installed. source: where it came from, which an update asks again. permissions:
    as in `Package`. findings: of the scan."""

    version: str
    digest: str
    source: str
    installed: float
    description: str = ""
    license: str = ""
    permissions: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    dependencies: dict[str, str] = {}
    findings: tuple[Finding, ...] = ()
    tools: tuple[ToolEntry, ...] = ()
    hosts: tuple[str, ...] = ()


class Installed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A package. active: the version in use. waiting: one that no person has accepted yet."""

    name: str
    active: Release | None = None
    waiting: Release | None = None

    @property
    def added(self) -> tuple[str, ...]:
        """Permissions that the waiting version wants, and the active one does not."""
        former = self.active.permissions if self.active else ()
        return tuple(one for one in self.waiting.permissions if one not in former) if self.waiting else ()

    @property
    def removed(self) -> tuple[str, ...]:
        """Permissions of the active version that the waiting one does not want any more."""
        if self.active is None or self.waiting is None:
            return ()
        return tuple(one for one in self.active.permissions if one not in self.waiting.permissions)


class Packages(SessionPackages):
    """Install, accept and remove packages. objects: opens the object store, in a thread. folder: where their files are
    unpacked, each version in a folder of its digest."""

    def __init__(self, documents: Documents, objects: Callable[[], Objects], folder: Path) -> None:
        self._documents, self._objects, self._folder = documents, objects, folder
        self._archives: dict[str, bytes] = {}

    async def install(self, archive: bytes, *, source: str, name: str = "") -> Installed:
        """Take a package into quarantine. Nothing happens if this content is active or waits already. Raises
        `PackageRefused`, `ObjectsFailed`."""
        name, release, files = await asyncio.to_thread(_checked, archive, source, name)
        await asyncio.to_thread(self._keep, release.digest, files)

        def change(former: Installed) -> Installed:
            if former.active is not None and former.active.digest == release.digest:
                return msgspec.structs.replace(former, waiting=None)
            if former.waiting is not None and former.waiting.digest == release.digest:
                return former
            return msgspec.structs.replace(former, waiting=release)

        made = await self._change(name, change, new=True)
        await asyncio.to_thread(self._keep, release.digest, files)  # a removal at the same time may have taken them
        return made

    async def accept(self, name: str, digest: str) -> Installed:
        """Use the waiting version from now on, with what it wants. Nothing happens if it is in use. Raises `NotFound`,
        and `Conflict` (`package_changed`, `dependency_missing`, `agent_taken`)."""
        present = await self.get(name)
        waiting = present.waiting
        if present.active is not None and present.active.digest == digest:
            return present
        if waiting is None or waiting.digest != digest:
            raise Conflict(f"no version of {name!r} with this digest waits: look at it again", code="package_changed")
        await self._check_others(name, waiting)
        await self.folder_of(waiting)

        def change(former: Installed) -> Installed:
            if former.waiting is None or former.waiting.digest != digest:
                raise Conflict(f"the waiting version of {name!r} has changed", code="package_changed")
            return Installed(name, active=former.waiting)

        return await self._change(name, change)

    async def _check_others(self, name: str, waiting: Release) -> None:
        """Raise `Conflict` unless the version goes together with the other packages in use."""
        active = {one.name: one.active for one in await self.all() if one.active is not None and one.name != name}
        for needed, wanted in waiting.dependencies.items():
            there = active[needed].version if needed in active else None
            if there is None or not fits(there, wanted):
                raise Conflict(
                    f"{name!r} needs {needed!r} {wanted}, and there is {there or 'none'}: install and accept that"
                    " first",
                    code="dependency_missing",
                )
        for other, release in active.items():
            if twins := {*release.agents} & {*waiting.agents}:
                raise Conflict(
                    f"the package {other!r} has an agent {min(twins)!r}, too: uninstall it first", code="agent_taken"
                )

    async def reject(self, name: str) -> Installed | None:
        """Remove the waiting version. Returns None when no other is left. Raises `NotFound`."""
        former = await self.get(name)
        if former.active is None:
            await self.uninstall(name)
            return None
        return await self._change(name, lambda one: msgspec.structs.replace(one, waiting=None))

    async def uninstall(self, name: str) -> None:
        """Remove a package. Raises `NotFound`, and `Conflict` (`package_needed`) while another one needs it."""
        former = await self.get(name)
        needing = [one.name for one in await self.all() if one.active is not None and name in one.active.dependencies]
        if needing:
            raise Conflict(f"{', '.join(needing)} need {name!r}: uninstall them first", code="package_needed")
        await self._documents.write([Remove(kind=_KIND, id=name)])
        await self._forget(name, _digests(former))

    async def get(self, name: str) -> Installed:
        """Return a package. Raises `NotFound`."""
        document = await self._documents.get(_KIND, name)
        if document is None:
            raise NotFound(f"there is no package {name!r}")
        return _read(document)

    async def all(self) -> list[Installed]:
        """Return all packages, by name."""
        found: list[Installed] = []
        while page := await self._documents.find(
            DocumentQuery(kind=_KIND, after=found[-1].name if found else "", limit=_PAGE)
        ):
            found += map(_read, page)
        return found

    async def active_folders(self) -> list[Path]:
        """Return the folders of the accepted versions, unpacked here. One whose files are gone or damaged is left
        out."""
        found: list[Path] = []
        for one in await self.all():
            if one.active is not None:
                with contextlib.suppress(ObjectMissing, PackageRefused):
                    found.append(await self.folder_of(one.active))
        return found

    async def bundles(self, names: Sequence[str]) -> list[Bundle]:
        found: list[Bundle] = []
        for one in await self.all():
            release = one.active
            if release is None or not release.tools or not {"*", one.name} & {*names}:
                continue
            try:
                archive = await self._archive(release)
            except (ObjectMissing, PackageRefused, OSError) as error:
                _log.warning("the tools of the package %s cannot be used: %s", one.name, error)
                continue
            found.append(Bundle(one.name, release.version, release.digest, release.tools, release.hosts, archive))
        return found

    async def _archive(self, release: Release) -> bytes:
        """Return the files of a version as they were accepted. Raises `ObjectsFailed`, `PackageRefused`."""
        if release.digest not in self._archives:
            stored = await asyncio.to_thread(lambda: self._objects().get(_key(release.digest)))
            if digest_of(await asyncio.to_thread(unpack, stored)) != release.digest:
                raise PackageRefused("its stored files are damaged: install the package again")
            while len(self._archives) >= _ARCHIVES:
                self._archives.pop(next(iter(self._archives)))
            self._archives[release.digest] = stored
        return self._archives[release.digest]

    async def folder_of(self, release: Release) -> Path:
        """Return the folder with the files of a version; unpack them here first if need be. Raises `ObjectsFailed`,
        `PackageRefused` when what is stored is damaged."""
        folder = self._folder / release.digest
        if not await asyncio.to_thread(folder.is_dir):
            await asyncio.to_thread(self._unpack, release.digest, folder)
        return folder

    async def _change(self, name: str, change: Callable[[Installed], Installed], *, new: bool = False) -> Installed:
        """Write a changed document; begin again when another writer was first. Raises `NotFound`, `Conflict`."""
        for _ in range(_TRIES):
            document = await self._documents.get(_KIND, name)
            if document is None and not new:
                raise NotFound(f"there is no package {name!r}")
            after = change(Installed(name) if document is None else _read(document))
            body, revision = msgspec.json.encode(after), 0 if document is None else document.revision
            if document is not None and document.body == body:
                return after
            try:
                await self._documents.write([Put(kind=_KIND, id=name, body=body, revision=revision)])
            except Conflict:
                continue
            if document is not None:
                await self._forget(name, _digests(_read(document)) - _digests(after))
            return after
        raise Conflict(f"the package {name!r} is changed by others all the time: try again", code="package_changed")

    def _keep(self, digest: str, files: Files) -> None:
        self._objects().put(_key(digest), pack(files))

    async def _forget(self, name: str, digests: Set[str]) -> None:
        """Remove the files of versions, except of those that were installed again meanwhile."""
        document = await self._documents.get(_KIND, name)
        gone = sorted(digests if document is None else digests - _digests(_read(document)))
        if gone:
            await asyncio.to_thread(self._drop, gone)

    def _drop(self, digests: Sequence[str]) -> None:
        self._objects().delete([_key(digest) for digest in digests])
        for digest in digests:
            shutil.rmtree(self._folder / digest, ignore_errors=True)

    def _unpack(self, digest: str, folder: Path) -> None:
        """Write the files beside the folder, then give it its name: it is complete or not there."""
        files = unpack(self._objects().get(_key(digest)))
        if digest_of(files) != digest:
            raise PackageRefused(f"the stored files of {digest[:12]} are damaged: install the package again")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidy()
        fresh = self._folder / f".new-{secrets.token_hex(8)}"
        try:
            fresh.mkdir(mode=0o700)
            write_folder(files, fresh)
            for at, _, _ in os.walk(fresh):
                sync(Path(at))
            try:
                os.rename(fresh, folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        sync(self._folder)

    def _tidy(self) -> None:
        """Remove what a crash left half unpacked."""
        for path in self._folder.glob(".new-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE:
                    shutil.rmtree(path, ignore_errors=True)


def _checked(archive: bytes, source: str, name: str) -> tuple[str, Release, Files]:
    package = read_package(unpack(archive), name=name)
    manifest = package.manifest
    release = Release(
        version=manifest.version,
        digest=digest_of(package.files),
        source=source,
        installed=time.time(),
        description=manifest.description,
        license=manifest.license,
        permissions=package.permissions,
        skills=package.skills,
        agents=package.agents,
        dependencies=dict(manifest.dependencies),
        findings=scan(package.files),
        tools=manifest.tools,
        hosts=manifest.permissions.network,
    )
    return manifest.name, release, package.files


def _digests(one: Installed) -> frozenset[str]:
    return frozenset(release.digest for release in (one.active, one.waiting) if release is not None)


def _key(digest: str) -> str:
    return f"packages/{digest}"


def _read(document: Document) -> Installed:
    return msgspec.json.decode(document.body, type=Installed)

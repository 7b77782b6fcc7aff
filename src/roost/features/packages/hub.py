"""A hub: packages in a plain folder or an object store, and an index of them.

An entry is an object of its own, named by package and digest, and never changes. So what a crash leaves is either
nothing or a whole version. Of two contents under one version the earlier one counts."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from roost.errors import Conflict, NotFound
from roost.features.packages.archive import digest_of, pack, unpack
from roost.features.packages.manifest import Package, read_package
from roost.features.packages.versions import fits, order_of
from roost.workspace.object_store import ObjectMissing, Objects

FORMAT = 1


class HubEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version of a package in a hub. archive: where its files are, relative to the index."""

    name: str
    version: str
    digest: str
    archive: str
    size: int
    description: str = ""
    license: str = ""
    permissions: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    dependencies: dict[str, str] = {}


class HubIndex(msgspec.Struct, frozen=True):
    """All versions. roost_hub: the format."""

    roost_hub: int
    packages: tuple[HubEntry, ...]

    def search(self, words: str) -> list[HubEntry]:
        """Return the newest version of each package that has all the words in its name, description or skills."""
        wanted, newest = words.casefold().split(), dict[str, HubEntry]()
        for one in self.packages:
            text = " ".join((one.name, one.description, *one.skills, *one.agents)).casefold()
            if all(word in text for word in wanted):
                known = newest.get(one.name)
                if known is None or order_of(one.version) > order_of(known.version):
                    newest[one.name] = one
        return [newest[name] for name in sorted(newest)]

    def find(self, name: str, wanted: str = "*") -> HubEntry:
        """Return the newest version in the range; a pre-release only where no other is. Raises `NotFound`."""
        found = [one for one in self.packages if one.name == name and fits(one.version, wanted)]
        stable = [one for one in found if "-" not in one.version]
        if not found:
            raise NotFound(f"the hub has no package {name!r} {'' if wanted == '*' else wanted}".rstrip())
        return max(stable or found, key=lambda one: order_of(one.version))


class Hub:
    """The packages in an object store. Its methods block and raise `ObjectsFailed`. folder: of the store, if it is one
    of this machine: of two publishers at once one is first. In other stores both may hear that theirs counts."""

    def __init__(self, objects: Objects, folder: Path | None = None) -> None:
        self._objects, self._folder = objects, folder
        self._known: dict[str, HubEntry] = {}

    def publish(self, package: Package) -> HubEntry:
        """Add a version. Nothing happens if it is there already. Raises `Conflict` (`version_taken`) if another content
        has this version."""
        manifest, digest, data = package.manifest, digest_of(package.files), pack(package.files)
        entry = HubEntry(
            name=manifest.name,
            version=manifest.version,
            digest=digest,
            archive=f"packages/{digest}.tar.gz",
            size=len(data),
            description=manifest.description,
            license=manifest.license,
            permissions=package.permissions,
            skills=package.skills,
            agents=package.agents,
            dependencies=dict(manifest.dependencies),
        )
        with self._alone():
            self._refuse_taken(entry)
            self._objects.put(f"hub/archives/{digest}", data)
            self._objects.put(f"hub/entries/{manifest.name}/{digest}", msgspec.json.encode(entry))
            self._refuse_taken(entry)  # another publisher may have been first
        return entry

    @contextlib.contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """Wait until nobody else publishes into the folder."""
        if self._folder is None:
            yield
            return
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _refuse_taken(self, entry: HubEntry) -> None:
        known = next((o for o in self.index().packages if (o.name, o.version) == (entry.name, entry.version)), entry)
        if known.digest != entry.digest:
            raise Conflict(
                f"version {entry.version} of {entry.name!r} is published with other files: raise the version",
                code="version_taken",
            )

    def index(self) -> HubIndex:
        """Return all versions, by name and version."""
        chosen: dict[tuple[str, str], HubEntry] = {}
        for info in sorted(self._objects.list("hub/entries/"), key=lambda one: (one.modified, one.key)):
            if info.key not in self._known:
                self._known[info.key] = msgspec.json.decode(self._objects.get(info.key), type=HubEntry)
            entry = self._known[info.key]
            chosen.setdefault((entry.name, entry.version), entry)
        return HubIndex(FORMAT, tuple(sorted(chosen.values(), key=lambda one: (one.name, order_of(one.version)))))

    def archive(self, digest: str) -> bytes:
        """Return the archive of a version. Raises `ObjectMissing`."""
        if len(digest) != 64 or not all(char in "0123456789abcdef" for char in digest):
            raise ObjectMissing(f"there is no package {digest[:80]!r}")
        return self._objects.get(f"hub/archives/{digest}")

    def package(self, digest: str) -> Package:
        """Return a published package. Raises `ObjectMissing`, `PackageRefused`."""
        return read_package(unpack(self.archive(digest)))


def discovery(entries: Sequence[HubEntry], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the index of `.well-known/agent-skills` for packages with one skill. digests: SHA-256 of each archive of a
    skill, by name."""
    return {
        "$schema": "https://schemas.agentskills.io/discovery/0.2.0/schema.json",
        "skills": [
            {
                "name": one.skills[0],
                "type": "archive",
                "description": one.description,
                "url": f"/.well-known/agent-skills/{one.skills[0]}.tar.gz",
                "digest": f"sha256:{digests[one.skills[0]]}",
            }
            for one in entries
            if one.skills and one.skills[0] in digests
        ],
    }

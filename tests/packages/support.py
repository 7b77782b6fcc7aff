"""Packages for tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.features.packages.archive import PackageFile, pack, read_folder
from roost.log.documents import Documents

PUBLIC = Path(__file__).parents[1] / "public_skills"
SKILL = "---\nname: {0}\ndescription: {1}\n---\n{2}\n"


def skill(name: str = "pdf", about: str = "Fills forms.", body: str = "Do it.") -> PackageFile:
    return PackageFile(SKILL.format(name, about, body).encode())


def package(
    name: str = "tools", version: str = "1.0.0", *, more: str = "", **files: PackageFile
) -> dict[str, PackageFile]:
    """Files of a package with one skill. files: by path, with `__` for `/` and `_` for `.`."""
    manifest = f'name = "{name}"\nversion = "{version}"\n{more}'.encode()
    given = {path.replace("__", "/").replace("_", "."): file for path, file in files.items()}
    return {"roost-package.toml": PackageFile(manifest), "skills/pdf/SKILL.md": skill(), **given}


def archive(name: str = "tools", version: str = "1.0.0", *, more: str = "", **files: PackageFile) -> bytes:
    return pack(package(name, version, more=more, **files))


def public(name: str) -> bytes:
    return pack(read_folder(PUBLIC / name))


class SlowDocuments:
    """Documents that let others run between a read and the write that follows."""

    def __init__(self, inner: Documents) -> None:
        self._inner = inner

    async def write(self, writes):
        await asyncio.sleep(0)
        return await self._inner.write(writes)

    async def get(self, kind, id):
        found = await self._inner.get(kind, id)
        await asyncio.sleep(0)
        return found

    async def find(self, query):
        return await self._inner.find(query)

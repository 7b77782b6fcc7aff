"""Packages on a running node."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

import msgspec

from roost.errors import TooLarge
from roost.features.packages.api import PACKED, PackageList, PackagesApi, PackageVersion, PackageView
from roost.features.packages.duties import PackageDuties
from roost.kernel.service_host import ServiceHost

if TYPE_CHECKING:  # it imports what reads archives
    from roost.features.packages import installed


class Packages(PackagesApi):
    def __init__(self, host: ServiceHost) -> None:
        self._duties = host.node.feature(PackageDuties)

    @property
    def _packages(self) -> installed.Packages:
        return self._duties.packages

    async def list(self) -> PackageList:
        return PackageList(packages=[_view(one) for one in await self._packages.all()])

    async def get(self, name: str) -> PackageView:
        """As the interface says. Raises `NotFound`."""
        return _view(await self._packages.get(name))

    async def install(self, content: AsyncIterable[bytes], *, source: str = "", named: str = "") -> PackageView:
        """As the interface says. Raises `PackageRefused`, `TooLarge`, `ObjectsFailed`."""
        data = bytearray()
        async for piece in content:
            data += piece
            if len(data) > PACKED:
                raise TooLarge(f"an archive has at most {PACKED} bytes")
        return _view(await self._packages.install(bytes(data), source=source, name=named))

    async def accept(self, name: str, digest: str) -> PackageView:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        made = await self._packages.accept(name, digest)
        await self._duties.project_agents()
        return _view(made)

    async def reject(self, name: str) -> None:
        await self._packages.reject(name)

    async def uninstall(self, name: str) -> None:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        try:
            await self._packages.uninstall(name)
        finally:  # also after a crash between the two, when the package is gone already
            await self._duties.project_agents()


def _view(one: installed.Installed) -> PackageView:
    return PackageView(
        name=one.name,
        active=_version(one.active),
        waiting=_version(one.waiting),
        added=[*one.added],
        removed=[*one.removed],
    )


def _version(release: installed.Release | None) -> PackageVersion | None:
    if release is None:
        return None
    values = {name: getattr(release, name) for name in release.__struct_fields__}
    values["findings"] = [finding._asdict() for finding in release.findings]
    values["tools"] = [one.name for one in release.tools]
    return msgspec.convert(values, PackageVersion)


SERVICE = Packages

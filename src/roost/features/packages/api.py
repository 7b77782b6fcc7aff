"""Packages of skills and agents: install into quarantine, accept, remove."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.operation import DELETE, GET, POST

PACKED = 32 * 1024 * 1024
"""Most bytes of an archive."""
_Name = Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class PackageFinding(Answer):
    """What the scan found. severity: `high` or `low`. line: from 1; 0 for the file as a whole."""

    severity: str
    path: str
    line: int
    what: str


class PackageVersion(Answer):
    """A version of a package. digest: SHA-256 over all its files. permissions: what it wants, a line each. installed:
    seconds since 1970."""

    version: str
    digest: str
    source: str
    installed: float
    description: str
    license: str
    permissions: list[str]
    skills: list[str]
    agents: list[str]
    dependencies: dict[str, str]
    findings: list[PackageFinding]
    tools: list[str] = []


class PackageView(Answer):
    """A package. active: the version in use. waiting: one in quarantine, until a person accepts it. added, removed: how
    its permissions differ from those of the active one."""

    name: str
    active: PackageVersion | None
    waiting: PackageVersion | None
    added: list[str]
    removed: list[str]


class PackageList(Answer):
    packages: list[PackageView]


class PackagesApi(Protocol):
    @GET("/packages", right="operate")
    async def list(self) -> PackageList:
        """The packages, by name."""
        ...

    @GET("/packages/{name}", errors=(404,), right="operate")
    async def get(self, name: _Name) -> PackageView:
        """A package."""
        ...

    @POST(
        "/packages",
        201,
        query=("source", "named"),
        errors=(408, 409, 413),
        repeatable=True,
        content="application/octet-stream",
        most=PACKED,
        right="operate",
    )
    async def install(
        self,
        content: AsyncIterable[bytes],
        *,
        source: Annotated[str, Meta(max_length=2000)] = "",
        named: Annotated[str, Meta(max_length=64)] = "",
    ) -> PackageView:
        """Take a package into quarantine: a `.tar.gz` or a `.zip`, which is the body. Nothing of it runs.

        `source`: where it came from. `named`: its name, if it is a folder of skills without a manifest.
        """
        ...

    @POST("/packages/{name}/accept", body="PackageAcceptance", errors=(404, 409), repeatable=True, right="operate")
    async def accept(self, name: _Name, digest: _Digest) -> PackageView:
        """Use the waiting version of a package from now on, with the permissions that it wants.

        `digest`: of the version that was shown.
        """
        ...

    @DELETE("/packages/{name}/waiting", 204, errors=(404, 409), right="operate")
    async def reject(self, name: _Name) -> None:
        """Remove the waiting version of a package."""
        ...

    @DELETE("/packages/{name}", 204, errors=(404, 409), right="operate")
    async def uninstall(self, name: _Name) -> None:
        """Remove a package that no other one needs."""
        ...

"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class PackageUsed(Event, frozen=True, tag="package.used"):
    """The session offers the tools of an accepted version of a package. digest: of all its files."""

    package: str
    version: str
    digest: str
    tools: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"offers {len(self.tools)} tools of the package {self.package} {self.version}"


EVENTS = (PackageUsed,)

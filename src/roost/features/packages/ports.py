"""What sessions and their tools know of packages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from roost.log.content import Replay


class ToolEntry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A tool of a package, as its manifest says. command: run in the folder of the package, in the session's sandbox;
    it gets the arguments as JSON on its standard input, and prints JSON. schema: of the arguments, of type object.
    seconds: its time limit. replay: what happens to a call that a crash cut off."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9]+(_[a-z0-9]+)*$", max_length=32)]
    description: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=32)]
    schema: Mapping[str, Any] = {}
    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 60.0
    replay: Replay = "never"

    @property
    def permission(self) -> str:
        """What a person accepts."""
        return f"tool: {self.name} runs {' '.join(self.command)} (at most {self.seconds:g} s, replay: {self.replay})"


class Bundle(msgspec.Struct, frozen=True):
    """The tools of an accepted version. archive: the package's files, a `.tar.gz`. hosts: that it names as wanted."""

    package: str
    version: str
    digest: str
    tools: tuple[ToolEntry, ...]
    hosts: tuple[str, ...]
    archive: bytes


class SessionPackages(ABC):
    """The packages of the node's store."""

    @abstractmethod
    async def bundles(self, names: Sequence[str]) -> list[Bundle]:
        """Return the accepted versions with tools of the packages with these names; `*` is all. One whose files are
        gone or are not those that were accepted is left out. Raises `StoreFailed`."""

"""The running daemon's configuration: reading, changing, reloading files, moving sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.kernel.settings import Reloaded, Revision, Setting, Value
from roost.operation import GET, PATCH, POST

_Who = Annotated[str, Meta(min_length=1, max_length=200)]
_Values = Annotated[dict[str, Value | None], Meta(min_length=1, max_length=64)]


class Configuration(Answer):
    """`faults`: files and settings that this node could not apply, and why. `number`: the newest change, 0 without
    any."""

    number: int
    settings: list[Setting]
    faults: Mapping[str, str]


class History(Answer):
    """The newest first. `old` or `new` is absent where the node's start value held or holds again."""

    changes: list[Revision]


class ConfigurationApi(Protocol):
    @GET("/config", right="operate")
    async def get(self) -> Configuration:
        """What can be changed while nodes run, and what it is on this one."""
        ...

    @PATCH("/config", body="ConfigPatch", repeatable=True, right="operate")
    async def patch(self, values: _Values, *, by: _Who = "HTTP") -> Revision:
        """Change the configuration of all nodes: here at once, elsewhere within seconds.

        Applies all of `values` or none. null removes a setting, so that the node's start value holds again. `by`: the
        author, for the history.
        """
        ...

    @GET("/config/history", right="operate")
    async def history(
        self,
        *,
        before: Annotated[int, Meta(ge=1, le=2**53)] | None = None,
        limit: Annotated[int, Meta(ge=1, le=1000)] = 50,
    ) -> History:
        """The changes, the newest first.

        `before`: only changes before that number.
        """
        ...

    @POST("/reload", repeatable=True, right="operate")
    async def reload(self) -> Reloaded:
        """Read this node's files again: agents, models.toml, policy.toml."""
        ...

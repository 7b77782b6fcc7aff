"""Agents as data: read, check and change their definitions."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import Answer, Name
from roost.operation import GET, POST, PUT

_Spec = dict[str, Any]


class DefinitionView(Answer):
    """An agent. `version`: digest of its content. `definition`: its options, without those at their defaults. `kept`:
    the number of its version in the store; None for one that comes from a file of this node. `python`: it has parts
    that only its Python file has."""

    name: str
    version: str
    definition: _Spec
    kept: int | None = None
    python: bool = False


class DefinitionEntry(Answer):
    """An agent that the store keeps. `door`: the protocol through which it was made. Times are seconds since 1970."""

    name: str
    kept: int
    door: str
    changed: float
    archived: float | None = None


class DefinitionList(Answer):
    """The newest first. `next`: the `after` of the next page."""

    definitions: list[DefinitionEntry]
    next: str | None = None


class Checked(Answer):
    """`faults`: what is wrong; none if sessions can be made of it. `version`: digest of its content."""

    faults: list[str]
    version: str | None = None


class DefinitionsApi(Protocol):
    @GET("/definitions", right="read")
    async def list(
        self,
        *,
        after: Annotated[str, Meta(max_length=128)] = "",
        limit: Annotated[int, Meta(ge=1, le=200)] = 100,
    ) -> DefinitionList:
        """The agents that the store keeps; `GET /agents` has those of this node's files."""
        ...

    @GET("/definitions/{name}", errors=(404, 409), right="read")
    async def get(self, name: str) -> DefinitionView:
        """The definition that new sessions of an agent get."""
        ...

    @POST("/definitions/check", body="DefinitionCheckBody", repeatable=True, right="use")
    async def check(self, definition: _Spec) -> Checked:
        """Say what is wrong with a definition. Nothing is kept."""
        ...

    @PUT("/definitions/{name}", body="DefinitionBody", errors=(409,), right="administer")
    async def put(
        self, name: Name, definition: _Spec, *, kept: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    ) -> DefinitionView:
        """Keep an agent in the store, for all nodes: new, or as a new version. Sessions that exist stay as they are.

        `kept`: the version that it must have now, 0 if it must be new. An agent of a file is changed in its file.
        """
        ...

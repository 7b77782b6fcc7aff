"""A node's models, and the router's profile that all nodes use."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.models.profile import MediaKind
from roost.operation import GET, PUT


class ModelEntry(Answer):
    """A model of the profile in use. `usable`: this node has its key, or its weights. `trouble`: why it is not usable,
    or why another is asked first now. `window`, `max_output`: tokens, None where it is not usable."""

    name: str
    usable: bool
    trouble: str | None = None
    window: int | None = None
    max_output: int | None = None
    media: list[MediaKind] = []


class ModelList(Answer):
    """`models`: of the router's profile in use. `profiles`: all names."""

    profile: str
    profiles: list[str]
    models: list[ModelEntry]


class ModelsApi(Protocol):
    @GET("/models", right="read")
    async def list(self) -> ModelList:
        """The models of the router's profile in use, and whether they can be asked here."""
        ...

    @PUT("/models/profile", 204, body="ProfileBody", errors=(404,), right="operate")
    async def use_profile(self, profile: Annotated[str, Meta(min_length=1, max_length=128)]) -> None:
        """Switch the router's profile on all nodes, from the next model call on.

        The router's profile, for all nodes from now on.
        """
        ...

"""The APIs whose operations a session's agent may call."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import AcceptedInput, Answer
from roost.operation import GET, POST


class ApiView(Answer):
    """An API of a session. digest: of the document that it uses. waiting: of a changed one that no person has accepted.
    failed: why the API cannot be used."""

    name: str
    spec: str
    digest: str | None = None
    waiting: str | None = None
    failed: str | None = None


class ApiViews(Answer):
    apis: list[ApiView]


class OpenapiApi(Protocol):
    @GET("/sessions/{session}/apis", errors=(404,), right="read")
    async def list(self, session: str) -> ApiViews:
        """The APIs whose operations are tools of a session, and their documents."""
        ...

    @POST(
        "/sessions/{session}/apis/{api}/accept",
        202,
        body="AcceptApiBody",
        errors=(404, 409),
        repeatable=True,
        right="operate",
    )
    async def accept(
        self,
        session: str,
        api: str,
        digest: Annotated[str, Meta(min_length=1, max_length=64)],
        *,
        by: Annotated[str, Meta(min_length=1, max_length=200)] = "HTTP",
    ) -> AcceptedInput:
        """Let a session use the changed document of an API from its next turn on.

        `digest`: of the document that waits, so that no other is accepted by mistake.
        """
        ...

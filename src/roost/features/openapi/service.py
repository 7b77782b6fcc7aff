"""The documents of a session's APIs, from a running node."""

from __future__ import annotations

from roost.api.shapes import AcceptedInput
from roost.errors import Conflict
from roost.features.openapi.api import ApiView, ApiViews, OpenapiApi
from roost.features.openapi.events import AcceptApiInput
from roost.features.openapi.state import OpenApiState
from roost.kernel.service_host import ServiceHost


class OpenapiService(OpenapiApi):
    def __init__(self, host: ServiceHost) -> None:
        self._sessions = host.sessions

    async def list(self, session: str) -> ApiViews:
        """List the APIs of a session's agent, also before its first turn. Raises `NotFound`."""
        spec = await self._sessions.spec(session)
        part = (await self._sessions.state(session))[1].part(OpenApiState)
        return ApiViews(
            apis=[
                ApiView(
                    name=api.name,
                    spec=api.spec,
                    digest=part.digests.get(api.name),
                    waiting=part.waiting.get(api.name),
                    failed=part.failed.get(api.name),
                )
                for api in spec.openapi
            ]
        )

    async def accept(self, session: str, api: str, digest: str, *, by: str = "HTTP") -> AcceptedInput:
        """Accept a changed document. Raises `NotFound`, and `Conflict` unless this one waits."""
        part = (await self._sessions.state(session))[1].part(OpenApiState)
        if part.waiting.get(api) != digest and part.digests.get(api) != digest:
            raise Conflict(f"no document {digest!r} of the API {api!r} waits in this session", code="not_waiting")
        accepted = await self._sessions.put(session, AcceptApiInput(api, digest, by))
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)


SERVICE = OpenapiService

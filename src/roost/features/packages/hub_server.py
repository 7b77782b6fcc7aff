"""Serve a hub over HTTP: its index, its archives, and its skills for other products."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roost.features.packages.archive import pack
from roost.features.packages.hub import Hub, HubEntry, discovery
from roost.workspace.object_store import ObjectMissing, ObjectsFailed

T = TypeVar("T")
_ARCHIVE = "application/gzip"
_MOST = 200
"""Most packages of the index of `.well-known/agent-skills`."""


def hub_app(hub: Hub) -> Starlette:
    """Return the application. It only reads."""
    serving = _Serving(hub)
    return Starlette(
        routes=[
            Route("/index.json", serving.index),
            Route("/packages/{digest}.tar.gz", serving.archive),
            Route("/.well-known/agent-skills/index.json", serving.discovery),
            Route("/.well-known/agent-skills/{skill}.tar.gz", serving.skill),
        ]
    )


class _Serving:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._digests: dict[str, str] = {}
        """SHA-256 of the archive of the one skill of a package, by the package's digest."""

    async def index(self, request: Request) -> Response:
        """All versions; with `?q=WORDS` the newest ones that have the words."""
        index = await self._work(self._hub.index)
        words = request.query_params.get("q")
        if words is not None:
            index = msgspec.structs.replace(index, packages=tuple(index.search(words[:200])))
        return Response(msgspec.json.encode(index), media_type="application/json")

    async def archive(self, request: Request) -> Response:
        data = await self._work(lambda: self._hub.archive(request.path_params["digest"]))
        return Response(data, media_type=_ARCHIVE, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    async def discovery(self, request: Request) -> Response:
        def work() -> bytes:
            entries = self._single()
            digests = {one.skills[0]: self._digest(one) for one in entries}
            return msgspec.json.encode(discovery(entries, digests))

        return Response(await self._work(work), media_type="application/json")

    async def skill(self, request: Request) -> Response:
        def work() -> bytes:
            found = [one for one in self._single() if one.skills[0] == request.path_params["skill"]]
            if not found:
                raise ObjectMissing("there is no such skill")
            return self._skill(found[0])

        return Response(await self._work(work), media_type=_ARCHIVE)

    def _single(self) -> list[HubEntry]:
        """Return the packages that have one skill and nothing else, which other products can install."""
        found = [one for one in self._hub.index().search("") if len(one.skills) == 1 and not one.agents]
        return list({one.skills[0]: one for one in reversed(found)}.values())[:_MOST]

    def _skill(self, entry: HubEntry) -> bytes:
        """Return the archive of the one skill of a package: the same bytes each time."""
        inside = f"skills/{entry.skills[0]}/"
        files = self._hub.package(entry.digest).files
        return pack({path.removeprefix(inside): one for path, one in files.items() if path.startswith(inside)})

    def _digest(self, entry: HubEntry) -> str:
        if entry.digest not in self._digests:
            self._digests[entry.digest] = hashlib.sha256(self._skill(entry)).hexdigest()
        return self._digests[entry.digest]

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except ObjectMissing as error:
            raise HTTPException(404, error.message) from None
        except ObjectsFailed as error:
            raise HTTPException(503, error.message) from None

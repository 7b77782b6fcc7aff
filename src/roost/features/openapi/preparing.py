"""Load the documents of a session's APIs, pin them, and list their operations as tools."""

from __future__ import annotations

import time

from roost.agent.openapi_options import OpenApi
from roost.agent.session import Session
from roost.agent.tool_offers import ToolOffers
from roost.features.openapi.catalog import Catalog
from roost.features.openapi.differences import differences
from roost.features.openapi.documents import ApiDocuments, Latest
from roost.features.openapi.events import ApiChanged, ApiFailed, ApiPinned
from roost.features.openapi.kept_responses import read_api_response
from roost.features.openapi.naming import offered
from roost.features.openapi.state import OpenApiState
from roost.features.openapi.tool_making import Loaded, source_of


class _Offered:
    """What the session offers now: for each API the digest of its document."""

    def __init__(self, session: Session) -> None:
        self.digests: dict[str, str] = {}
        self.loaded: dict[str, Loaded] = {}


async def prepare(session: Session) -> None:
    """Offer the tools of the APIs, by the pinned documents. Raises `Interrupted`."""
    documents = session.means.find(ApiDocuments)
    if documents is None:
        return
    kept, part = session.own(_Offered), session.state.part(OpenApiState)
    for api in session.spec.openapi:
        if api.name not in kept.loaded or kept.digests.get(api.name) != part.digests.get(api.name):
            await session.interrupts.interruptible(lambda api=api: _load(session, documents, api), steer=False)
        elif (latest := documents.known(api)) is not None:
            await _compare(session, documents, api, latest)
    if {name: one for name, one in part.digests.items() if name in kept.loaded} != kept.digests:
        kept.digests = {name: part.digests[name] for name in kept.loaded}
        sources = [(loaded.api, *source_of(session, loaded, documents.tokens)) for loaded in kept.loaded.values()]
        for api, _, why in sources:
            if why:
                _fail(session, api, why)
        offers = session.own(ToolOffers)
        offers.list("openapi", [source for _, source, _ in sources])
        offers.offer("openapi", {read_api_response.name: read_api_response})


async def _load(session: Session, documents: ApiDocuments, api: OpenApi) -> None:
    kept, part = session.own(_Offered), session.state.part(OpenApiState)
    pinned = part.digests.get(api.name)
    catalog = None if pinned is None else await documents.pinned(pinned)
    if pinned is not None and catalog is not None:
        kept.loaded[api.name] = Loaded(api, catalog, api.spec)
        documents.known(api)
        return
    latest = await documents.latest(api)
    if latest.catalog is None or latest.error:
        _fail(session, api, latest.error)
    elif pinned is None or pinned == latest.digest:
        _pin(session, api, latest.digest, latest.catalog)
        kept.loaded[api.name] = Loaded(api, latest.catalog, api.spec)
    else:
        _fail(session, api, "its pinned document is not kept any more; a person must accept the present one")
        if part.waiting.get(api.name) != latest.digest:
            session.log.note(ApiChanged(at=time.time(), api=api.name, digest=latest.digest))


async def _compare(session: Session, documents: ApiDocuments, api: OpenApi, latest: Latest) -> None:
    """Let a changed document wait for a person; one that offers the same operations is pinned at once."""
    part, kept = session.state.part(OpenApiState), session.own(_Offered)
    known = (part.digests.get(api.name), part.waiting.get(api.name))
    if latest.error or latest.catalog is None or latest.digest in known:
        return
    added, removed, changed = differences(api, kept.loaded[api.name].catalog, latest.catalog)
    if not (added or removed or changed):
        _pin(session, api, latest.digest, latest.catalog)
        kept.loaded[api.name] = Loaded(api, latest.catalog, api.spec)
        return
    session.log.note(
        ApiChanged(at=time.time(), api=api.name, digest=latest.digest, added=added, removed=removed, changed=changed)
    )


def _pin(session: Session, api: OpenApi, digest: str, catalog: Catalog) -> None:
    if session.state.part(OpenApiState).digests.get(api.name) != digest:
        number = len(offered(api, catalog.operations))
        session.log.note(ApiPinned(at=time.time(), api=api.name, digest=digest, spec=api.spec, operations=number))


def _fail(session: Session, api: OpenApi, reason: str) -> None:
    if session.state.part(OpenApiState).failed.get(api.name) != reason:
        session.log.note(ApiFailed(at=time.time(), api=api.name, reason=reason))

"""What differs between two versions of an API's document, as far as the agent is offered it."""

from __future__ import annotations

import msgspec

from roost.agent.openapi_options import OpenApi
from roost.features.openapi.catalog import Catalog
from roost.features.openapi.naming import offered

_MOST = 50


def differences(
    api: OpenApi, before: Catalog, after: Catalog
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the operations that were added, removed and changed, the first 50 of each. Servers and credentials count
    as changed operations of these names."""
    old = {one.id: one for one in offered(api, before.operations)}
    new = {one.id: one for one in offered(api, after.operations)}
    changed = [id for id, one in new.items() if id in old and msgspec.json.encode(old[id]) != msgspec.json.encode(one)]
    if before.servers != after.servers:
        changed.insert(0, "servers")
    if before.schemes != after.schemes:
        changed.insert(0, "credentials")
    added, removed = [id for id in new if id not in old], [id for id in old if id not in new]
    return tuple(added[:_MOST]), tuple(removed[:_MOST]), tuple(changed[:_MOST])

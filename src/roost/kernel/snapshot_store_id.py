"""Check at a node's start that its snapshot store is usable, and the same as that of the database's other nodes."""

from __future__ import annotations

import asyncio

from roost.errors import ConfigError
from roost.ids import new_id
from roost.log.store import Store
from roost.workspace.object_store import Objects, ObjectsFailed

_SETTING = "snapshots"
_IDS = "id/"


async def agree(store: Store, objects: Objects, url: str) -> None:
    """Check that `objects`, opened from `url`, can be listed and written and belong to this database: an object in them
    holds the id that the database knows. The first node creates both. Raises `ConfigError`, `StoreFailed`."""
    shown = url.partition("?")[0]  # the query part may hold a secret
    try:
        known = await store.coordination.setting(_SETTING)  # read before the objects, since they were written first
        ids = await asyncio.to_thread(_ids, objects)
        if known is None:
            mine = min(ids, default=new_id("snapshots").replace("_", "-"))
            await _write(objects, mine)  # before the database: after a crash here the id harms nothing
            known = await store.coordination.setting(_SETTING, mine)
            ids = await asyncio.to_thread(_ids, objects)
        if known not in ids:
            raise ConfigError(
                f"the snapshot store {shown} is not that of this database's other nodes: it has no object"
                f" {_IDS}{known}. Give --snapshots as they do, and see that what they share is mounted here. If the"
                f" files were moved, copy every object to the new place; if they are given up, make that object there"
            )
        await _write(objects, known)  # proves that these credentials can write
    except ObjectsFailed as error:
        raise ConfigError(
            f"the snapshot store {shown} cannot be used: {error}. See that it exists and answers, and that this node"
            " may list, read and write it (for S3: bucket, endpoint, region, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        ) from error


async def refuse_without(store: Store) -> None:
    """Refuse a node without a snapshot store when the other nodes have one: it would run their sessions without their
    files. Raises `ConfigError`."""
    if await store.coordination.setting(_SETTING) is not None:
        raise ConfigError(
            "the nodes of this database keep their sessions' files in a snapshot store, and this one was given none:"
            " give --snapshots (ROOST_SNAPSHOTS) as they do"
        )


def _ids(objects: Objects) -> set[str]:
    return {found.key.removeprefix(_IDS) for found in objects.list(_IDS)}


async def _write(objects: Objects, name: str) -> None:
    await asyncio.to_thread(objects.put, _IDS + name, b"All nodes of a database keep their files where this is.\n")
